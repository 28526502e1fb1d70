"""Which difference a paired comparison could have shown."""

import math
from collections import Counter
from collections.abc import Sequence

from scipy.optimize import brentq
from scipy.stats import nct, t

LEVEL, POWER = 0.05, 0.8  # two-sided level of the test; how often a difference of that size is to be found


def paired_power(effect: float, pairs: int) -> float:
    """Return how often Student's paired test, two-sided at 5 %, finds a difference.

    Args:
        effect: The true mean difference over the standard deviation of the differences.
        pairs: Number of pairs, at least 2.
    """
    freedom, shift = pairs - 1, effect * math.sqrt(pairs)
    limit = t.ppf(1 - LEVEL / 2, freedom)
    in_the_other_direction = 0.0 if shift > 5 else nct.cdf(-limit, freedom, shift)  # below 1e-6, where SciPy says NaN
    return float(nct.sf(limit, freedom, shift) + in_the_other_direction)


def detectable_difference(deviation: float, pairs: int) -> float:
    """Return the smallest true difference that the test finds in 80 % of such comparisons.

    Args:
        deviation: Standard deviation of the differences; the result has its unit.
        pairs: Number of pairs, at least 2.
    """
    return deviation * float(brentq(lambda effect: paired_power(effect, pairs) - POWER, 0.0, 20.0))


def pooled_deviation(deviations: Sequence[float]) -> float:
    """Return the root of the mean variance, of samples of equal size."""
    return math.sqrt(sum(deviation**2 for deviation in deviations) / len(deviations))


def power_statement(comparisons: Sequence[tuple[float, int]], other: str) -> str:
    """Say which difference, in percentage points, each of several comparisons could have shown.

    Args:
        comparisons: Standard deviation of the differences, and number of pairs; those with the most common number
            count.
        other: What all were compared with.

    Returns:
        "" of fewer than two comparisons: the standard deviation of three differences alone may be off by a factor of 6.
    """
    common = Counter(pairs for _, pairs in comparisons).most_common(1)
    if not common or common[0][1] < 2:
        return ""
    pairs, count = common[0]
    deviations = [deviation for deviation, its_pairs in comparisons if its_pairs == pairs]
    deviation, each = pooled_deviation(deviations), f"{min(deviations):.2f} to {max(deviations):.2f}"
    return (
        f"Power: paired by seed, the differences from {other} have standard deviations of {each} points, "
        f"{deviation:.2f} pooled over {count} comparisons. With {pairs} seeds and the pooled one, a paired test at the "
        f"5 % level has 80 % power to detect a true difference of {detectable_difference(deviation, pairs):.1f} points."
    )
