"""Checkpoint files: written whole or not at all, read without running what is in them.

``last.pt`` and ``best.pt`` hold everything a run needs to continue, and under ``state_dict`` and ``state_dict_ema`` the
weights where timm's own tools look for them. ``model.safetensors`` holds the weights alone. Both describe the network
they belong to.
"""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from timm.models import load_state_dict
from torch import Tensor, nn

from models.released.loading import load_exactly
from models.released.reading import ALLOWED
from training.errors import UserError
from training.files import write_whole

FORMAT = 1
# What torch, timm and safetensors raise for files that are damaged or something else.
_UNREADABLE = (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, SafetensorError)
_METADATA_KEY = "dcls_imagenet"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; what was at ``path`` stays until the new one is complete on disk.

    Raises:
        UserError: the disk is full or refuses; the file that was there is unharmed.
    """
    write_whole(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def save_weights(path: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write weights as safetensors, with the description of their network as metadata.

    Raises:
        UserError: as ``save_checkpoint``.
    """
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {_METADATA_KEY: json.dumps(description)}
    write_whole(path, lambda file: file.write(safetensors.torch.save(tensors, metadata)))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project.

    Raises:
        UserError: the file is missing, damaged, unsafe, or something else.
    """
    content = _read_safely(path, lambda: torch.load(path, map_location="cpu", weights_only=True))
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
    weights = _read_safely(path, lambda: load_state_dict(str(path), use_ema=use_ema, weights_only=True))
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} holds no state dict: not all of its entries are tensors")
    return weights


def read_description(path: str | Path) -> dict[str, Any] | None:
    """What a file of this project says of its network or None for any other file.

    Raises:
        UserError: as ``read_checkpoint``.
    """
    if str(path).endswith(".safetensors"):
        text = _read_safely(path, lambda: safe_open(path, framework="pt").metadata())
        return json.loads(text[_METADATA_KEY]) if text and _METADATA_KEY in text else None
    content = _read_safely(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)))
    return content.get("description") if isinstance(content, dict) else None


def load_weights(network: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit the network exactly; those of a released file are converted.

    Raises:
        UserError: names or shapes differ, or it is a released file of another network.
    """
    try:
        load_exactly(network, weights, origin)
    except ValueError as error:
        raise UserError(str(error)) from None


def _read_safely(path: str | Path, read: Callable[[], Any]) -> Any:
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder; name a file in it, such as {Path(path) / 'best.pt'}")
    if not Path(path).is_file():
        raise UserError(f"no checkpoint file {path}")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return read()
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        raise UserError(f"{path} {_why_unreadable(error)}") from None


def _why_unreadable(error: Exception) -> str:
    """What torch and timm mean, without their advice to trust the file."""
    code = re.search(r"(?:GLOBAL|globals:) ([\w.]*\w)", str(error))
    if code is not None:
        return (
            f"asks to run code when it is opened ({code.group(1)}); nothing of it was run. Only files of tensors and "
            "plain values are read"
        )
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "is not a checkpoint, or it is damaged"
    return f"cannot be read as a checkpoint, it may be damaged: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
