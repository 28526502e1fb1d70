import re

import pytest
import torch
from linear_training import ALONE, linear_config
from shared_pair import SharedPair
from torch import nn

import dcls
import train
from training.data.batches import BatchPlan
from training.objective import make_objective
from training.position_history import PositionHistory
from training.position_warnings import PositionWarnings
from training.state import TrainState, make_state


def depthwise(kind=dcls.Dcls2d, count: int = 26, size=23, **options) -> nn.Module:
    return nn.Sequential(kind(32, 32, count, size, groups=32, padding="same", **options))


def started(model: nn.Module, folder, /, **sections) -> tuple[TrainState, PositionWarnings]:
    defaults = dict(training={"batch_size": 12, "channels_last": False, "ema_decay": None})
    config = linear_config(**(defaults | sections))
    state = make_state(config, model, make_objective(config, model, 3, BatchPlan(12, 12, 1), ALONE), ALONE, 2)
    warnings = PositionWarnings(config, folder)
    warnings.begin(state)
    return state, warnings


def after_epoch(state: TrainState, warnings: PositionWarnings, epoch: int = 1) -> list[str]:
    state.epoch = epoch
    return list(warnings.epoch(state))


@torch.no_grad()
def spread_out(model: nn.Module) -> None:
    """As a healthy network: everywhere in the kernel, a little away from its border."""
    for owner in dcls.position_owners(model).values():
        for position, (low, high) in zip(owner.positions, owner.position_limits, strict=True):
            nn.init.uniform_(position, 0.9 * low, 0.9 * high)


LAYERS = {
    "1d": lambda **o: depthwise(dcls.Dcls1d, 5, 101, **o),
    "2d": lambda **o: depthwise(**o),
    "3d": lambda **o: depthwise(dcls.Dcls3d, 5, 9, **o),
    "along one axis": lambda **o: depthwise(count=3, size=(3, 31), learned_axes=(1,), **o),
}


@pytest.fixture(params=LAYERS)
def build(request):
    return LAYERS[request.param]


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
@pytest.mark.parametrize("initial", ["normal", "uniform", "half_normal"])
def test_new_layers_and_those_that_spread_out_are_healthy(build, interpolation, initial, tmp_path) -> None:
    model = build(interpolation=interpolation, initial_positions=initial)
    state, warnings = started(model, tmp_path)
    assert after_epoch(state, warnings) == []
    spread_out(model)
    if model[0].sigma is not None:
        nn.init.uniform_(model[0].sigma, 0.1, 1.0)
    assert after_epoch(state, warnings, 10) == []


@pytest.mark.parametrize("count", [10, 26, 34])
@pytest.mark.parametrize("seed", range(3))
def test_positions_of_the_papers_that_are_drawn_again_do_not_count_as_coinciding(count, seed, tmp_path) -> None:
    model = depthwise(count=count)
    state, warnings = started(model, tmp_path)
    torch.manual_seed(seed)
    model[0].reset_positions()
    assert after_epoch(state, warnings) == []


def test_elements_outside_the_kernel_are_told_with_what_keeps_them_inside(build, tmp_path) -> None:
    model = build()
    state, warnings = started(model, tmp_path)
    spread_out(model)
    with torch.no_grad():
        model[0].positions[-1].flatten()[0] = 100
    (told,) = after_epoch(state, warnings)
    assert re.fullmatch(
        r"up to \S+ % of the elements of 0 left the kernel; set optimizer.clamp_positions=true .*", told
    )
    assert after_epoch(state, warnings, 2) == []


@pytest.mark.parametrize("converted", [True, False])
def test_elements_at_the_border_ask_for_a_larger_kernel(build, converted, tmp_path) -> None:
    model = build()
    section = dict(name="linear") | ({"dcls": {"dilated_kernel_size": 23, "kernel_count": 3}} if converted else {})
    state, warnings = started(model, tmp_path, model=section)
    spread_out(model)
    assert after_epoch(state, warnings) == []
    with torch.no_grad():
        model[0].positions[-1, :6].mul_(20)
    model[0].clamp_positions()
    (told,) = after_epoch(state, warnings)
    assert "of 0 are at the border of the kernel" in told
    assert f"a larger model.{'dcls' if converted else 'options'}.dilated_kernel_size" in told


@pytest.mark.parametrize(
    "start, fix",
    [(None, "repulsion_start_epoch=1"), (21, "repulsion_start_epoch=1"), (0, "model.options.kernel_count")],
)
def test_elements_that_fell_into_one_place_are_told(build, start, fix, tmp_path) -> None:
    model = build()
    state, warnings = started(model, tmp_path, optimizer=dict(name="sgd", lr=0.1, repulsion_start_epoch=start))
    with torch.no_grad():
        model[0].positions.mul_(1e-3).add_(1)
    (told,) = after_epoch(state, warnings)
    assert "up to 1e+02 %" not in told and "of 0 are less than half a pixel from another one" in told and fix in told


