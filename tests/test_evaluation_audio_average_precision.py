"""mAP, AUC and d-prime, against scikit-learn's multi-label ones and by hand."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.audio.average_precision import tagging_scores


def test_scores_are_scikit_learns_macro_averages() -> None:
    generator = np.random.default_rng(0)
    targets, scores = generator.random((200, 7)) < 0.2, generator.normal(size=(200, 7))
    found = tagging_scores(targets, scores)
    assert found.mean_average_precision == pytest.approx(100 * average_precision_score(targets, scores))
    assert found.auc == pytest.approx(roc_auc_score(targets, scores))
    assert found.d_prime == pytest.approx(math.sqrt(2) * norm.ppf(roc_auc_score(targets, scores)))
    assert found.num_scored_classes == 7


def test_average_precision_by_hand() -> None:
    # Ranked, the clips are right, wrong, right: precisions 1 and 2/3 where recall rises.
    found = tagging_scores(np.array([[True], [False], [True]]), np.array([[3.0], [2.0], [1.0]]))
    assert found.mean_average_precision == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found.auc == pytest.approx(0.5) and found.d_prime == pytest.approx(0, abs=1e-12)


def test_classes_without_a_clip_are_left_out_and_counted() -> None:
    targets = np.array([[True, False, True], [False, False, True]])
    scores = np.array([[0.0, 5.0, 1.0], [1.0, 5.0, 2.0]])
    found = tagging_scores(targets, scores)
    assert found.mean_average_precision == pytest.approx(100 * (0.5 + 1) / 2) and found.num_scored_classes == 2
    assert found.auc == 0, "a class that every clip has is told apart from nothing"
    assert found.d_prime is None
    assert tagging_scores(targets[:, 2:], scores[:, 2:]).auc is None
