"""Learned positions and spreads: of one layer, or shared by several."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from dcls.grid import axis_bounds
from dcls.interpolation import get_interpolation
from dcls.torch_conv import LOW_PRECISION

INITIAL_POSITION_STD = 0.5
INITIAL_POSITIONS = ("normal", "uniform", "half_normal")


class PositionOwner(nn.Module):
    """A module that holds the parameters ``positions`` and ``sigma`` of one set of kernel elements.

    Both stay in float32 when the module is cast to a lower precision: at |p| >= 8 a bfloat16 position cannot take a
    step of 0.01. Where they are parametrized (``torch.nn.utils.parametrize``), so do the parameters behind them.
    """

    positions: nn.Parameter
    sigma: nn.Parameter | None

    def __init__(
        self,
        dilated_kernel_size: Sequence[int],
        interpolation: str,
        learned_axes: Sequence[int] | None = None,
        position_limits: Any = None,
        initial_positions: str = "normal",
    ) -> None:
        super().__init__()
        self.dilated_kernel_size = tuple(dilated_kernel_size)
        self.interpolation = interpolation
        self.learned_axes = _checked_axes(learned_axes, len(self.dilated_kernel_size))
        self.position_limits = _checked_limits(position_limits, self.kernel_bounds)
        if initial_positions not in INITIAL_POSITIONS:
            names = ", ".join(INITIAL_POSITIONS)
            raise ValueError(f"initial_positions must be one of {names}, got {initial_positions!r}")
        self.initial_positions = initial_positions

    def _register_positions(self, positions: nn.Parameter, sigma: nn.Parameter | None) -> None:
        """Own this set: (ndim, O, I, N) each, sigma None where the interpolation has no spread."""
        self.register_parameter("positions", positions)
        self.register_parameter("sigma", sigma)

    @property
    def kernel_bounds(self) -> list[tuple[int, int]]:
        """First and last grid point of each learned axis, in pixels from the kernel's center."""
        return [axis_bounds(self.dilated_kernel_size[axis]) for axis in self.learned_axes]

    @property
    def owns_positions(self) -> bool:
        """False for a layer that uses the positions of a ``SharedPositions``."""
        return "positions" in self._parameters or self._parametrization("positions") is not None

    def position_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over names and parameters of positions and sigma, or of the parametrizations that compute them."""
        for name in ("positions", "sigma"):
            parametrization, parameter = self._parametrization(name), self._parameters.get(name)
            if parametrization is not None:
                yield from parametrization.named_parameters(prefix=f"parametrizations.{name}")
            elif parameter is not None:
                yield name, parameter

    def _parametrization(self, name: str) -> ParametrizationList | None:
        parametrizations = self._modules.get("parametrizations")
        return None if parametrizations is None else parametrizations._modules.get(name)  # type: ignore[return-value]

    @torch.no_grad()
    def reset_positions(self) -> None:
        """Draw positions as ``initial_positions`` says, within their limits; set sigma to the interpolation's value.

        "normal" draws from N(0, 0.5) pixels. "uniform" draws between the limits. "half_normal" draws the distance to
        the upper limit, which is a delay, from a half normal distribution; half of the range is its scale.
        """
        positions = torch.empty_like(self.positions)
        if self.initial_positions == "normal":
            nn.init.normal_(positions, std=INITIAL_POSITION_STD)
        else:
            for position, (low, high) in zip(positions, self.position_limits, strict=True):
                if self.initial_positions == "uniform":
                    nn.init.uniform_(position, low, high)
                else:
                    nn.init.normal_(position, std=(high - low) / 2).abs_().neg_().add_(high)
        self._write("positions", _clamp(positions, self.position_limits))
        if self.sigma is not None:
            sigma = torch.empty_like(self.sigma)
            get_interpolation(self.interpolation).reset_sigma(sigma, len(positions))
            self._write("sigma", sigma)

    @torch.no_grad()
    def clamp_positions(self) -> None:
        """Move positions that left their limits, by default the kernel, back to the border, in place.

        Parametrized ones are written through the ``right_inverse`` of their parametrization; a warning says so where
        there is none.
        """
        parametrization, positions = self._parametrization("positions"), self.positions
        if parametrization is None:
            _clamp(positions, self.position_limits)
            return
        clamped = _clamp(positions.clone(), self.position_limits)
        if torch.equal(clamped, positions):
            return
        if all(hasattr(step, "right_inverse") for step in parametrization):
            self._write("positions", clamped)
        else:
            warnings.warn(
                "positions are outside their limits and cannot be clamped, as their parametrization has no "
                "right_inverse; add one, or let it compute positions within the limits only",
                stacklevel=2,
            )

    def _write(self, name: str, values: Tensor) -> None:
        if self._parametrization(name) is None:
            getattr(self, name).copy_(values)
        else:
            setattr(self, name, values)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PositionOwner":
        protected = {id(tensor) for _, p in self.position_parameters() for tensor in (p, p.grad)}

        def keep_precision(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if id(tensor) in protected and result.dtype in LOW_PRECISION:
                return tensor.to(result.device)
            return result

        super()._apply(keep_precision, recurse)
        return self


def _clamp(positions: Tensor, limits: Sequence[tuple[float, float]]) -> Tensor:
    """Clamp (learned axes, ...) to (low, high) of each axis, in place."""
    for position, (low, high) in zip(positions, limits, strict=True):
        position.clamp_(low, high)
    return positions


class SharedPositions(PositionOwner):
    """One set of positions and spreads that several layers use, see ``share_positions``.

    The first of the layers holds it as a child, ``layer.shared``, so that no parent gains a child that it does not
    expect. All of them call it for their positions, so that tools which move or gather a module's parameters when it is
    called (offloading, sharding) work. Where the first layer is missing, as in part of a model that was taken out of
    it, the next one takes its place: any part that uses the set has it in its parameters and state dict, and moves it.
    """

    def __init__(self, dilated_kernel_size: Sequence[int], interpolation: str, *arguments: Any) -> None:
        super().__init__(dilated_kernel_size, interpolation, *arguments)
        self._loaded_by: list[str] | None = None

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """Return positions and sigma, (ndim, O, I, N) each.

        Raises:
            ValueError: the set is sharded together with the block of its first layer, and another layer needs it.
        """
        placements = getattr(self.positions, "placements", ())  # of a DTensor; a traced tensor has any attribute
        if isinstance(placements, tuple) and any(placement.is_shard() for placement in placements):
            raise ValueError(
                "shared positions are sharded with a block that is not running: before fully_shard(block), shard each "
                "set by itself, with fully_shard(module) for the modules that are a dcls.SharedPositions"
            )
        if not (self._forward_hooks or self._forward_pre_hooks):
            return self.positions, self.sigma
        # A tool that gathers parameters for the call, such as FSDP, frees them after it.
        return self.positions.clone(), None if self.sigma is None else self.sigma.clone()

    def reset_parameters(self) -> None:
        """Draw the set again."""
        self.reset_positions()

    def extra_repr(self) -> str:
        """Return the shape of the positions and the interpolation, for ``repr``."""
        return f"{tuple(self.positions.shape)}, interpolation={self.interpolation!r}"

    def _is_in(self, destination: dict[str, Any]) -> bool:
        """Return whether a state dict holds the set already."""
        name, parameter = next(self.position_parameters())
        saved = (value for key, value in destination.items() if key.endswith(f"shared.{name}"))
        return any(_memory(value) == _memory(parameter) for value in saved)

    def _was_loaded_by(self, load: list[str]) -> bool:
        """Return whether this ``load_state_dict``, known by its list of missing keys, has come by already."""
        return self._loaded_by is load

    def _load_all(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Load as ``_load_from_state_dict``, parametrizations included."""
        for name, module in self.named_modules(prefix=prefix.rstrip(".")):
            module._load_from_state_dict(state_dict, f"{name}.", *arguments)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        missing_keys = arguments[2]
        self._loaded_by = missing_keys
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded_by": None}


