import pytest
from scipy.stats import ttest_1samp

from reproduction.comparison import Comparison, mean_and_deviation


def test_no_difference_has_no_sign() -> None:
    assert str(Comparison([0.1, -0.1])) == "0.00 ± 0.14, p = 1"
    assert str(Comparison([-0.3, -0.1])).startswith("-0.20 ± 0.14")


def test_equal_differences_cannot_be_tested() -> None:
    assert Comparison([75.8 - 76.2, 76.9 - 77.3, 77.0 - 77.4]).p_value is None, "they differ by rounding alone"
    assert Comparison([1.0]).p_value is None and Comparison([]).p_value is None and str(Comparison([])) == "-"


def test_students_test_and_all_flips_of_signs() -> None:
    differences = [4.0, 1.0, 30.0, 2.0, 3.0, 5.0]
    assert Comparison(differences).p_value == pytest.approx(ttest_1samp(differences, 0.0).pvalue)
    assert Comparison(differences, flips_signs=True).p_value == pytest.approx(2 / 2**6)
    mixed = Comparison([-1.0, 2.0, 4.0], flips_signs=True)  # sums of at least 5, either sign: 7, 5, -5, -7
    assert mixed.p_value == pytest.approx(4 / 2**3)


def test_means_are_written_with_their_deviation() -> None:
    assert [mean_and_deviation(values, ".1f") for values in ([], [1.0], [1.0, 3.0])] == ["-", "1.0", "2.0 ± 1.4"]
