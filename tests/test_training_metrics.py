import csv
import json

import pytest
from linear_training import ALONE, UPDATES_PER_EPOCH, linear_config, linear_training

from training.loop import UpdateSummary
from training.metrics import MetricsLogger, better_weights, counted_weights

ROW = {"train_loss": 1.0, "val_top1": 50.0, "train_images_per_second": 10.0, "train_waiting": 0.25}


def logger(folder, state, **logging) -> MetricsLogger:
    return MetricsLogger(folder, linear_config(logging=logging), ALONE, UPDATES_PER_EPOCH, state)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def step(update: int) -> UpdateSummary:
    return UpdateSummary(0, update, loss=1.0, gradient_norm=1.0, learning_rate=0.1, learning_rates={"weights": 0.1})


@pytest.fixture
def state():
    return linear_training(linear_config())[0]


def test_averaged_weights_count_where_there_are_any() -> None:
    assert counted_weights({"val_top1": 1.0, "ema_top1": 2.0}) == "ema"
    assert counted_weights({"val_top1": 1.0}) == "val"


def test_updates_are_told_at_the_interval_and_epochs_are_one_table(tmp_path, state, capsys) -> None:
    metrics = logger(tmp_path, state, log_interval=2)
    for update in range(1, 5):
        metrics.update(step(update))
    assert [line["update"] for line in lines(tmp_path)] == [2, 4]
    for epoch, more in enumerate(({}, {"ema_top1": 60.0})):
        state.complete_epoch({"epoch": epoch, **ROW, **more})
        metrics.epoch(state)
    with (tmp_path / "metrics.csv").open() as file:
        assert [(row["epoch"], row["ema_top1"]) for row in csv.DictReader(file)] == [("0", ""), ("1", "60.0")]
    assert "epoch 1  train_loss 1.0000  val_top1 50.00 %  ema_top1 60.00 %  10 images/s  waiting 25%" in (
        out := capsys.readouterr().out
    )
    assert out.count("warning: the device waited 25% of the epoch for images") == 1


def test_a_damaged_log_is_told(tmp_path, state, capsys) -> None:
    state.updates, state.log_size, state.log_checksum = 3, 100, 1
    logger(tmp_path, state, log_interval=1)
    assert "metrics.jsonl was damaged, lines are missing between updates 0 and 4\n" in capsys.readouterr().out


def test_the_better_weights_of_an_epoch_are_those_of_the_higher_accuracy() -> None:
    assert better_weights({"val_top1": 2.0, "ema_top1": 1.0}) == "val"
    assert better_weights({"val_top1": 1.0, "ema_top1": 2.0}) == "ema"
    assert better_weights({"val_top1": 1.0, "ema_top1": 1.0}) == "ema"
    assert better_weights({"val_top1": 1.0}) == "val"
