"""Pictures of learned kernels."""

import matplotlib.patches
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import dcls

KERNELS_PER_STAGE = 6


@torch.no_grad()
def plot_kernels(model: nn.Module) -> Figure:
    """For each set of positions, the strongest kernels of its first layer, with a ring where each element sits.

    A ring's radius is the element's learned spread; red and blue are positive and negative weights.
    """
    layers = first_layer_of_each_set(model)
    figure = Figure(figsize=(1.6 * KERNELS_PER_STAGE, 1.75 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), KERNELS_PER_STAGE, squeeze=False)
    for row, (name, layer) in zip(grid, layers.items(), strict=True):
        kernels = layer.kernel()[:, 0].float().cpu()
        strongest = kernels.flatten(1).norm(dim=1).topk(min(KERNELS_PER_STAGE, len(kernels))).indices
        for axes in row:
            axes.axis("off")
        for axes, channel in zip(row, strongest.tolist(), strict=False):
            _draw_kernel(axes, layer, kernels[channel].numpy(), channel)
        row[0].set_title(f"{name}, {'x'.join(map(str, layer.dilated_kernel_size))}", fontsize=8, loc="left")
    figure.suptitle("Strongest kernels; each ring is an element, its radius the learned spread", fontsize=9)
    return figure


def first_layer_of_each_set(model: nn.Module) -> dict[str, dcls.Dcls2d]:
    """Name -> layer, one for each set of shared positions."""
    found: dict[int, tuple[str, dcls.Dcls2d]] = {}
    for name, module in model.named_modules():
        if isinstance(module, dcls.Dcls2d) and len(module.learned_axes) == 2:
            found.setdefault(id(module.positions), (name, module))
    return dict(found.values())


def _draw_kernel(axes: Axes, layer: dcls.Dcls2d, kernel: np.ndarray, channel: int) -> None:
    """One dense kernel (rows, columns) with its elements."""
    bound = np.abs(kernel).max()
    rows, columns = layer.dilated_kernel_size
    extent = (-(columns // 2) - 0.5, (columns - 1) // 2 + 0.5, (rows - 1) // 2 + 0.5, -(rows // 2) - 0.5)
    axes.imshow(kernel, cmap="RdBu_r", vmin=-bound, vmax=bound, extent=extent, interpolation="nearest")
    kind = dcls.INTERPOLATIONS[layer.interpolation]
    positions = layer.positions[:, channel, 0]
    spreads = torch.full_like(positions, 0.5) if layer.sigma is None else kind.spread(layer.sigma[:2, channel, 0])
    for (y, x), (height, width) in zip(positions.T.tolist(), spreads.T.tolist(), strict=True):
        axes.add_patch(
            matplotlib.patches.Ellipse((x, y), 2 * width, 2 * height, fill=False, color="black", linewidth=0.7)
        )
    axes.text(0.98, 0.02, f"{channel}", transform=axes.transAxes, ha="right", va="bottom", fontsize=6)