def _memory(tensor: Tensor) -> tuple[int, int]:
    """Identify what a tensor is stored in: ``detach()`` has it in common, also on the meta device."""
    local: Tensor = getattr(tensor, "_local_tensor", tensor)  # of a sharded tensor
    return local.untyped_storage()._cdata, int(local.storage_offset())


def share_positions(layers: Sequence[Any]) -> SharedPositions:
    """Make DCLS layers use one set of positions and spreads, that of the first of them.

    The first layer owns the set, as its child ``shared``: it is there once in the parameters and the state dict of
    whatever module holds the layers, and copies, moves and loads keep it shared.

    Examples:
        >>> convs = nn.Sequential(*(dcls.Dcls2d(8, 8, 5, 11, padding="same") for _ in range(3)))
        >>> shared = dcls.share_positions(list(convs))
        >>> [name for name, _ in convs.named_parameters() if "positions" in name]
        ['0.shared.positions']
        >>> convs[2].positions is shared.positions
        True

    Args:
        layers: ``DclsNd`` layers of equal channels, groups, kernel_count, dilated_kernel_size and interpolation.

    Returns:
        The set.

    Raises:
        ValueError: No layer is given, one is no ``DclsNd`` or is given twice, they differ in one of these, or one
            shares its positions already.
    """
    _check_layers(layers)
    first = layers[0]
    shared = SharedPositions(
        first.dilated_kernel_size,
        first.interpolation,
        first.learned_axes,
        first.position_limits,
        first.initial_positions,
    )
    shared._register_positions(first.positions, first.sigma)
    shared.train(first.training)
    for layer in layers:
        layer._use_positions_of(shared, owns=layer is first)
    return shared


