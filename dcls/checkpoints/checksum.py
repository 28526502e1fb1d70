"""The checksum of what a .safetensors file holds: names, types, shapes, numbers and description."""

import ctypes
import hashlib
import json
from collections.abc import Mapping

from torch import Tensor

CHECKSUM_KEY = "dcls_imagenet_sha256"
"""Under which a .safetensors file keeps it, beside its description."""


def checksum(weights: Mapping[str, Tensor], description: str) -> str:
    """Return the SHA-256 of weights on the CPU and of their description, as hexadecimal digits."""
    digest = hashlib.sha256()
    facts = [(name, str(tensor.dtype), tuple(tensor.shape)) for name, tensor in sorted(weights.items())]
    digest.update(json.dumps([description, facts]).encode())
    for _, tensor in sorted(weights.items()):
        digest.update(_bytes_of(tensor.contiguous()))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> ctypes.Array[ctypes.c_char] | bytes:
    """View the numbers of a contiguous tensor as bytes, without copying them."""
    size = tensor.numel() * tensor.element_size()
    return (ctypes.c_char * size).from_address(tensor.data_ptr()) if size else b""
