"""Opening checkpoint files without running anything that is in them."""

import argparse
import pathlib
import pickle
import re
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import safetensors.torch
import torch
from safetensors import SafetensorError
from timm.models import clean_state_dict
from torch import Tensor

# What the authors' files hold besides tensors and plain values: the options of their training. Nothing else is allowed.
_ALLOWED = [argparse.Namespace, (pathlib.PosixPath, "pathlib.PosixPath")]
# Under which keys the weights stand, in the order in which they are looked for.
_AVERAGED, _PLAIN = ("state_dict_ema", "model_ema"), ("state_dict", "model")
# What torch and safetensors raise for files that are damaged or something else.
_UNREADABLE = (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, SafetensorError)


def read_released(path: str | Path, *, use_ema: bool = True) -> dict[str, Tensor]:
    """The weights in a released file, a checkpoint of this project or timm's, or a plain state dict; names as there.

    Args:
        use_ema: Take the averaged weights where the file has them.

    Raises:
        ValueError: see ``open_safely``, or the file holds no weights.
    """
    content = state = open_safely(path)
    keys = (_AVERAGED if use_ema else ()) + _PLAIN
    if isinstance(content, dict):
        state = next((content[key] for key in keys if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights: expected tensors by their names, or such under {', '.join(keys)}")
    return clean_state_dict(state)


def open_safely(path: str | Path, *, mmap: bool = False) -> Any:
    """All that a .safetensors file or one of torch's holds.

    Args:
        mmap: Leave tensors in the file until they are used, where the format allows it.

    Raises:
        ValueError: the file is missing, incomplete or no checkpoint, or asks for more than tensors, plain values and
            the options of a training.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it, such as {path / 'best.pt'}")
    if not path.is_file():
        raise ValueError(f"no checkpoint file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zipfile(path))
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        raise ValueError(f"{path} {_why_unreadable(error)}") from None


def _why_unreadable(error: Exception) -> str:
    """What torch means, without its advice to trust the file."""
    code = re.search(r"(?:GLOBAL|globals:) ([\w.]*\w)", str(error))
    if code is not None:
        return f"asks to run code when it is opened ({code.group(1)}); it is refused, nothing of it was run"
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "is no checkpoint, or it is damaged; write or download it again"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"is no checkpoint, or it is damaged ({reason}); write or download it again"
