"""Pictures of what layers have learned, as Matplotlib figures: ``pip install 'dcls-imagenet[plot]'``."""

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dcls.conv import DclsNd
from dcls.diagnostics import mean_movement, share_outside_kernel
from dcls.grid import axis_bounds
from dcls.interpolation import get_interpolation
from dcls.learned_axes import places_of, spreads_of
from dcls.optim import position_owners

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

__all__ = ["kernel", "movement", "positions", "strongest_kernels"]

KERNELS_PER_SET = 6
SETS_PER_LINE = 6
_RING = 0.5
"""Radius in pixels of an element along an axis along which it does not move."""


@torch.no_grad()
def kernel(layer: DclsNd, channel: int = 0) -> "Figure":
    """Draw the dense kernel of an output channel, and a ring where each element sits, its radius the spread.

    Red is positive, blue negative. A 1-D kernel is a curve; of a 3-D one, each slice along the first axis is drawn. Of
    several channels per group it is the first.

    Raises:
        ValueError: this is no DCLS layer, or it has no such channel.
        ImportError: Matplotlib is not installed.
    """
    if not isinstance(layer, DclsNd):
        raise ValueError(
            f"kernel() draws one DCLS layer, got {type(layer).__name__}; strongest_kernels() draws those of a model"
        )
    channel = _whole_number(channel)
    if not 0 <= channel < layer.out_channels:
        raise ValueError(f"channel must be between 0 and {layer.out_channels - 1}, got {channel}")
    dense = layer.kernel()[channel, 0].float().cpu()
    slices = dense if dense.ndim == 3 else dense[None]
    figure = _figure(max(3.0, 2.2 * len(slices)), 3.0)
    grid = figure.subplots(1, len(slices), squeeze=False)
    for index, (axes, image) in enumerate(zip(grid[0], slices, strict=True)):
        if image.ndim == 1:
            _draw_curve(axes, image, _elements(layer, channel))
        else:
            _draw_image(
                axes, image, _elements(layer, channel, index if dense.ndim == 3 else None), float(dense.abs().max())
            )
            axes.set_title(f"slice {index - len(slices) // 2}" if dense.ndim == 3 else "", fontsize=8)
    figure.suptitle(f"channel {channel}, {'x'.join(map(str, layer.dilated_kernel_size))}", fontsize=9)
    return figure


