"""Continuing a run: what may differ from the run that wrote the checkpoint, and what would make it another run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcls.errors import UserError
from training.checkpoints.checkpoint import read_checkpoint
from training.checkpoints.snapshot import check
from training.config import Config

_SAME_RUN = (
    "model.name",
    "model.options",
    "data.dataset",
    "optimizer.name",
    "optimizer.options",
    "training.batch_size",
    "training.seed",
)
_OF_NO_CONSEQUENCE = ("checkpoint", "logging")


def read_first_good(candidates: Sequence[Path]) -> tuple[dict[str, Any], Path, list[UserError]]:
    """Read the first checkpoint that is not damaged.

    Returns:
        Its content, its file, and what is wrong with those before it.

    Raises:
        UserError: all are.
    """
    problems: list[UserError] = []
    for path in candidates:
        try:
            content = read_checkpoint(path)
            check(content, path)
            return content, path, problems
        except UserError as error:
            problems.append(error)
    raise problems[0].replace(on_every_rank=True)


def differences(saved: dict[str, dict[str, Any]], config: Config) -> dict[str, list[Any]]:
    """Every key of consequence that differs from a saved configuration -> its values then and now."""
    return {
        f"{section}.{key}": [saved[section][key], value]
        for section, keys in config.model_dump().items()
        if section not in _OF_NO_CONSEQUENCE
        for key, value in keys.items()
        if key in saved.get(section, {}) and saved[section][key] != value
    }


def diff_config(saved: dict[str, dict[str, Any]], config: Config, origin: Path) -> dict[str, list[Any]]:
    """Every key that changed since the checkpoint -> its values then and now.

    Args:
        saved: The configuration in the checkpoint, by section and key.
        origin: The checkpoint's file, for the message.

    Raises:
        UserError: a key changed without which it is not the same run.
    """
    changes = differences(saved, config)
    for key, (before, now) in changes.items():
        if key in _SAME_RUN:
            raise UserError(
                f"{before!r} in {origin} and now {now!r}, which would be another run",
                "set it back, or begin a new one with another checkpoint.name (model.initial_checkpoint takes over "
                "weights)",
                key=key,
                on_every_rank=True,
            )
    return changes
