import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from reproduction.power import detectable_difference, paired_power, pooled_deviation, power_statement


@pytest.mark.parametrize(("effect", "pairs", "power"), [(0.5, 34, 0.8078), (1.0, 10, 0.8031), (0.0, 7, 0.05)])
def test_power_is_that_of_published_tables(effect, pairs, power) -> None:
    assert paired_power(effect, pairs) == pytest.approx(power, abs=2e-4)


def test_the_detectable_difference_has_the_unit_of_the_deviation_and_falls_with_pairs() -> None:
    three = detectable_difference(1.0, 3)
    assert paired_power(three, 3) == pytest.approx(0.8) and detectable_difference(0.4, 3) == pytest.approx(0.4 * three)
    assert three > detectable_difference(1.0, 5) > detectable_difference(1.0, 30) > 2.8 / math.sqrt(30)


def test_power_is_the_share_of_samples_in_which_the_test_finds_the_difference() -> None:
    samples = np.random.default_rng(0).normal(2.0, 1.0, (20_000, 3))
    share = (ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert share == pytest.approx(paired_power(2.0, 3), abs=0.01)


def test_deviations_are_pooled_by_variance_and_told() -> None:
    assert pooled_deviation([3.0, 4.0]) == pytest.approx(math.sqrt(12.5))
    assert "deviations of 0.10 to 0.70 points, 0.50 pooled over 2 comparisons. With 3 seeds" in power_statement(
        [(0.1, 3), (0.7, 3), (9.0, 2)], "the dense row"
    )


def test_one_comparison_says_nothing_about_power() -> None:
    assert power_statement([], "the dense row") == power_statement([(0.09, 3)], "the dense row") == ""
    assert power_statement([(0.09, 3), (0.5, 2)], "the dense row") == "", "nor do two of different numbers of seeds"
