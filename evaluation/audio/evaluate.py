"""Scores of a model that tags clips, over all processes."""

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from evaluation.audio.average_precision import TaggingScores, tagging_scores
from evaluation.audio.front_end import Fit
from evaluation.evaluate import batch_outputs
from training.precision import Precision
from training.processes.distributed import DistributedContext


@dataclass(frozen=True)
class ClipScores(TaggingScores):
    """Over all clips and processes.

    Attributes:
        loss: Mean binary cross-entropy over clips and classes.
        num_clips: How many there were.
        num_padded, num_cropped: How many of them were shorter and longer than the model's input.
        clips_per_second: Of all processes together.
    """

    loss: float
    num_clips: int
    num_padded: int
    num_cropped: int
    clips_per_second: float


def evaluate_clips(
    model: nn.Module,
    loader: DataLoader,
    targets: Tensor,
    distributed: DistributedContext,
    precision: Precision,
    *,
    show_progress: bool = False,
) -> ClipScores:
    """Evaluate a model on clips; each counts once, and the result is the same for any number of processes.

    Args:
        model: (B, 1, M, T) -> logits (B, C); put into eval mode.
        loader: This process's share of the samples of ``clip_samples``.
        targets: (N, C) bool, the labels of all clips.

    Raises:
        UserError: a clip cannot be read.
    """
    start = time.perf_counter()
    logits, fits = all_logits(model, loader, targets.shape, distributed, precision, show_progress=show_progress)
    seconds = time.perf_counter() - start
    loss = F.binary_cross_entropy_with_logits(logits.double(), targets.double()).item()
    # Ranks stay ranks; a loss that is no number is the caller's to report.
    scores = tagging_scores(targets.numpy(), np.nan_to_num(logits.numpy()))
    _, padded, cropped = fits.sum(0).int().tolist()
    return ClipScores(**vars(scores), loss=loss, num_clips=len(targets), num_padded=padded, num_cropped=cropped,
                      clips_per_second=len(targets) / seconds)  # fmt: skip


@torch.inference_mode()
def all_logits(
    model: nn.Module,
    loader: DataLoader,
    shape: torch.Size,
    distributed: DistributedContext,
    precision: Precision,
    *,
    show_progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the logits (N, C) float32 of all clips in their order, and (N, len(Fit)), a one where each belongs."""
    logits, fits = torch.zeros(shape), torch.zeros(shape[0], len(Fit))
    for output, places in batch_outputs(model, loader, precision, show_progress=show_progress):
        index, fit = places.unbind(1)
        logits[index] = output.float().cpu()
        fits[index, fit] += 1
    distributed.sum(logits)
    distributed.sum(fits)
    assert bool((fits.sum(1) == 1).all()), "every clip is in the share of one process"
    return logits, fits
