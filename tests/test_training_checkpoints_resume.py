from pathlib import Path

import pytest
from linear_training import linear_config, linear_training

from dcls.errors import UserError
from training.checkpoints.checkpoint import save_checkpoint
from training.checkpoints.resume import diff_config, differences, read_first_good
from training.checkpoints.snapshot import take


def test_the_first_checkpoint_that_is_not_damaged_is_read(tmp_path) -> None:
    damaged, good = tmp_path / "last.pt", tmp_path / "best.pt"
    damaged.write_bytes(b"nothing")
    save_checkpoint(good, take(linear_training(linear_config())[0]))
    content, path, problems = read_first_good([damaged, good])
    assert (content["epoch"], path) == (0, good)
    assert [str(problem).startswith(str(damaged)) for problem in problems] == [True]
    with pytest.raises(UserError, match="last.pt is no checkpoint"):
        read_first_good([damaged])


def test_only_keys_of_consequence_that_the_checkpoint_has_are_compared() -> None:
    saved = linear_config().model_dump()
    del saved["training"]["precision"]
    config = linear_config(
        optimizer={"name": "sgd", "lr": 0.2}, training={"batch_size": 12, "ema_decay": 0.9, "precision": "bfloat16"},
        logging={"log_interval": 7}, checkpoint={"name": "other"},
    )  # fmt: skip
    assert differences(saved, config) == diff_config(saved, config, Path("last.pt")) == {"optimizer.lr": [0.1, 0.2]}


def test_what_would_be_another_run_is_refused() -> None:
    config = linear_config(optimizer={"name": "adamw", "lr": 0.1})
    with pytest.raises(UserError, match="optimizer.name: 'sgd' in last.pt and now 'adamw', which would be another run"):
        diff_config(linear_config().model_dump(), config, Path("last.pt"))
