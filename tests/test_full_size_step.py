"""Both model families at full size take optimizer steps on real ImageNet images, with the recipe of their row."""

import csv
import math
from pathlib import Path

import pytest
from conftest import REPOSITORY
from processes import run_script

from training.checkpoints.checkpoint import read_checkpoint

CLASSES = 8


@pytest.fixture(scope="module")
def eight_images(imagenet_sample: Path, tmp_path_factory) -> Path:
    """One image of each of eight classes: as many as a global batch, so that an epoch is one update."""
    folder = tmp_path_factory.mktemp("eight")
    for source in sorted(imagenet_sample.iterdir())[:CLASSES]:
        (folder / source.name).symlink_to(source, target_is_directory=True)
    return folder


@pytest.mark.parametrize("row, processes", [("convnext_tiny_dcls_gaussian", 2), ("convformer_s18_dcls_gaussian", 1)])
def test_full_size_models_step_with_the_whole_recipe(row, processes, eight_images, tmp_path) -> None:
    result = run_script(
        "train.py", "--config", REPOSITORY / "configs" / "imagenet" / f"{row}.yaml", f"data.dir={eight_images}",
        "data.train_split=.", "data.val_split=.", f"training.batch_size={CLASSES}", "training.micro_batch_size=4",
        "schedule.epochs=1", "schedule.warmup_epochs=0", "schedule.cooldown_epochs=0", "optimizer.lr=1e-4",
        f"checkpoint.dir={tmp_path}", "training.device=cpu", processes=processes,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (metrics,) = csv.DictReader((tmp_path / row / "metrics.csv").open())
    assert int(metrics["updates"]) == 1
    assert float(metrics["train_loss"]) == pytest.approx(math.log(CLASSES), rel=0.2)
    state = read_checkpoint(tmp_path / row / "last.pt")
    moments = [s["exp_avg"] for s in state["optimizer"]["state"].values()]
    assert len(moments) == len(state["state_dict"]) and all(m.abs().max() > 0 for m in moments)
