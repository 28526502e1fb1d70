import itertools
import os

import numpy as np
import pytest
import torch
from linear_training import ALONE, linear_config
from shared_pair import SharedPair
from torch import nn

import dcls
import train
from dcls.diagnostics import spreads
from dcls.errors import UserError
from training.data.batches import BatchPlan
from training.objective import make_objective
from training.position_history import PositionHistory, current_elements, history_files, load_history
from training.state import EpochProgress, TrainState, make_state


def state_of(model: nn.Module) -> TrainState:
    config = linear_config(training={"batch_size": 12, "channels_last": False})
    objective = make_objective(config, model, 3, BatchPlan(12, 12, 1), ALONE)
    return make_state(config, model, objective, ALONE, 2)


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "positions").glob("*"))


def run_epochs(history: PositionHistory, state: TrainState, epochs: int) -> None:
    """Positions grow by the number of the epoch."""
    for _ in range(epochs):
        state.epoch += 1
        with torch.no_grad():
            for owner in dcls.position_owners(state.model).values():
                owner.positions.add_(0.01)
        history.epoch(state)


LAYERS = {
    "1d": lambda **o: dcls.Dcls1d(2, 4, 3, 25, padding="causal", **o),
    "2d": lambda **o: dcls.Dcls2d(4, 4, 3, 9, groups=4, **o),
    "3d": lambda **o: dcls.Dcls3d(2, 2, 3, (3, 8, 9), **o),
    "along one axis": lambda **o: dcls.Dcls2d(2, 4, 3, (3, 25), learned_axes=(1,), **o),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_what_is_read_is_what_the_layer_holds(tmp_path, kind, interpolation) -> None:
    model = nn.Sequential(LAYERS[kind](interpolation=interpolation))
    nn.init.uniform_(model[0].positions, -11, 11)
    PositionHistory(tmp_path, 2).begin(state_of(model))
    ((epoch, elements),) = load_history(tmp_path)
    positions, spread = elements["0"]
    assert epoch == 0 and list(elements) == ["0"] and positions.dtype == np.float16
    assert np.abs(positions.astype(np.float32) - model[0].positions.detach().numpy()).max() < 0.01
    expected = spreads(model[0])
    assert (spread is None) == (expected is None)
    assert spread is None or (
        spread.shape == positions.shape and np.abs(spread.astype(np.float32) - expected.numpy()).max() < 0.001
    )


def test_positions_that_half_precision_would_round_are_kept_whole(tmp_path) -> None:
    model = nn.Sequential(dcls.Dcls1d(2, 2, 3, 4001))
    nn.init.uniform_(model[0].positions, -2000, 2000)
    PositionHistory(tmp_path, 2).begin(state_of(model))
    positions, _ = load_history(tmp_path)[0][1]["0"]
    assert np.array_equal(positions, model[0].positions.detach().numpy())


@pytest.mark.parametrize("extent", [9, 4001])
def test_what_is_kept_does_not_follow_the_layer_as_it_trains(extent) -> None:
    layer = dcls.Dcls1d(2, 2, 3, extent, initial_positions="uniform")
    positions, _ = current_elements(layer)[""]
    before = positions.copy()
    nn.init.zeros_(layer.positions)
    assert np.array_equal(positions, before)


def test_a_shared_set_is_kept_once_by_its_name(tmp_path) -> None:
    PositionHistory(tmp_path, 2).begin(state_of(SharedPair()))
    with np.load(tmp_path / "positions" / "epoch_0000.npz") as file:
        assert file.files == ["first.shared.positions", "first.shared.spreads"]
        assert file["first.shared.positions"].shape == (2, 4, 1, 3)
    assert load_history(str(tmp_path))[0][1].keys() == {"first.shared"}


@pytest.mark.parametrize("epochs", [1, 7, 100, 101, 300, 1000])
def test_about_a_hundred_epochs_are_kept_with_the_first_and_the_last(tmp_path, epochs) -> None:
    state, history = state_of(nn.Sequential(dcls.Dcls1d(1, 1, 1, 3))), PositionHistory(tmp_path, epochs)
    history.begin(state)
    run_epochs(history, state, epochs)
    kept = [epoch for epoch, _ in history_files(tmp_path / "positions")]
    assert kept[0] == 0 and kept[-1] == epochs and len(kept) <= 102
    steps = set(np.diff(kept[:-1]))
    assert steps <= {-(-epochs // 100)}


def test_a_run_that_goes_back_overwrites_what_came_after(tmp_path) -> None:
    state, history = state_of(SharedPair()), PositionHistory(tmp_path, 5)
    history.begin(state)
    run_epochs(history, state, 3)
    files = {path.name: path.read_bytes() for path in (tmp_path / "positions").iterdir()}
    state.epoch = 1
    with torch.no_grad():
        state.model.first.positions.add_(-0.02)
    history = PositionHistory(tmp_path, 5)
    history.begin(state)
    assert names(tmp_path) == ["epoch_0000.npz", "epoch_0001.npz"]
    run_epochs(history, state, 4)
    assert names(tmp_path) == [f"epoch_{epoch:04d}.npz" for epoch in range(6)]
    assert (tmp_path / "positions" / "epoch_0000.npz").read_bytes() == files["epoch_0000.npz"]


def test_within_an_epoch_nothing_is_written(tmp_path) -> None:
    state = state_of(SharedPair())
    state.progress = EpochProgress(0.1, torch.zeros(()))
    PositionHistory(tmp_path, 5).begin(state)
    assert not (tmp_path / "positions").exists()


def test_a_run_that_continues_another_one_begins_with_its_positions(tmp_path) -> None:
    state = state_of(SharedPair())
    state.epoch = 151
    PositionHistory(tmp_path, 200).begin(state)
    assert names(tmp_path) == ["epoch_0151.npz"]


def test_a_network_without_learned_positions_leaves_nothing(tmp_path) -> None:
    state, history = state_of(nn.Sequential(nn.Linear(2, 2))), PositionHistory(tmp_path, 1)
    history.begin(state)
    run_epochs(history, state, 1)
    assert list(tmp_path.iterdir()) == [] and load_history(tmp_path) == []


def test_damaged_files_are_left_out_and_told_in_one_line(tmp_path, capsys) -> None:
    state, history = state_of(SharedPair()), PositionHistory(tmp_path, 6)
    history.begin(state)
    run_epochs(history, state, 6)
    folder = tmp_path / "positions"
    whole = (folder / "epoch_0001.npz").read_bytes()
    (folder / "epoch_0001.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "epoch_0002.npz").write_bytes(b"")
    (folder / "epoch_0003.npz").write_bytes(whole[:150] + bytes(50) + whole[200:])
    np.savez(folder / "epoch_0004.npz", **{"first.shared.positions": np.array([{}, 1], dtype=object)})
    np.savez(folder / "epoch_0005.npz", **{"first.shared.positions": np.zeros(3)})
    (folder / "epoch_0006.npz.partial").write_bytes(whole)
    (folder / "notes.npz").write_bytes(whole)
    assert [epoch for epoch, _ in load_history(tmp_path)] == [0, 6]
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert error.startswith(f"warning: left out what is damaged in {folder}: epoch_0001.npz, epoch_0002.npz, ")


def test_any_changed_byte_is_noticed_or_harmless(tmp_path) -> None:
    PositionHistory(tmp_path, 6).begin(state_of(SharedPair()))
    path = tmp_path / "positions" / "epoch_0000.npz"
    whole = path.read_bytes()
    expected = load_history(tmp_path)[0][1]["first.shared"]
    for index in range(0, len(whole), 7):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :])
        for _, elements in load_history(tmp_path):
            assert all(
                np.array_equal(a, b) for a, b in zip(elements.get("first.shared", expected), expected, strict=True)
            )


@pytest.mark.parametrize("obstacle", ["folder", "file"])
def test_a_folder_that_refuses_is_an_error_for_people(tmp_path, obstacle) -> None:
    if obstacle == "folder":
        (tmp_path / "positions").write_text("in the way")
    else:
        (tmp_path / "positions" / "epoch_0000.npz").mkdir(parents=True)
    with pytest.raises(UserError, match=f"cannot write .*{tmp_path}/positions"):
        PositionHistory(tmp_path, 6).begin(state_of(SharedPair()))


def test_a_run_keeps_its_positions_also_where_it_was_stopped(tiny_config, tmp_path) -> None:
    config = str(tiny_config(schedule="{epochs: 3, warmup_epochs: 0}"))
    for name in ("straight", "stopped"):
        train.main(["--config", config, f"checkpoint.name={name}"])
    stopped, straight = (tmp_path / "output" / name for name in ("stopped", "straight"))
    state = sorted((stopped / "saves").glob("*.pt"))[0]
    for left in ("last.pt", "best.pt", "model.safetensors"):
        (stopped / left).unlink()
    os.link(state, stopped / "last.pt")
    train.main(["--config", config, "checkpoint.name=stopped", "checkpoint.resume=auto"])
    files = [f"epoch_{epoch:04d}.npz" for epoch in range(4)]
    assert names(stopped) == names(straight) == files
    assert all((stopped / "positions" / f).read_bytes() == (straight / "positions" / f).read_bytes() for f in files)
    moved = [elements["stages.0.blocks.0.conv_dw.shared"][0] for _, elements in load_history(straight)]
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(moved))
