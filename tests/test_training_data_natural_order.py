"""Names in timm's order, against the definition."""

import random

import pytest
from timm.utils.misc import natural_key

from training.data.natural_order import by_number_and_name, sorted_by_number_and_name

ALPHABETS = ["01a", "0019_.-", "aAbB12 /!", "0123456789abcdef", "a0٣²ßΣéİ", "a\n\x01\x7f0", "09"]


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_names_are_sorted_as_by_the_definition(alphabet) -> None:
    generator = random.Random(0)
    for _ in range(300):
        names = ["".join(generator.choices(alphabet, k=generator.randrange(1, 9))) for _ in range(30)]
        assert sorted_by_number_and_name(names) == sorted(names, key=by_number_and_name)


def test_names_of_data_sets_are_sorted_by_their_numbers() -> None:
    generator = random.Random(0)
    for name in ("n01440764_{}.JPEG", "ILSVRC2012_val_{:08d}.JPEG", "{}.jpg", "IMG_2012{}_7.PNG", "x"):
        names = [name.format(number) for number in generator.sample(range(100_000), 100)]
        assert sorted_by_number_and_name(names) == sorted(names, key=by_number_and_name)


def test_very_long_numbers_are_compared_by_value() -> None:
    names = ["9" * 230, "1" + "0" * 230, "0" * 240 + "5", "7", ""]
    assert sorted_by_number_and_name(names) == ["", "0" * 240 + "5", "7", "9" * 230, "1" + "0" * 230]
    assert sorted_by_number_and_name([]) == []


def test_the_definition_is_timms() -> None:
    for name in ("", "a", "12", "B2/1.png", "a/01x.png", "1.5e-07", "Ünder_100"):
        assert by_number_and_name(name) == (natural_key(name), name)
    assert by_number_and_name("10²")[0] == ["", 10, "²"]  # which timm takes for a number, and fails
