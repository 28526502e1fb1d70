from pathlib import Path

import pytest
import torch
from linear_training import ALONE, linear_config, linear_training

from dcls.errors import UserError
from training.checkpoints.snapshot import check, restore, take
from training.loop import train_epoch
from training.processes.distributed import DistributedContext

FILE = Path("last.pt")
MOMENTUM = {"name": "momentum", "lr": 0.1}


def trained():
    state, loader, objective = linear_training(linear_config(optimizer=MOMENTUM))
    train_epoch(state, loader, objective, ALONE, lambda step: None)
    return state


def test_a_restored_run_is_where_the_saved_one_was_but_for_its_own_learning_rate() -> None:
    saved = trained()
    saved.complete_epoch({"epoch": 0, "val_top1": 50.0})
    state, _, _ = linear_training(linear_config(optimizer=MOMENTUM | {"lr": 0.02}))
    restore(state, take(saved), FILE, ALONE)
    assert (state.epoch, state.updates, state.history, state.progress) == (1, 2, [{"epoch": 0, "val_top1": 50.0}], None)
    assert torch.equal(state.model[1].weight, saved.model[1].weight)
    assert torch.equal(state.ema.module[1].weight, saved.ema.module[1].weight)
    moments = [[s["momentum_buffer"] for s in run.optimizer.state.values()] for run in (state, saved)]
    assert len(moments[0]) == 2 and all(torch.equal(a, b) for a, b in zip(*moments, strict=True))
    assert state.learning_rate == 0.02


def test_sums_of_an_epoch_that_had_more_processes_go_on_in_the_first_one() -> None:
    parts = [{"loss": 1.5, "images": 12}, {"loss": 2.5, "images": 12}]
    content = take(trained(), parts)
    for rank, expected in ((0, (4.0, 24)), (1, (0.0, 0))):
        state, _, _ = linear_training(linear_config(optimizer=MOMENTUM))
        restore(state, content, FILE, DistributedContext(rank, 3, torch.device("cpu")))
        assert (state.progress.loss.item(), state.progress.images) == expected
        assert state.progress.updates == 2


@pytest.mark.parametrize(
    "change, problem",
    [({"epoch": -1}, "its epoch is -1"), ({"history": [{}, {}]}, "it has 2 rows for 0 epochs"), ({"scaler": 3}, "its scaler is 3")],
)  # fmt: skip
def test_what_cannot_be_is_refused(change, problem) -> None:
    content = take(trained(), [])
    check(content, FILE)
    with pytest.raises(UserError, match=f"last.pt is damaged: {problem}"):
        check(content | change, FILE)


def test_another_model_is_refused() -> None:
    content = take(trained(), [])
    content["state_dict"] = {"0.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"last.pt does not fit Sequential"):
        restore(linear_training(linear_config(optimizer=MOMENTUM))[0], content, FILE, ALONE)
