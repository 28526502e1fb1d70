"""From the command line to the models that are to be evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from models.building import create_model
from models.loading import load_model
from models.trial import build_on_meta, machine_memory
from training.run_folder import LAST, WEIGHTS

_SUFFIXES = (".pt", ".pth", ".tar", ".safetensors")


@dataclass(frozen=True)
class ModelSpec:
    """One model to evaluate.

    Attributes:
        model: timm's name; None where the checkpoint tells.
        checkpoint: File with its weights.
        pretrained: Take timm's weights of this name.
    """

    model: str | None
    checkpoint: Path | None = None
    pretrained: bool = False

    @property
    def weights(self) -> str:
        """Where the weights come from."""
        return str(self.checkpoint) if self.checkpoint else "pretrained" if self.pretrained else "random"

    def __str__(self) -> str:
        return str(self.checkpoint or self.model)

    def load(self, use_ema: bool | None, **options: Any) -> tuple[nn.Module, ModelDescription]:
        """Build the model with its weights; the description is the checkpoint's if it has one.

        Args:
            use_ema: Take averaged weights if the file has them; None for the better ones, see ``read_weights``.
            options: Arguments of the model's constructor.

        Raises:
            UserError: the model is unknown, or the checkpoint unreadable or of another model.
        """
        if self.checkpoint is None:
            assert self.model is not None
            build_on_meta(self.model, max_bytes=machine_memory(), **options)  # too large a one is refused before
            return create_model(self.model, pretrained=self.pretrained, **options), ModelDescription(self.model)
        return load_model(self.checkpoint, self.model, use_ema=use_ema, **options)


@dataclass(frozen=True)
class LoadedModel:
    """A model that fits the data.

    Attributes:
        name, weights: What the model is, and where its weights are from.
        model: With its weights.
        preprocessing: How images or clips are prepared for it.
        class_indices: The outputs that belong to the data's classes; None where these are all, in order.
    """

    name: str
    weights: str
    model: nn.Module
    preprocessing: Preprocessing
    class_indices: list[int] | None


def list_model_specs(models: Sequence[str], checkpoints: Sequence[str], pretrained: bool) -> list[ModelSpec]:
    """List the models that names, wildcards, files and folders mean.

    Args:
        models: Names and wildcards; with checkpoints at most one name, to which they all belong.
        checkpoints: Files, and folders of runs or of files.
        pretrained: With timm's weights, which wildcards are then limited to.

    Raises:
        UserError: nothing fits a wildcard or is in a folder, or there are several names for the checkpoints.
    """
    if not checkpoints:
        return [ModelSpec(name, None, pretrained) for pattern in models for name in _names(pattern, pretrained)]
    if len(models) > 1 or any(map(_is_wildcard, models)):
        raise UserError(
            "with --checkpoint give one name, to which all of the files belong, or none",
            key="--model",
            on_every_rank=True,
        )
    model = models[0] if models else None
    return [ModelSpec(model, file) for path in checkpoints for file in _files(Path(path))]


def _is_wildcard(name: str) -> bool:
    return "*" in name or "?" in name or "[" in name


def _names(pattern: str, pretrained: bool) -> list[str]:
    if not _is_wildcard(pattern):
        return [pattern]
    names = timm.list_models(pattern, pretrained=pretrained)
    if not names:
        kind = "model with pretrained weights" if pretrained else "model"
        raise UserError(f"no {kind} fits {pattern!r}", key="--model", on_every_rank=True)
    return names


def _files(path: Path) -> list[Path]:
    """Return the file; for a folder the last weights of every finished run in it, or else the files in it."""
    if not path.is_dir():
        return [path]
    runs = sorted(path.rglob(WEIGHTS))
    unfinished = sorted(path.rglob(LAST))
    if unfinished and not runs:
        raise UserError(
            f"{path} holds no finished run", f"name {unfinished[0]} to evaluate one that is not", on_every_rank=True
        )
    files = runs or sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise UserError(
            f"{path} holds no finished run ({WEIGHTS}) and no file of weights ({', '.join(_SUFFIXES)})",
            on_every_rank=True,
        )
    return files
