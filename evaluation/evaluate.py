"""Accuracy and loss over a data set, by train.py after every epoch and by validate.py."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcls.errors import UserError
from training.data.labels import check_labels
from training.precision import Precision
from training.processes.distributed import DistributedContext


@dataclass(frozen=True)
class Scores:
    """Over all images and processes.

    Attributes:
        top1, top5: Accuracies in %.
        loss: Mean cross-entropy.
        num_images: How many there were.
        images_per_second: Of all processes together.
        real_top1, real_top5: Accuracies in % by further labels (ImageNet-ReaL), of the images that have some; None
            where no image has.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    images_per_second: float
    real_top1: float | None = None
    real_top5: float | None = None


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader,
    distributed: DistributedContext,
    precision: Precision,
    *,
    outputs: Sequence[int] | None = None,
    show_progress: bool = False,
    on_batch: Callable[[], object] | None = None,
) -> Scores:
    """Evaluate a classifier; each image counts once, whatever the number of processes.

    Args:
        model: (B, 3, H, W) -> logits (B, num_classes); put into eval mode.
        loader: This process's share of the images, see ``training.data.splits.evaluation_loader``. Targets (B,), or
            (B, 1 + L) with up to L further labels that are right as well, -1 where there are fewer.
        outputs: The outputs among which the model chooses, in the order of the labels; None for all.
        on_batch: Called after each batch, to end the evaluation by an exception.

    Raises:
        UserError: an image cannot be read, or a label is none of the outputs.
    """
    totals = torch.zeros(7, dtype=torch.float64, device=precision.device)
    chosen = None if outputs is None else torch.tensor(outputs, device=precision.device)
    start = time.perf_counter()
    for logits, targets in batch_outputs(model, loader, precision, show_progress=show_progress):
        logits = logits if chosen is None else logits[:, chosen]
        check_labels(targets if targets.ndim == 1 else targets[:, 0], logits.shape[1])
        totals += _count(logits.float(), targets.to(precision.device, non_blocking=True))
        if on_batch is not None:
            on_batch()
    distributed.sum(totals)
    loss, top1, top5, count, *real = totals.tolist()
    expected = len(loader.dataset)  # type: ignore[arg-type]  # torch types a Dataset without a length
    if int(count) != expected:
        problem = f"only {int(count)} of the data set's {expected} images could be read"
        raise UserError(problem, "see the warnings above")
    seconds = time.perf_counter() - start
    return Scores(100 * top1 / count, 100 * top5 / count, loss / count, int(count), count / seconds, *_real(*real))


def batch_outputs(
    model: nn.Module, loader: DataLoader, precision: Precision, *, show_progress: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what a model, put into eval mode, makes of each batch, with what the loader gives beside its inputs."""
    model.eval()
    for inputs, beside in tqdm(loader, desc="evaluate", unit="batch", leave=False, disable=not show_progress):
        with precision.autocast():
            outputs = model(precision.images(inputs))
        yield outputs, beside


def _count(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over a batch: logits (B, num_classes), targets (B,) or (B, 1 + L) -> (7,) float64.

    Loss, top-1 and top-5 hits, images; top-1 and top-5 hits by the further labels, images that have some.
    """
    targets, further = (targets, targets[:, None][:, 1:]) if targets.ndim == 1 else (targets[:, 0], targets[:, 1:])
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = ranked == targets[:, None]
    further_hits = (ranked[:, :, None] == further[:, None]).any(2)
    sums = (
        F.cross_entropy(logits, targets, reduction="sum"),
        hits[:, 0].sum(),
        hits.sum(),
        torch.tensor(len(targets), device=logits.device),
        further_hits[:, 0].sum(),
        further_hits.any(1).sum(),
        (further >= 0).any(1).sum(),
    )
    return torch.stack([value.double() for value in sums])


def _real(top1: float, top5: float, count: float) -> tuple[float | None, float | None]:
    return (100 * top1 / count, 100 * top5 / count) if count else (None, None)