@pytest.mark.parametrize("interpolation", [n for n, kind in dcls.INTERPOLATIONS.items() if kind.has_sigma])
def test_spreads_that_collapse_are_told_and_those_that_begin_at_the_floor_only_then(
    build, interpolation, tmp_path
) -> None:
    model = build(interpolation=interpolation)
    state, warnings = started(model, tmp_path)
    spread_out(model)
    nn.init.uniform_(model[0].sigma, 0.1, 1.0)
    assert after_epoch(state, warnings) == []
    nn.init.uniform_(model[0].sigma, -0.01, 0.01)
    (told,) = after_epoch(state, warnings, 2)
    assert "of the spreads of 0 are as small as they can be; lower optimizer.spreads_lr_scale" in told


def test_spreads_that_a_schedule_sets_are_as_they_are_meant(tmp_path) -> None:
    model = depthwise(dcls.Dcls1d, 5, 101, initial_positions="uniform")
    schedule = dcls.SpreadSchedule(model, initial=12, final=1e-3, steps=1)
    state, warnings = started(model, tmp_path)
    schedule.step()
    assert after_epoch(state, warnings) == []


def test_positions_that_do_not_move_are_told_after_some_epochs(build, tmp_path) -> None:
    model = build()
    state, warnings = started(model, tmp_path)
    assert [after_epoch(state, warnings, epoch) for epoch in (1, 2)] == [[], []]
    (told,) = after_epoch(state, warnings, 3)
    assert told.startswith("up to 100 % of the elements of 0 have not moved since epoch 0; raise optimizer.")
    assert after_epoch(state, warnings, 4) == []


def test_elements_that_rest_are_told_though_others_move_far(tmp_path) -> None:
    model = depthwise()
    state, warnings = started(model, tmp_path)
    elements = model[0].positions.flatten(1, -2)  # (axes, kernels, count)
    count = elements.shape[-1]
    elements.data[..., : count // 2 - 1] += 0.7
    (told,) = after_epoch(state, warnings, 3)
    assert "% of the elements of 0 have not moved" in told and "up to 100 %" not in told


@pytest.mark.parametrize("reason", ["frozen", "no learning rate", "moved"])
def test_positions_that_rest_on_purpose_or_move_are_not_told(reason, tmp_path) -> None:
    model = depthwise()
    state, warnings = started(model, tmp_path)
    if reason == "frozen":
        model[0].positions.requires_grad_(False)
    elif reason == "moved":
        model[0].positions.data.add_(0.011)
    else:
        for group in state.optimizer.param_groups:
            group["lr"] = 0.0
    assert after_epoch(state, warnings, 5) == []


def test_a_continued_run_remembers_where_its_positions_began(tmp_path) -> None:
    model = depthwise()
    state, _ = started(model, tmp_path)
    PositionHistory(tmp_path, 10).begin(state)
    state.epoch = 2
    warnings = PositionWarnings(linear_config(), tmp_path)
    warnings.begin(state)
    (told,) = after_epoch(state, warnings, 3)
    assert "since epoch 0" in told
    state.epoch = 2
    warnings = PositionWarnings(linear_config(), tmp_path / "elsewhere")
    warnings.begin(state)
    assert after_epoch(state, warnings, 3) == [] and "since epoch 2" in after_epoch(state, warnings, 5)[0]


def test_layers_of_a_set_and_of_several_sets_are_named_in_one_line(tmp_path) -> None:
    model = nn.Sequential(SharedPair(), SharedPair(), nn.Linear(2, 2))
    state, warnings = started(model, tmp_path)
    with torch.no_grad():
        model[0].first.positions[0, 0, 0, 0] = 50
        model[1].first.positions[0] = 50
    told = [line for line in after_epoch(state, warnings) if "left" in line]
    assert len(told) == 1 and "up to 1e+02" not in told[0]
    assert told[0].startswith(
        "up to 100 % of the elements of 0.first, 0.second, 1.first and 1 more layer left the kernel"
    )


def test_a_network_without_learned_positions_has_no_warnings(tmp_path) -> None:
    state, warnings = started(nn.Sequential(nn.Linear(2, 2)), tmp_path)
    assert after_epoch(state, warnings, 5) == []


def test_a_run_tells_a_kind_once(tiny_config, tmp_path, capsys) -> None:
    arguments = [
        "--config",
        str(tiny_config(schedule="{epochs: 4, warmup_epochs: 0}", optimizer="{lr: 1e-3, positions_lr_scale: 1e-3}")),
    ]
    train.main(arguments)
    told = [line for line in capsys.readouterr().out.splitlines() if "have not moved" in line]
    assert len(told) == 1 and told[0].startswith("warning: up to 100 % of the elements of stages.0.blocks.0.conv_dw, ")
