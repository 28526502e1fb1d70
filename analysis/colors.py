"""Colors that can be told from each other and from the page, light and dark; how figures look on both."""

import copy
from typing import Any

import plotly.io as pio

PALETTE = ("#0a7bc2", "#d55e00", "#0b8f6a", "#b8579b", "#8a6fdf", "#a07800", "#cf4a58", "#5d7f8f")
"""Of the curves of runs, in their order."""
MORE_COLORS = ("#549c00", "#b4846c", "#606c30", "#d80c78", "#a884a8", "#00a854", "#d860d8", "#9c5424")
"""Of further ones, which are harder to tell apart."""
BACKGROUNDS = {"light": "#ffffff", "dark": "#14171c"}
INKS = {"light": "#1c2026", "dark": "#e6e9ee"}
_GRIDS = {"light": "#e3e6ea", "dark": "#333a44"}
_DIVERGING = {
    "light": [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]],
    "dark": [[0, "#74b9ff"], [0.25, "#2b6cb0"], [0.5, "#20242b"], [0.75, "#b5473c"], [1, "#ff9f80"]],
}
"""Weights: blue is negative, red positive, and zero is the page."""
_SEQUENTIAL = {
    "light": [[0, "#ffffff"], [0.25, "#cfe1f2"], [0.5, "#6aaed6"], [0.75, "#2070b4"], [1, "#08306b"]],
    "dark": [[0, "#14171c"], [0.25, "#123a63"], [0.5, "#2070b4"], [0.75, "#6aaed6"], [1, "#f0f7ff"]],
}


def color(index: int, opacity: float = 1.0) -> str:
    """Return the color of the index-th group of runs, as CSS writes it; after all colors they begin again."""
    colors = (*PALETTE, *MORE_COLORS)
    red, green, blue = bytes.fromhex(colors[index % len(colors)][1:])
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def themes() -> dict[str, dict[str, Any]]:
    """Return Plotly's templates for a light and a dark page, transparent so that the page is seen behind."""
    return {mode: _theme(mode, base) for mode, base in (("light", "plotly_white"), ("dark", "plotly_dark"))}


def _theme(mode: str, base: str) -> dict[str, Any]:
    theme: dict[str, Any] = copy.deepcopy(pio.templates[base].to_plotly_json())
    theme["layout"] |= {
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"color": INKS[mode], "family": "system-ui, sans-serif", "size": 13},
        "colorscale": {
            "diverging": _DIVERGING[mode],
            "sequential": _SEQUENTIAL[mode],
            "sequentialminus": _SEQUENTIAL[mode],
        },
        "hoverlabel": {"bgcolor": BACKGROUNDS[mode], "font": {"color": INKS[mode]}},
    }
    for axis in ("xaxis", "yaxis"):
        theme["layout"][axis] |= {"gridcolor": _GRIDS[mode], "zerolinecolor": _GRIDS[mode], "linecolor": _GRIDS[mode]}
    return theme
