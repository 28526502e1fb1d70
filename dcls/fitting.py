"""DCLS layers that start with the kernels of the convolutions they replace."""

# Shapes: C channel pairs (out times in per group), L layers that share positions, T taps.

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcls.conv import DclsNd
from dcls.element_search import MAX_CANDIDATES, best_weights, place_on_taps, search
from dcls.interpolation import get_interpolation
from dcls.padding import padding_amounts

STEPS = 300
"""Of the search for positions and spreads."""
_CHUNK = 2**23
"""Numbers in the largest tensor: channels are fitted in chunks of it, 64 MB each."""
_MAX_WORK = 2**29
"""Numbers in the Gram matrices of all steps: layers with very many channels take fewer steps, down to a tenth."""


def why_no_fit(conv: Any, layer: DclsNd) -> str | None:
    """Return why a layer cannot start with the kernel of its convolution, or None."""
    if conv.weight.is_meta:
        return "it has no weights on the meta device"
    if not conv.weight.isfinite().all():
        return "it has weights that are infinite or not numbers"
    if first_tap(conv, layer) is None:
        return (
            f"at dilation {tuple(conv.dilation)}, the taps of a {tuple(conv.kernel_size)} kernel fall between those of "
            f"a {layer.dilated_kernel_size} one; take a size that differs by an even number"
        )
    return None


def first_tap(conv: Any, layer: DclsNd) -> tuple[int, ...] | None:
    """Return the index in a DCLS layer's kernel at which that of its convolution begins, so that outputs agree.

    None where its taps fall between the grid points: at a dilation, when the sizes differ by an odd number.
    """
    before = padding_amounts(conv.padding, conv.kernel_size, conv.dilation)
    after = padding_amounts(layer.padding, layer.dilated_kernel_size, layer.dilation)
    shifts = [new - old for (old, _), (new, _) in zip(before, after, strict=True)]
    if any(shift % step for shift, step in zip(shifts, layer.dilation, strict=True)):
        return None
    return tuple(shift // step for shift, step in zip(shifts, layer.dilation, strict=True))


@torch.no_grad()
def fit(convs: Sequence[Any], layers: Sequence[DclsNd]) -> list[float]:
    """Give DCLS layers the kernels of convolutions, as nearly as their elements can.

    With an element for every tap, each sits on its tap with the smallest spread: with the bilinear interpolations, the
    triangle and sinc, kernels and outputs are the same to rounding. With fewer, a greedy choice among positions and
    spreads is improved by ``STEPS`` steps of Adam, with the best weights for every step in closed form. Nothing is
    random.

    Args:
        convs: Convolutions for which ``why_no_fit`` finds no reason.
        layers: Their DCLS layers, of equal shapes. All get the same positions and spreads, so that they can share.

    Returns:
        For each layer, the norm of the difference between its kernel and the convolution's, over that of the latter.
    """
    first, taps = layers[0], _taps(convs, layers)
    channels, count = first.weight[:, :, 0].numel(), first.kernel_count
    tried = max(MAX_CANDIDATES, len(taps)) if count < len(taps) else count
    at_once = max(1, _CHUNK // (tried * (count + len(layers))))
    steps = min(STEPS, max(STEPS // 10, _MAX_WORK // (channels * count**2)))
    for begin in range(0, channels, at_once):
        _fit_channels(convs, layers, slice(begin, begin + at_once), taps, steps)
    return [_relative_error(*pair, at_once) for pair in zip(convs, layers, strict=True)]


def _fit_channels(convs: Sequence[Any], layers: Sequence[DclsNd], part: slice, taps: Tensor, steps: int) -> None:
    """Set positions, spreads and weights of some of the channel pairs."""
    target = torch.stack([_target(*pair, part) for pair in zip(convs, layers, strict=True)], 1)  # (C, L, *size)
    kind, count, kept_as = get_interpolation(layers[0].interpolation), layers[0].kernel_count, layers[0].positions.dtype
    is_searched = count < len(taps)
    elements = search(target, taps, count, kind, steps) if is_searched else place_on_taps(taps, count, target, kind)
    elements = elements.each(lambda values: values.to(kept_as).to(target))  # the weights are for the rounded ones
    weights = best_weights(elements, target, kind, with_ridge=is_searched)
    for layer, weight in zip(layers, weights.unbind(-1), strict=True):
        layer.weight.flatten(0, 1)[part] = weight.to(layer.weight)
        for parameter, values in zip((layer.positions, layer.sigma), elements, strict=True):
            if parameter is not None and values is not None:
                parameter.flatten(1, 2)[:, part] = values.to(parameter)


def _target(conv: Any, layer: DclsNd, part: slice) -> Tensor:
    """Return what the kernels of some channel pairs should be, (C, *size); taps that lie outside are left out."""
    inside, taps = _overlap(conv, layer)
    values = _kernels(conv, layer, part)
    target = values.new_zeros(len(values), *layer.dilated_kernel_size)
    target[(slice(None), *inside)] = values[(slice(None), *taps)]
    return target


def _kernels(conv: Any, layer: DclsNd, part: slice) -> Tensor:
    """Return the convolution's kernels of some channel pairs, where there is float64."""
    device = layer.weight.device if layer.weight.device.type in ("cpu", "cuda") else torch.device("cpu")
    return conv.weight.flatten(0, 1)[part].to(device, torch.float64, copy=True)


def _overlap(conv: Any, layer: DclsNd) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return which part of the layer's kernel has the convolution's taps, and which part of these it is."""
    begin = first_tap(conv, layer)
    assert begin is not None
    sides = list(zip(begin, conv.kernel_size, layer.dilated_kernel_size, strict=True))
    inside = tuple(slice(max(start, 0), max(start + old, 0)) for start, old, _ in sides)
    return inside, tuple(slice(max(-start, 0), max(new - start, 0)) for start, _, new in sides)


def _taps(convs: Sequence[Any], layers: Sequence[DclsNd]) -> Tensor:
    """Return where any of the convolutions has a tap, (T, ndim), as offsets from the kernel's center."""
    size = layers[0].dilated_kernel_size
    has_tap = torch.zeros(size, dtype=torch.bool)
    for conv, layer in zip(convs, layers, strict=True):
        has_tap[_overlap(conv, layer)[0]] = True
    return has_tap.nonzero() - torch.tensor([extent // 2 for extent in size])


def _relative_error(conv: Any, layer: DclsNd, at_once: int) -> float:
    """Compare kernels as they are now, taps that lie outside of the layer's included."""
    built = layer.kernel().flatten(0, 1)
    difference = norm = 0.0
    for begin in range(0, len(built), at_once):
        part = slice(begin, begin + at_once)
        target, values = _target(conv, layer, part), _kernels(conv, layer, part)
        norm += float(values.square().sum())
        difference += float((built[part].to(target.device).double() - target).square().sum())
        values[(slice(None), *_overlap(conv, layer)[1])] = 0.0
        difference += float(values.square().sum())
    return (difference / norm) ** 0.5 if norm else 0.0
