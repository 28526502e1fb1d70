"""Checkpoint files: written whole or not at all, read without running what is in them.

``last.pt`` and ``best.pt`` hold everything a run needs to continue, and under ``state_dict`` and ``state_dict_ema`` the
weights where timm's own tools look for them. ``model.safetensors`` holds the weights alone. Both describe the model
they belong to.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dcls.errors import UserError
from models.released.loading import load_exactly
from models.released.reading import open_safely, read_released
from training.atomic_io import write_atomic

FORMAT = 1
_METADATA_KEY = "dcls_imagenet"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; what was at ``path`` stays until the new one is complete on disk.

    Raises:
        UserError: the disk is full or refuses; the file that was there is unharmed.
    """
    write_atomic(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def save_weights(path: Path, model: nn.Module, description: dict[str, Any]) -> None:
    """Write weights as safetensors, with the description of their model as metadata.

    Raises:
        UserError: as ``save_checkpoint``.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metadata = {_METADATA_KEY: json.dumps(description)}
    write_atomic(path, lambda file: file.write(safetensors.torch.save(tensors, metadata)))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project.

    Raises:
        UserError: the file is missing, damaged, unsafe, or something else.
    """
    content = _for_users(open_safely, path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project (format {FORMAT}), so no run can continue from it")
    return content


def read_weights(path: str | Path, use_ema: bool = True) -> dict[str, Tensor]:
    """Read the weights of a .safetensors file, a checkpoint of this project or timm's, or a plain state dict.

    Args:
        use_ema: Take the averaged weights where the file has them.

    Raises:
        UserError: as ``read_checkpoint``.
    """
    return _for_users(read_released, path, use_ema=use_ema)


def read_description(path: str | Path) -> dict[str, Any] | None:
    """What a file of this project says of its model or None for any other file.

    Raises:
        UserError: as ``read_checkpoint``.
    """
    if str(path).endswith(".safetensors"):
        text = _for_users(_read_metadata, path)
        return json.loads(text[_METADATA_KEY]) if _METADATA_KEY in text else None
    content = _for_users(open_safely, path, mmap=True)
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    return content.get("description") if is_ours else None


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit the model exactly; those of a released file are converted.

    Raises:
        UserError: names or shapes differ, or it is a released file of another model.
    """
    _for_users(load_exactly, model, weights, origin)


def _read_metadata(path: str | Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _for_users(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except ValueError as error:
        raise UserError(str(error)) from None
