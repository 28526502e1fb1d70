import time

import pytest
import torch
from linear_training import ALONE, UPDATES_PER_EPOCH, linear_config, linear_training

from dcls.errors import UserError
from training.loop import NonFiniteLossError, train_epoch


def test_accumulated_batches_give_the_weights_of_whole_ones() -> None:
    weights, losses = [], []
    for accumulation in (1, 3):
        state, loader, objective = linear_training(linear_config(), accumulation)
        steps = []
        summary = train_epoch(state, loader, objective, ALONE, steps.append)
        assert [step.update for step in steps] == list(range(1, UPDATES_PER_EPOCH + 1)) and state.updates == len(steps)
        assert summary.loss == pytest.approx(sum(step.loss for step in steps) / len(steps))
        weights.append(state.model[1].weight)
        losses.append(summary.loss)
    torch.testing.assert_close(*weights)
    assert losses[0] == pytest.approx(losses[1])


def test_the_gradient_is_clipped_and_its_norm_before_that_is_told() -> None:
    optimizer = {"name": "sgd", "lr": 1.0, "weight_decay": 0.0, "clip_grad": 1e-3}
    state, loader, objective = linear_training(linear_config(optimizer=optimizer))
    before, steps = state.model[1].weight.clone(), []
    train_epoch(state, loader, objective, ALONE, steps.append)
    assert all(step.gradient_norm > 1e-2 for step in steps)
    assert (state.model[1].weight - before).norm() < 1e-2


def test_a_label_that_the_model_lacks_is_named() -> None:
    state, loader, objective = linear_training(linear_config())
    loader.dataset.labels = [7] * len(loader.dataset)
    with pytest.raises(UserError, match="model.num_classes: labels go from 7 to 7, the model has 3 outputs"):
        train_epoch(state, loader, objective, ALONE, lambda step: None)


def test_a_loss_that_is_not_finite_is_told_with_its_update() -> None:
    state, loader, objective = linear_training(linear_config())
    torch.nn.init.constant_(state.model[1].weight, float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at update 1 \(epoch 0\), learning rate 0.1"):
        train_epoch(state, loader, objective, ALONE, lambda step: None)


def test_the_share_of_waiting_is_that_of_the_slow_side(monkeypatch) -> None:
    state, loader, objective = linear_training(linear_config(), accumulation=3)
    handle = state.ddp_model.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    slow_device = train_epoch(state, loader, objective, ALONE, lambda step: None).waiting
    handle.remove()
    read = type(loader.dataset).__getitem__

    def read_slowly(*arguments):
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr(type(loader.dataset), "__getitem__", read_slowly)
    state.progress = None
    slow_loader = train_epoch(state, loader, objective, ALONE, lambda step: None).waiting
    assert 0 <= slow_device < slow_loader <= 1
