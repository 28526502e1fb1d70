"""The kernels of a run as the page draws them: seen in two dimensions, a limited number of them, in short numbers."""

# Shapes: O out channels, I in channels per group, N kernel_count, D learned axes; where elements are at every grid
# point of the other axes, these sizes are before N. F is 1, or the product of these sizes.

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dcls
from dcls.conv import DclsNd
from dcls.learned_axes import places_of, spreads_of
from training.position_history import Elements, current_elements

MOST_NUMBERS = 600_000
"""On a page, about 2.5 MB: 14 channels of each layer of a ConvNeXt-T with 26 elements in 23x23."""
MOST_EPOCHS = 16
_LEVELS = 999  # three digits of a kernel's largest weight


def kernel_views(
    model: nn.Module, history: Sequence[tuple[int, Elements]], most_numbers: int = MOST_NUMBERS
) -> dict[str, Any]:
    """Describe the strongest kernels of every DCLS layer, and where their elements were.

    Args:
        history: From ``training.position_history.load_history``.
        most_numbers: Of all layers together, which limits their kernels; there is at least one of each.

    Returns:
        Plain values for JSON: ``epochs``, and ``layers`` with their ``kernels``; {} without a DCLS layer.
    """
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, DclsNd)]
    if not layers:
        return {}
    epochs = [*_spaced(history, MOST_EPOCHS), (None, current_elements(model))]
    owners = {id(owner): name for name, owner in dcls.position_owners(model).items()}
    each = max(1, most_numbers // sum(_count_numbers(layer, len(epochs)) for _, layer in layers))
    return {
        "epochs": [epoch for epoch, _ in epochs],
        "layers": [
            _layer_view(name, layer, owners.get(id(layer.position_owner), name), epochs, each) for name, layer in layers
        ],
    }


def all_finite(model: nn.Module) -> bool:
    """Return whether every weight, position and spread of the DCLS layers is a finite number."""
    layers = [module for module in model.modules() if isinstance(module, DclsNd)]
    values = [value for layer in layers for value in (layer.weight, layer.positions, layer.sigma) if value is not None]
    return all(bool(value.isfinite().all()) for value in values)


def _count_numbers(layer: DclsNd, epochs: int) -> int:
    """Return how many numbers one kernel of a layer takes on the page."""
    return math.prod(layer.dilated_kernel_size[-2:]) + layer.weight[0, 0].numel() * (1 + 4 * epochs)


def _spaced(items: Sequence[Any], most: int) -> list[Any]:
    """Return the first, the last, and others between them at about equal distances."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


@torch.no_grad()
def _layer_view(
    name: str, layer: DclsNd, owner: str, epochs: Sequence[tuple[int | None, Elements]], most: int
) -> dict[str, Any]:
    kernels = _in_two_dimensions(layer.kernel().float())  # (O, I, H, W)
    norms = kernels.flatten(1).norm(dim=1).nan_to_num(posinf=0.0)  # what is not finite comes last
    strongest = norms.topk(min(most, len(kernels))).indices.tolist()
    known = [(epoch, elements[owner]) for epoch, elements in epochs if _fits(elements.get(owner), layer)]
    height, width = kernels.shape[-2:]
    return {
        "name": name,
        "kind": f"{type(layer).__name__}, {'x'.join(map(str, layer.dilated_kernel_size))} pixels, "
        f"{layer.kernel_count} elements, {layer.interpolation}",
        "origin": [-(height // 2) if layer.ndim > 1 else 0, -(width // 2)],
        "channels": len(kernels),
        "remark": _remark(layer),
        "epochs": [epoch for epoch, _ in known],
        "kernels": [_kernel_view(layer, channel, kernels[channel, 0], [e for _, e in known]) for channel in strongest],
    }


def _in_two_dimensions(kernel: Tensor) -> Tensor:
    """(O, I, W), (O, I, H, W) or (O, I, T, H, W), which is summed over its first axis -> (O, I, H, W)."""
    if kernel.ndim == 3:
        return kernel.unsqueeze(2)
    return kernel.sum(2) if kernel.ndim == 5 else kernel


def _remark(layer: DclsNd) -> str:
    parts = []
    if layer.ndim == 1:
        parts.append("The kernel has one axis.")
    if layer.ndim == 3:
        parts.append("The kernel has three axes; it is shown summed over the first one.")
    if layer.in_channels > layer.groups:
        parts.append("Of every output channel, the kernel of its first input channel is shown.")
    if dcls.INTERPOLATIONS[layer.interpolation].whiten is not None and len(layer.learned_axes) > 1:
        parts.append("Rings are as wide as the spreads, but not turned as the elements are.")
    return " ".join(parts)


def _fits(elements: tuple[np.ndarray, np.ndarray | None] | None, layer: DclsNd) -> bool:
    """Whether positions that were kept are of this layer as it is now."""
    return elements is not None and elements[0].shape == layer.positions.shape


def _kernel_view(
    layer: DclsNd, channel: int, kernel: Tensor, elements: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> dict[str, Any]:
    """One kernel, (H, W), with the elements of its first input channel at every epoch that is known."""
    largest = kernel.abs().nan_to_num(posinf=0.0).max().item()
    levels = _whole_numbers(kernel * (_LEVELS / (largest or 1.0)))
    floor = dcls.INTERPOLATIONS[layer.interpolation].spread_floor
    axes = layer.dilated_kernel_size, layer.learned_axes
    return {
        "channel": channel,
        "largest": float(f"{largest:.4g}"),
        "levels": levels,
        "weights": [
            float(f"{weight:.3g}") if math.isfinite(weight) else None
            for weight in layer.weight[channel, 0].flatten().tolist()
        ],
        "positions": [_last_two(places_of(_of_channel(positions, channel), *axes)) for positions, _ in elements],
        "spreads": [
            _last_two(
                spreads_of(_of_channel(np.full_like(p, floor) if s is None else s, channel), *axes, elsewhere=0.0)
            )
            for p, s in elements
        ],
    }


def _of_channel(values: np.ndarray, channel: int) -> Tensor:
    """(D, O, I, ..., N) -> (D, ..., N) of a channel's first input channel."""
    return torch.from_numpy(values[:, channel, 0].astype(np.float64))


def _last_two(values: Tensor) -> list[list[int | None]]:
    """(ndim, elements) -> the last two axes in hundredths of a pixel; 0 for an axis that there is not."""
    both = values[-2:] if len(values) > 1 else torch.cat([torch.zeros_like(values), values])
    return _whole_numbers(100 * both)


def _whole_numbers(rows: Tensor) -> list[list[int | None]]:
    """Round a matrix; JSON has no NaN and no infinity, so these are None."""
    return [[round(value) if math.isfinite(value) else None for value in row] for row in rows.tolist()]
