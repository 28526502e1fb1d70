"""Opening a released file without running anything that is in it."""

import argparse
import pathlib
import pickle
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

# What the files hold besides tensors and plain values: the options of their training. Nothing else is allowed.
ALLOWED = [argparse.Namespace, (pathlib.PosixPath, "pathlib.PosixPath")]
# Under which keys the weights stand; averaged ones before the others.
_WEIGHTS = ("state_dict_ema", "model_ema", "state_dict", "model")


def read_released(path: str | Path) -> dict[str, Tensor]:
    """The (averaged) weights in a file, under the names they have there.

    Raises:
        ValueError: the file is missing, incomplete, no checkpoint, or asks for more than tensors, plain values and the
            options of a training.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint file {path}")
    content = _open(path)
    state = content
    for key in _WEIGHTS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            state = content[key]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} holds no weights: expected tensors by their names, or such under {', '.join(_WEIGHTS)}"
        )
    return {name.removeprefix("module."): value for name, value in state.items()}


def _open(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise ValueError(f"{path} is not a checkpoint, or it is damaged; download it again") from None
        raise ValueError(
            f"{path} asks to run code when it is opened ({wanted.group(1).rstrip('.')}); it is refused, nothing of it "
            "was run"
        ) from None
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is incomplete or no checkpoint ({reason}); download it again") from None
