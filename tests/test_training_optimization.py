import math

import pytest
import timm
import torch

import dcls
import models  # noqa: F401
from dcls.errors import UserError
from training.config import OptimizerConfig, ScheduleConfig
from training.optimization import make_optimizer, make_scheduler


@pytest.fixture(scope="module")
def model():
    return timm.create_model("convnext_atto_dcls_gaussian", dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))


def is_position(model, parameter) -> bool:
    return any(parameter is p for owner in dcls.position_owners(model).values() for p in (owner.positions, owner.sigma))


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd"])
def test_groups_of_every_optimizer(model, name) -> None:
    optimizer = make_optimizer(OptimizerConfig(name=name), model)
    seen = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen += 1
            positions = is_position(model, parameter)
            assert group.get("lr_scale", 1.0) == (5.0 if positions else 1.0)
            assert group["weight_decay"] == (0 if positions or parameter.ndim <= 1 else 0.05)
    assert seen == len(list(model.parameters()))


def test_layer_decay_and_position_scale_multiply(model) -> None:
    optimizer = make_optimizer(OptimizerConfig(layer_decay=0.5, positions_lr_scale=3.0), model)
    scales = {is_position(model, p): set() for g in optimizer.param_groups for p in g["params"]}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            scales[is_position(model, parameter)].add(group["lr_scale"])
    assert scales[True] <= {3 * scale for scale in scales[False]} and len(scales[True]) == 4


def test_positions_and_spreads_can_be_left_where_they_start(model) -> None:
    optimizer = make_optimizer(OptimizerConfig(positions_lr_scale=0.0, spreads_lr_scale=3.0), model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    make_scheduler(ScheduleConfig(warmup_lr=1e-3), optimizer, updates_per_epoch=5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}
    assert moved == {name for name in before if not name.endswith("positions")}
    assert {"positions_x0", "positions_x3"} <= {group["name"] for group in optimizer.param_groups}


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_per_update_schedule_follows_its_formula_in_every_group(model, name) -> None:
    optimizer = make_optimizer(OptimizerConfig(name=name), model)
    schedule = ScheduleConfig(epochs=8, warmup_epochs=2, min_lr=1e-5)
    scheduler = make_scheduler(schedule, optimizer, updates_per_epoch=5)
    assert schedule.total_epochs == 10
    for update in range(50):
        if update < 10:
            expected = 4e-3 * update / 10
        else:
            expected = 1e-5 + (4e-3 - 1e-5) * (1 + math.cos(math.pi * (update - 10) / 40)) / 2
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(expected * group.get("lr_scale", 1.0), abs=1e-12)
        scheduler.step_update(update + 1)
        scheduler.step((update + 1) // 5)


def test_per_epoch_schedule_with_cooldown(model) -> None:
    optimizer = make_optimizer(OptimizerConfig(), model)
    schedule = ScheduleConfig(
        epochs=10,
        warmup_epochs=2,
        warmup_prefix=False,
        warmup_lr=1e-6,
        min_lr=1e-5,
        cooldown_epochs=3,
        per_update=False,
    )
    scheduler = make_scheduler(schedule, optimizer, updates_per_epoch=5)
    assert schedule.total_epochs == 13
    for epoch in range(13):
        if epoch < 2:
            expected = 1e-6 + (4e-3 - 1e-6) * epoch / 2
        else:
            expected = 1e-5 + (4e-3 - 1e-5) * (1 + math.cos(math.pi * min(epoch, 10) / 10)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        scheduler.step_update(5 * (epoch + 1))
        scheduler.step(epoch + 1)


def test_clamping_is_an_option(model) -> None:
    for clamp in (False, True):
        optimizer = make_optimizer(OptimizerConfig(clamp_positions=clamp), model)
        positions = model.stages[0].blocks[0].conv_dw.positions
        with torch.no_grad():
            positions.fill_(40.0)
        positions.grad = torch.zeros_like(positions)
        optimizer.step()
        assert torch.all(positions == (11 if clamp else 40))


def test_unknown_optimizers_are_named(model) -> None:
    with pytest.raises(UserError, match="optimizer.name: timm knows no 'adamz', but .*adam"):
        make_optimizer(OptimizerConfig(name="adamz"), model)


@pytest.mark.parametrize("name", ["cosine", "tanh", "step", "multistep", "poly", "constant"])
@pytest.mark.parametrize("per_update", [True, False])
@pytest.mark.parametrize("warmup_prefix", [True, False])
def test_the_configuration_knows_the_length_of_every_schedule(model, name, per_update, warmup_prefix) -> None:
    schedule = ScheduleConfig(
        name=name, epochs=8, warmup_epochs=2, cooldown_epochs=3, warmup_prefix=warmup_prefix, per_update=per_update
    )
    make_scheduler(schedule, make_optimizer(OptimizerConfig(), model), updates_per_epoch=5)  # compares it with timm's
    cooldown = 3 if name in ("cosine", "tanh", "poly") else 0
    assert schedule.total_epochs == 8 + (2 if warmup_prefix else 0) + cooldown
