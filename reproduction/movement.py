"""How far the elements of a run's kernels went, epoch by epoch."""

from pathlib import Path

import numpy as np

from dcls.diagnostics import REST_DISTANCE
from training.position_history import Elements, load_history


def movement_by_epoch(run: Path) -> dict[int, dict[str, float]]:
    """Measure the elements of all layers of a run together, by the number of epochs completed.

    Returns:
        ``moved_median`` and ``moved_most``, how far elements are from where they began, ``farthest``, how far one is
        from the center of its kernel, in pixels; ``moved_over_1`` and ``at_rest``, shares of elements. Nothing of a run
        without DCLS layers, or whose beginning has not been kept.
    """
    history = load_history(run)
    if not history or history[0][0] != 0:
        return {}
    start = _all_positions(history[0][1])
    return {epoch: _measure(start, _all_positions(elements)) for epoch, elements in history[1:]}


def _all_positions(elements: Elements) -> list[np.ndarray]:
    return [positions.astype(np.float32) for positions, _ in elements.values()]  # (axes, ...) each


def _measure(start: list[np.ndarray], now: list[np.ndarray]) -> dict[str, float]:
    moved = np.concatenate([np.linalg.norm(a - b, axis=0).ravel() for a, b in zip(now, start, strict=True)])
    return {
        "moved_median": float(np.median(moved)),
        "moved_most": float(moved.max()),
        "moved_over_1": float((moved > 1).mean()),
        "at_rest": float((moved < REST_DISTANCE).mean()),
        "farthest": max(float(np.linalg.norm(positions, axis=0).max()) for positions in now),
    }
