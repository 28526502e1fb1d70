"""Checkpoint files: written whole or not at all; ``dcls.checkpoints`` reads them.

The states of a run, to which ``last.pt`` and ``best.pt`` are links, hold everything it needs to continue, and under
``state_dict`` and ``state_dict_ema`` the weights where timm's own tools look for them. ``model.safetensors`` holds the
weights alone. Both describe the model they belong to.
"""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from dcls.checkpoints.checksum import CHECKSUM_KEY, checksum
from dcls.checkpoints.description import METADATA_KEY, ModelDescription
from dcls.checkpoints.reading import FORMAT, open_safely
from dcls.errors import UserError
from training.atomic_io import write_atomic


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; what was at ``path`` stays until the new one is complete on disk.

    Raises:
        UserError: the disk is full or refuses; the file that was there is unharmed.
    """
    write_atomic(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def save_weights(path: Path, model: nn.Module, description: ModelDescription) -> None:
    """Write weights as safetensors, with the description of their model and a checksum of all as metadata.

    Raises:
        UserError: as ``save_checkpoint``.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    described = json.dumps(description.to_dict())
    metadata = {METADATA_KEY: described, CHECKSUM_KEY: checksum(tensors, described)}
    write_atomic(path, lambda file: file.write(safetensors.torch.save(tensors, metadata)))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project, for its run to continue.

    Raises:
        UserError: the file is missing, damaged, unsafe, or something else.
    """
    content = open_safely(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project (format {FORMAT}), so no run can continue from it")
    return content
