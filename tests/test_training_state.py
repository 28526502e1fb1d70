import math

import pytest
import torch
from linear_training import linear_config, linear_training


def test_a_completed_epoch_becomes_history_and_steps_the_schedule() -> None:
    schedule = {"epochs": 4, "warmup_epochs": 0, "per_update": False, "min_lr": 0.0}
    state, _, _ = linear_training(linear_config(schedule=schedule))
    row = {"epoch": 0, "train_loss": 1.0}
    state.complete_epoch(row)
    assert (state.epoch, state.progress, state.history) == (1, None, [row])
    assert state.learning_rate == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2)


def test_learning_rates_go_by_the_groups_names_and_that_of_the_run_is_without_scale() -> None:
    state, _, _ = linear_training(linear_config())
    assert set(state.learning_rates.values()) == {0.1} and "weights" in state.learning_rates
    for group in state.optimizer.param_groups:
        group["lr_scale"], group["lr"] = (5.0, 0.5) if group["name"] == "weights" else (1.0, 0.2)
    assert state.learning_rate == 0.2


def test_averaged_weights_are_an_option() -> None:
    assert linear_training(linear_config(training={"batch_size": 12, "ema_decay": None}))[0].ema is None
    state, _, _ = linear_training(linear_config())
    assert torch.equal(state.ema.module[1].weight, state.model[1].weight)
    assert state.ema.module[1].weight is not state.model[1].weight
