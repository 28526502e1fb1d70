"""Accuracy and loss over a data set, by train.py after every epoch and by validate.py."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from training.distributed import Processes
from training.errors import UserError


@dataclass(frozen=True)
class Numerics:
    """How batches are computed.

    Attributes:
        device: Where.
        precision: "float32", or "bfloat16" or "float16" by autocast.
        channels_last: Memory format of the images.
    """

    device: torch.device
    precision: str = "float32"
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def images(self, images: Tensor) -> Tensor:
        """Bring images (B, C, H, W) to the device, in the memory format."""
        return images.to(self.device, non_blocking=True, memory_format=self.memory_format)

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))


@dataclass(frozen=True)
class Scores:
    """Over all images and processes: accuracies in %, the mean cross-entropy, the number of images, images/s."""

    top1: float
    top5: float
    loss: float
    num_images: int
    images_per_second: float


@torch.inference_mode()
def evaluate(
    network: nn.Module, loader: DataLoader, processes: Processes, numerics: Numerics, *, show_progress: bool = False
) -> Scores:
    """Evaluate a classifier; each image counts once, whatever the number of processes.

    Args:
        network: (B, 3, H, W) -> logits (B, num_classes); put into eval mode.
        loader: This process's share of the images, see ``training.data.evaluation_loader``.

    Raises:
        UserError: an image cannot be read.
    """
    network.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=numerics.device)  # loss, top-1, top-5, images
    start = time.perf_counter()
    for images, targets in tqdm(loader, desc="evaluate", unit="batch", leave=False, disable=not show_progress):
        targets = targets.to(numerics.device, non_blocking=True)
        with numerics.autocast():
            logits = network(numerics.images(images))
        totals += _count(logits.float(), targets)
    processes.sum(totals)
    loss, top1, top5, count = totals.tolist()
    if int(count) != len(loader.dataset):
        raise UserError(
            f"only {int(count)} of the data set's {len(loader.dataset)} images could be read; see the warnings above"
        )
    seconds = time.perf_counter() - start
    return Scores(100 * top1 / count, 100 * top5 / count, loss / count, int(count), count / seconds)


def _count(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed loss, number of top-1 and top-5 hits, number of images: (B, num_classes), (B,) -> (4,) float64."""
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == targets.unsqueeze(1)
    loss = F.cross_entropy(logits, targets, reduction="sum")
    top1, top5 = ranked[:, 0].sum(), ranked.sum()
    return torch.stack([x.double() for x in (loss, top1, top5, torch.tensor(len(targets), device=logits.device))])
