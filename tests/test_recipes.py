"""The recipes of configs/imagenet against their sources: learning rates, optimizer steps, sizes."""

import math
from collections.abc import Callable

import pytest
import timm
from conftest import REPOSITORY

import models  # noqa: F401
from models.building import create_model
from training.config_file import load_config
from training.objective import make_penalty
from training.optimization import make_optimizer, make_scheduler

IMAGENET = REPOSITORY / "configs" / "imagenet"
UPDATES_PER_EPOCH = 1_281_167 // 4096  # 312: the last, incomplete batch is dropped


def convnext_rate(update: int) -> float:
    """20 epochs of linear warm-up from 0 to 4e-3, then a cosine over 280 epochs down to 1e-6, update by update."""
    warmup, decay = 20 * UPDATES_PER_EPOCH, 280 * UPDATES_PER_EPOCH
    if update < warmup:
        return 4e-3 * update / warmup
    return 1e-6 + (4e-3 - 1e-6) * (1 + math.cos(math.pi * (update - warmup) / decay)) / 2


def metaformer_rate(update: int) -> float:
    """20 epochs from 1e-6 to 4e-3, the rest of a cosine over 300 epochs down to 1e-5, 10 epochs there; by epochs."""
    epoch = update // UPDATES_PER_EPOCH
    if epoch < 20:
        return 1e-6 + (4e-3 - 1e-6) * epoch / 20
    if epoch < 300:
        return 1e-5 + (4e-3 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2
    return 1e-5


@pytest.mark.parametrize(
    "row, formula, epochs",
    [
        ("convnext_tiny_dcls_gaussian", convnext_rate, 300),
        ("convnext_tiny_dcls_bilinear_unnormalized", convnext_rate, 300),
        ("convformer_s18_dcls_gaussian", metaformer_rate, 310),
    ],
)
def test_learning_rate_of_every_group_at_every_update(row: str, formula: Callable[[int], float], epochs: int) -> None:
    config = load_config(IMAGENET / f"{row}.yaml")
    model = timm.create_model(config.model.name, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    optimizer = make_optimizer(config.optimizer, model)
    scheduler = make_scheduler(config.schedule, optimizer, UPDATES_PER_EPOCH)
    assert config.schedule.total_epochs == epochs
    scales = {group["name"]: 5.0 if "positions" in group["name"] else 1.0 for group in optimizer.param_groups}
    assert set(scales) == {"weights", "no_decay", "positions_x5"}
    for update in range(epochs * UPDATES_PER_EPOCH):
        expected = formula(update)
        for group in optimizer.param_groups:
            assert math.isclose(group["lr"], expected * scales[group["name"]], rel_tol=1e-9, abs_tol=1e-15), update
        scheduler.step_update(update + 1)
        if (update + 1) % UPDATES_PER_EPOCH == 0:
            scheduler.step((update + 1) // UPDATES_PER_EPOCH)


def test_clamping_and_repulsion_where_the_sources_have_them() -> None:
    for file in IMAGENET.glob("*_dcls_*.yaml"):
        optimizer = load_config(file).optimizer
        bilinear = "bilinear" in file.stem
        assert optimizer.clamp_positions == bilinear, file
        assert optimizer.repulsion_start_epoch == (21 if bilinear else None), file


def test_the_penalty_begins_at_its_epoch() -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian", dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    config = load_config(IMAGENET / "convnext_tiny_dcls_bilinear_unnormalized.yaml").optimizer
    penalty = make_penalty(config, model)
    assert penalty is not None and penalty(20) == 0 and 0 < penalty(21) <= 1 and penalty(299) == penalty(21)


def test_fine_tuning_is_slow_slower_in_early_layers_and_faster_in_positions() -> None:
    files = sorted((REPOSITORY / "configs" / "finetune").glob("*.yaml"))
    assert files
    for file in files:
        config = load_config(file)
        assert config.model.pretrained or config.model.initial_checkpoint
        assert config.schedule.epochs <= 30 and config.optimizer.lr <= 1e-3
        model = create_model("mobilenetv2_035", dcls=dict(dilated_kernel_size=5, kernel_count=9, match=3))
        rates = {}
        for group in make_optimizer(config.optimizer, model).param_groups:
            kind, _, scale = group["name"].partition("_x")
            rates.setdefault(kind, []).append(float(scale))
        assert max(rates["weights"]) == 1 > 0.5 > min(rates["weights"]) > 0
        assert max(rates["positions"]) > min(rates["positions"])
        for scale in rates["positions"]:
            assert any(math.isclose(scale / 5, other, rel_tol=0.01) for other in rates["weights"]), file
