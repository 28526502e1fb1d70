"""Mean average precision as AudioSet reports it, the area under the ROC curve, and d-prime."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True)
class TaggingScores:
    """Means over classes.

    Attributes:
        mean_average_precision: In %, over the classes that some clip has.
        auc: From 0 to 1, over the classes that some clip has and another has not; None where there is none.
        d_prime: Of that mean, as it is published for AudioSet; None where it is 0 or 1.
        num_scored_classes: How many classes some clip has.
    """

    mean_average_precision: float
    auc: float | None
    d_prime: float | None
    num_scored_classes: int


def tagging_scores(targets: np.ndarray, scores: np.ndarray) -> TaggingScores:
    """Score clips that may have several labels each.

    Args:
        targets: (N, C), whether each clip has each label; at least one has one.
        scores: (N, C), the higher the more probable; only their order within a class counts.
    """
    has_label = targets.any(0)
    is_told_apart = has_label & ~targets.all(0)
    precisions = [average_precision_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(has_label)]
    areas = [roc_auc_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(is_told_apart)]
    auc = float(np.mean(areas)) if areas else None
    d_prime = math.sqrt(2) * float(norm.ppf(auc)) if auc is not None else math.nan
    return TaggingScores(
        100 * float(np.mean(precisions)), auc, d_prime if math.isfinite(d_prime) else None, len(precisions)
    )