def _check_layers(layers: Any) -> None:
    is_list = isinstance(layers, Sequence | nn.ModuleList | nn.Sequential)
    if not is_list:
        raise ValueError(f"layers must be a list of DCLS layers, got {_kind(layers)}")
    if not layers:
        raise ValueError("share_positions needs at least one layer")
    for index, layer in enumerate(layers):
        if not hasattr(layer, "_use_positions_of"):
            raise ValueError(f"layers[{index}] is no DCLS layer but {_kind(layer)}")
        if layer._parametrization("positions") or layer._parametrization("sigma"):
            raise ValueError(f"layers[{index}] has parametrized positions; parametrize what share_positions returns")
        if any(layer is other for other in layers[:index]):
            raise ValueError(f"layers[{index}] is there twice")
    if not all(layer.owns_positions for layer in layers):
        raise ValueError("a layer that shares positions already cannot share others")
    first = layers[0]
    for layer in layers[1:]:
        for name in ("dilated_kernel_size", "interpolation", "learned_axes", "position_limits"):
            if getattr(layer, name) != getattr(first, name):
                values = f"{getattr(first, name)} and {getattr(layer, name)}"
                raise ValueError(f"layers that share positions must agree in {name}: {values}")
        if layer.positions.shape != first.positions.shape:
            raise ValueError(
                "layers that share positions must agree in channels, groups and kernel_count: "
                f"positions of shape {tuple(first.positions.shape)} and {tuple(layer.positions.shape)}"
            )


def _kind(thing: Any) -> str:
    return f"a {type(thing).__name__}"


def _checked_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))
    values = tuple(axes) if isinstance(axes, Sequence) else ()
    if not values or not all(type(axis) is int and 0 <= axis < ndim for axis in values):
        raise ValueError(f"learned_axes must be a list of axes between 0 and {ndim - 1}, got {axes!r}")
    if list(values) != sorted(set(values)):
        raise ValueError(f"learned_axes must be in ascending order, got {axes!r}")
    return values


def _checked_limits(limits: Any, bounds: Sequence[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
    """Return (low, high) of each learned axis; bounds are those of the kernel."""
    if limits is None:
        return tuple(bounds)
    try:
        pairs = [limits] * len(bounds) if not isinstance(limits[0], Sequence) else limits
        checked = tuple((float(low), float(high)) for low, high in pairs)
    except (TypeError, ValueError, IndexError, KeyError):
        raise ValueError(f"position_limits must be (low, high), or one such pair per axis, got {limits!r}") from None
    if len(checked) != len(bounds):
        raise ValueError(f"position_limits must be one pair, or one for each of {len(bounds)} axes, got {limits!r}")
    for (low, high), (first, last) in zip(checked, bounds, strict=True):
        if not first <= low <= high <= last:
            raise ValueError(
                f"position_limits must be within the kernel, from {first} to {last} pixels from its center, "
                f"got {low:g} to {high:g}"
            )
    return checked
