"""scripts/benchmark_data.py runs on any folder, and ends with a line for machines. No speed is asserted."""

import json
import subprocess

import pytest
from PIL import Image
from processes import run_script

SETTINGS = ["model.name=convnext_atto_dcls_gaussian", "data.image_size=32", "model.drop_path_rate=0"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_script("scripts/benchmark_data.py", "--batches", "2", "--batch-size", "4", *arguments)


@pytest.mark.parametrize("recipe", ["convnext_tiny_dcls_gaussian", "convformer_s18_dcls_gaussian"])
def test_both_pipelines_are_measured_by_step(image_folder, recipe) -> None:
    for file in sorted((image_folder / "train").rglob("*.png"))[::2]:  # the fast and the slow way
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    result = run("--config", f"configs/imagenet/{recipe}.yaml", f"data.dir={image_folder}", *SETTINGS)
    assert result.returncode == 0, result.stderr
    for step in ("read and decode", "crop and resize", "policy", "to tensor, normalize, erase", "in all"):
        assert step in result.stdout
    numbers = json.loads(result.stdout.splitlines()[-1])
    ours, timms = numbers["images_per_second_per_core"], numbers["timm_images_per_second_per_core"]
    assert ours > 0 and timms > 0 and numbers["ratio"] == pytest.approx(ours / timms, abs=0.02)
    assert all(len(steps) == 4 and min(steps.values()) >= 0 for steps in numbers["milliseconds_by_step"].values())


def test_a_missing_folder_is_said_in_one_line(tmp_path) -> None:
    config = "configs/imagenet/convnext_tiny_dcls_gaussian.yaml"
    result = run("--config", config, f"data.dir={tmp_path / 'nothing'}", *SETTINGS)
    assert result.returncode == 1 and result.stderr.startswith("error: data.dir: ")
    assert len(result.stderr.splitlines()) == 1
