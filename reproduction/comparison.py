"""How far the runs of two rows are apart, and whether chance could explain it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import permutation_test, ttest_1samp

_EQUAL = 1e-9  # a deviation below it is that of equal differences, rounded


@dataclass(frozen=True)
class Comparison:
    """Differences in top-1, in percentage points, of pairs such as runs with the same seed; a paired test of them.

    Attributes:
        flips_signs: Test the differences by flipping their signs, all ways there are, in place of Student's test,
            which takes them for normally distributed.
    """

    differences: list[float]
    flips_signs: bool = False

    @property
    def mean(self) -> float | None:
        """None where there is no pair."""
        return statistics.mean(self.differences) if self.differences else None

    @property
    def deviation(self) -> float | None:
        """None where there are not two pairs."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else None

    @property
    def p_value(self) -> float | None:
        """Two-sided; None where there are not two differing pairs."""
        if self.deviation is None or self.deviation < _EQUAL:
            return None
        if self.flips_signs:
            pairs = (np.asarray(self.differences), np.zeros(len(self.differences)))
            flips = permutation_test(
                pairs, _mean_difference, permutation_type="samples", n_resamples=2 ** len(self.differences)
            )
            return float(flips.pvalue)
        return float(ttest_1samp(self.differences, 0.0).pvalue)

    def __str__(self) -> str:
        if not self.differences:
            return "-"
        p = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return f"{mean_and_deviation(self.differences, '+.2f')}{p}"


class _Run(Protocol):
    @property
    def top1(self) -> float: ...


def compare_by_seed(ours: Mapping[int, _Run], theirs: Mapping[int, _Run], *, flips_signs: bool = False) -> Comparison:
    """Compare the top-1 of two rows by the seeds that both have.

    Args:
        ours: Seed -> run.
        theirs: The same of the row that is compared with.
        flips_signs: See ``Comparison``.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    return Comparison([ours[seed].top1 - theirs[seed].top1 for seed in seeds], flips_signs)


def _mean_difference(ours: np.ndarray, theirs: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(ours - theirs, axis=axis)


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """Write mean ± standard deviation, the mean alone of one value, and "-" of none."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{form}}"
    if not float(mean):
        mean = mean.lstrip("+-")  # no difference has no sign
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):{form.lstrip('+')}}"
