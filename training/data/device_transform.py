"""From 8-bit pixels to a model's input, on the device: normalized, with rectangles erased, in channels last."""

import random
from typing import Any, NamedTuple

import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from dcls.checkpoints.description import Preprocessing
from training.data.copy_stream import CopyStream

_SEED_BITS = 63


class Pixels(NamedTuple):
    """One image, or a batch with a further dimension in front, as loader processes hand them over.

    Attributes:
        pixels: (H, W, 3) uint8.
        erasures: (K, 5) int64: top, left, height and width of the rectangles to erase, and the seed of their noise.
            Rectangles without a height do not exist.
    """

    pixels: Tensor
    erasures: Tensor


class RandomErasures:
    """Draw the rectangles of an image, as timm's ``RandomErasing`` does.

    Args:
        probability: Of erasing anything.
        max_count: Most rectangles.
    """

    def __init__(self, probability: float, max_count: int) -> None:
        self.max_count = max_count if probability > 0 else 0
        self.erasing = RandomErasing(probability, mode="const", max_count=max_count, device="cpu")

    def __call__(self, height: int, width: int) -> Tensor:
        """Draw from the global generator of Python: (max_count, 5), as ``Pixels.erasures``."""
        erasures = torch.zeros(self.max_count, 5, dtype=torch.int64)
        if self.max_count:
            drawn = _Rectangles(height, width)
            self.erasing(drawn)
            for erasure, rectangle in zip(erasures, drawn.rectangles, strict=False):
                erasure[:] = torch.tensor([*rectangle, random.getrandbits(_SEED_BITS)])
        return erasures


class _Rectangles:
    """Stand in for an image, and note what timm erases of it."""

    dtype = torch.uint8

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.rectangles: list[tuple[int, int, int, int]] = []

    def size(self) -> tuple[int, int, int]:
        return 3, self.height, self.width

    def __setitem__(self, place: tuple[slice, slice, slice], value: Tensor) -> None:
        _, rows, columns = place
        self.rectangles.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


class DeviceTransform:
    """Bring batches to the device, normalize them and erase rectangles.

    Everything a result depends on is in the batch, so it is the same in all processes. On a CPU, images without
    rectangles have the bits that torchvision's ``ToTensor`` and ``Normalize`` give them.

    Args:
        preprocessing: Mean and standard deviation, for values from 0 to 1.
        device: Where the model is.
        erasing_mode: "const" (zeros), "rand" (one random color) or "pixel" (noise).
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device, erasing_mode: str = "const") -> None:
        self.device = device
        self.erasing_mode = erasing_mode
        self.copy_stream = CopyStream(device)
        # Tensors, because CUDA would multiply by the inverse of a number.
        self.white = torch.tensor(255.0, device=device)
        self.mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1)
        self.generator = torch.Generator(device)

    def __call__(self, batch: Pixels) -> Tensor:
        """(B, H, W, 3), (B, K, 5) -> (B, 3, H, W) float32 on the device, in channels last."""
        return self.copy_stream.run(self._prepare, batch)

    def _prepare(self, batch: Pixels) -> Tensor:
        pixels = batch.pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        images = pixels.float().div_(self.white).sub_(self.mean).div_(self.std)
        for index, which in batch.erasures[:, :, 2].nonzero().tolist():
            top, left, height, width, seed = batch.erasures[index, which].tolist()
            images[index, :, top : top + height, left : left + width] = self._noise(height, width, seed)
        return images

    def _noise(self, height: int, width: int, seed: int) -> Any:
        """Return (3, height, width) or (3, 1, 1), or 0."""
        if self.erasing_mode == "const":
            return 0.0
        size = (3, height, width) if self.erasing_mode == "pixel" else (3, 1, 1)
        return torch.empty(size, device=self.device).normal_(generator=self.generator.manual_seed(seed))
