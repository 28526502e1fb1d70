import math
from itertools import combinations

import pytest

from analysis.colors import BACKGROUNDS, INKS, MORE_COLORS, PALETTE, color, themes


def luminance(code: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(code[1:])]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """As the Web Content Accessibility Guidelines define it."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", BACKGROUNDS)
def test_lines_and_words_can_be_told_from_the_page(mode) -> None:
    assert contrast(INKS[mode], BACKGROUNDS[mode]) >= 7
    assert all(contrast(shade, BACKGROUNDS[mode]) >= 3 for shade in PALETTE)


def test_figures_are_transparent_and_in_the_ink_of_the_page() -> None:
    for mode, theme in themes().items():
        assert theme["layout"]["paper_bgcolor"].endswith(", 0)") and theme["layout"]["font"]["color"] == INKS[mode]


def test_twice_as_many_colors_as_the_palette_has_are_different_and_can_be_told_from_the_page() -> None:
    assert color(0, 0.5) == "rgba(10, 123, 194, 0.5)"
    colors = (*PALETTE, *MORE_COLORS)
    assert color(len(colors)) == color(0) and color(8, 0.5) != color(0, 0.5)
    assert min(math.dist(bytes.fromhex(a[1:]), bytes.fromhex(b[1:])) for a, b in combinations(colors, 2)) >= 35
    assert all(contrast(shade, page) >= 3 for shade in colors for page in BACKGROUNDS.values())