@torch.no_grad()
def strongest_kernels(model: nn.Module) -> "Figure":
    """Draw, for each set of positions in two axes, the strongest kernels of its first layer.

    Raises:
        ValueError: the model has no DCLS layer with positions in two axes.
        ImportError: Matplotlib is not installed.
    """
    layers = _first_layer_of_each_set(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no DCLS layer with positions in two axes, so there is no picture")
    figure = _figure(1.6 * KERNELS_PER_SET, 1.75 * len(layers))
    grid = figure.subplots(len(layers), KERNELS_PER_SET, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, (name, layer) in zip(grid, layers.items(), strict=True):
        kernels = layer.kernel()[:, 0].float().cpu()
        strongest = kernels.flatten(1).norm(dim=1).topk(min(KERNELS_PER_SET, len(kernels))).indices
        for axes, channel in zip(row, strongest.tolist(), strict=False):
            _draw_image(axes, kernels[channel], _elements(layer, channel), float(kernels[channel].abs().max()))
            axes.text(0.98, 0.02, f"{channel}", transform=axes.transAxes, ha="right", va="bottom", fontsize=6)
        row[0].set_title(f"{name}, {'x'.join(map(str, layer.dilated_kernel_size))}", fontsize=8, loc="left")
    figure.suptitle("Strongest kernels; each ring is an element, its radius the spread", fontsize=9)
    return figure


@torch.no_grad()
def positions(model: nn.Module) -> "Figure":
    """Draw where the elements of every set of positions are, all kernels of a set in one histogram.

    Of positions along three axes, the last two are drawn. A title says how many elements are outside the kernel.

    Raises:
        ValueError: the model has no DCLS layer.
        ImportError: Matplotlib is not installed.
    """
    owners = position_owners(model)
    if not owners:
        raise ValueError(f"{type(model).__name__} has no DCLS layer, so there are no positions")
    columns = min(len(owners), SETS_PER_LINE)
    lines = -(-len(owners) // columns)
    figure = _figure(3.0 * columns, 3.0 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(owners) :]:
        figure.delaxes(axes)
    for axes, (name, owner) in zip(grid.flat, owners.items(), strict=False):
        places = owner.positions.detach().float().cpu().flatten(1)
        _draw_positions(axes, places, owner.kernel_bounds)
        outside = round(share_outside_kernel(owner.positions, owner.kernel_bounds) * places.shape[1])
        title = name or type(owner).__name__
        axes.set_title(f"{title}, {outside} of {places.shape[1]} outside" if outside else title, fontsize=8)
    return figure


def movement(history: Sequence[tuple[int, dict[str, tuple[Any, Any]]]]) -> "Figure":
    """Draw how far the elements of each set have moved since the beginning, on average, over the epochs.

    Args:
        history: (epoch, {name: (positions, spreads)}) in order, as a run keeps them: positions are (axes, ...). Where a
            set has another shape than in the first epoch, it is left out.

    Raises:
        ValueError: there is no epoch.
        ImportError: Matplotlib is not installed.
    """
    if not history:
        raise ValueError("the history holds no epoch")
    figure = _figure(5.0, 3.2)
    axes = figure.subplots()
    for name, (start, _) in history[0][1].items():
        moved = [
            (epoch, mean_movement(sets[name][0], start))
            for epoch, sets in history
            if name in sets and sets[name][0].shape == start.shape
        ]
        # Matplotlib leaves what begins with "_" or is empty out of the legend.
        label = name if name[:1] not in ("", "_") else f"layer {name}".strip()
        axes.plot(*zip(*moved, strict=True), marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="mean movement (pixels)")
    axes.legend(frameon=False, fontsize=7)
    axes.grid(alpha=0.3)
    return figure


def _whole_number(channel: Any) -> int:
    """Return an int of Python's, NumPy's or PyTorch's.

    Raises:
        ValueError: it is something else.
    """
    try:
        if isinstance(channel, bool):
            raise TypeError
        return operator.index(channel)
    except TypeError:
        raise ValueError(f"channel must be a whole number, got {channel!r}") from None


def _first_layer_of_each_set(model: nn.Module) -> dict[str, DclsNd]:
    """Name -> layer, one for each set of positions in two axes."""
    found: dict[int, tuple[str, DclsNd]] = {}
    for name, module in model.named_modules():
        if isinstance(module, DclsNd) and module.ndim == len(module.learned_axes) == 2:
            found.setdefault(id(module.position_owner), (name, module))
    return dict(found.values())


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Matplotlib is not installed; install it with pip install 'dcls-imagenet[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


class _Element(NamedTuple):
    """An element of a kernel: its place and spread along the last two axes or the only one, in pixels.

    Attributes:
        tie: The covariance of the two axes; not 0 where the interpolation turns its footprints.
    """

    place: list[float]
    spread: list[float]
    tie: float


def _elements(layer: DclsNd, channel: int, slice_index: int | None = None) -> list[_Element]:
    """Return the elements of a kernel.

    Args:
        slice_index: Of a 3-D kernel: only those that are nearest to this slice.
    """
    kind, learned = get_interpolation(layer.interpolation), layer.learned_axes
    sigma = torch.zeros_like(layer.positions) if layer.sigma is None else layer.sigma
    positions, sigma = (values[:, channel, 0].float().cpu() for values in (layer.positions, sigma))
    covariance = kind.covariance(sigma, len(learned))
    radii = covariance.diagonal().movedim(-1, 0).sqrt()
    axes = layer.dilated_kernel_size, learned
    place, width = places_of(positions, *axes).T, spreads_of(radii, *axes, elsewhere=_RING).T  # (elements, axes)
    last_two = [learned.index(axis) for axis in range(layer.ndim)[-2:] if axis in learned]
    tie = covariance[tuple(last_two)].flatten() if len(last_two) == 2 else torch.zeros(len(place))
    if slice_index is not None:
        first, last = axis_bounds(layer.dilated_kernel_size[0])
        is_near = place[:, 0].round().clamp(first, last) - first == slice_index
        place, width, tie = place[is_near], width[is_near], tie[is_near]
    return [_Element(*of) for of in zip(place[:, -2:].tolist(), width[:, -2:].tolist(), tie.tolist(), strict=True)]


def _ring(element: _Element) -> "Ellipse":
    """Return where the footprint of an element has fallen to exp(-1/2), if it is a Gaussian."""
    from matplotlib.patches import Ellipse

    (y, x), (height, width) = element.place, element.spread
    if not element.tie:
        return Ellipse((x, y), 2 * width, 2 * height)
    mean, half = (width**2 + height**2) / 2, (width**2 - height**2) / 2
    from_mean = math.hypot(half, element.tie)  # of the variances along the long and the short axis
    long, short = math.sqrt(mean + from_mean), math.sqrt(max(mean - from_mean, 0.0))
    return Ellipse((x, y), 2 * long, 2 * short, angle=math.degrees(math.atan2(element.tie, half) / 2))


def _draw_image(axes: "Axes", image: Tensor, elements: Sequence[_Element], bound: float) -> None:
    """One dense kernel, (rows, columns), with its elements."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.8, foreground="white")]  # or a ring on a dark pixel would not be seen
    rows, columns = image.shape
    extent = (-(columns // 2) - 0.5, (columns - 1) // 2 + 0.5, (rows - 1) // 2 + 0.5, -(rows // 2) - 0.5)
    axes.imshow(image.numpy(), cmap="RdBu_r", vmin=-bound, vmax=bound, extent=extent, interpolation="nearest")
    for element in elements:
        ring = _ring(element)
        ring.set(fill=False, color="black", linewidth=0.7, path_effects=halo)
        axes.add_patch(ring)


def _draw_positions(axes: "Axes", places: Tensor, bounds: Sequence[tuple[int, int]]) -> None:
    """Draw a histogram of places, (axes, elements), over the grid points of the kernel."""
    edges = [[p - 0.5 for p in range(first, last + 2)] for first, last in bounds]
    if len(places) == 1:
        axes.hist(places[0].tolist(), bins=edges[0])
        axes.set_xlabel("position (pixels)")
    else:
        vertical, horizontal = places[-2:].tolist()
        axes.hist2d(horizontal, vertical, bins=[edges[-1], edges[-2]], cmap="magma")
        axes.invert_yaxis()
        axes.set_aspect("equal")


def _draw_curve(axes: "Axes", values: Tensor, elements: Sequence[_Element]) -> None:
    """One 1-D kernel, with a bar below it for each element, as wide as its spread."""
    first = -(len(values) // 2)
    axes.stem(range(first, first + len(values)), values.tolist(), markerfmt=" ", basefmt="black")
    for (x,), (width,), _ in elements:
        axes.errorbar(x, 0.0, xerr=width, fmt="o", color="black", fillstyle="none")
    axes.set(xlabel="pixels from the center", ylabel="weight")
