"""How batches are computed: device, precision and memory format."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Precision:
    """How batches are computed, in training and evaluation alike.

    Attributes:
        device: Where.
        dtype: "float32", or "bfloat16" or "float16" by autocast.
        channels_last: Memory format of images and weights.
    """

    device: torch.device
    dtype: str = "float32"
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, model: nn.Module) -> None:
        """Bring a model to the device, and its tensors of four axes into the memory format.

        ``model.to(memory_format=torch.channels_last)`` refuses models with tensors of five, such as the positions of a
        2-D layer with ``learned_axes``.
        """
        model.to(self.device)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=self.memory_format)

    def images(self, images: Tensor) -> Tensor:
        """Bring images (B, C, H, W) to the device, in the memory format."""
        return images.to(self.device, non_blocking=True, memory_format=self.memory_format)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass."""
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.dtype))
