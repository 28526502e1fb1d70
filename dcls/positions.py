"""Where the learned positions and spreads live: in a layer of its own, or once for several layers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dcls.interpolation import get_interpolation
from dcls.kernel import axis_bounds
from dcls.torch_conv import LOW_PRECISION

INITIAL_POSITION_STD = 0.5


class PositionOwner(nn.Module):
    """A module that holds the parameters ``positions`` and ``sigma`` of one set of kernel elements.

    Both stay in float32 when the module is cast to a lower precision: at |p| >= 8 a bfloat16 position cannot take a
    step of 0.01.
    """

    positions: nn.Parameter
    sigma: nn.Parameter | None

    def __init__(self, dilated_kernel_size: Sequence[int], interpolation: str) -> None:
        super().__init__()
        self.dilated_kernel_size = tuple(dilated_kernel_size)
        self.interpolation = interpolation

    def register_positions(self, positions: nn.Parameter, sigma: nn.Parameter | None) -> None:
        """Own this set: (ndim, O, I, N) each, sigma None where the interpolation has no spread."""
        self.register_parameter("positions", positions)
        self.register_parameter("sigma", sigma)

    @property
    def owns_positions(self) -> bool:
        """False for a layer that uses the positions of a ``SharedPositions``."""
        return "positions" in self._parameters

    @torch.no_grad()
    def reset_positions(self) -> None:
        """Draw positions from N(0, 0.5) pixels, clamped to the kernel; set sigma to the interpolation's value."""
        nn.init.normal_(self.positions, std=INITIAL_POSITION_STD)
        self.clamp_positions()
        if self.sigma is not None:
            nn.init.constant_(self.sigma, get_interpolation(self.interpolation).initial_sigma)

    @torch.no_grad()
    def clamp_positions(self) -> None:
        """Move positions that left the kernel back to its border, in place."""
        for position, size in zip(self.positions, self.dilated_kernel_size, strict=True):
            position.clamp_(*axis_bounds(size))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PositionOwner":
        owned = [self._parameters.get("positions"), self._parameters.get("sigma")]
        protected = {id(tensor) for p in owned if p is not None for tensor in (p, p.grad)}

        def keep_precision(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if id(tensor) in protected and result.dtype in LOW_PRECISION:
                return tensor.to(result.device)
            return result

        super()._apply(keep_precision, recurse)
        return self


class SharedPositions(PositionOwner):
    """One set of positions and spreads that several layers use, see ``share_positions``."""

    def reset_parameters(self) -> None:
        """Draw the set anew."""
        self.reset_positions()

    def fuse(self) -> nn.Module:
        """Nothing: what remains of the set once ``timm.utils.reparameterize_model`` has folded its layers."""
        return nn.Identity()

    def extra_repr(self) -> str:
        """Shapes, for ``repr``."""
        return f"{tuple(self.positions.shape)}, interpolation={self.interpolation!r}"


def share_positions(layers: Sequence[Any]) -> SharedPositions:
    """Make DCLS layers use one set of positions and spreads, that of the first of them.

    Register the returned module on a common parent of the layers, which then owns the set: it appears once in the
    parent's parameters and state dict, and copies, moves and loads stay shared.

    Example:
        >>> block = nn.Module()
        >>> block.convs = nn.Sequential(*(dcls.Dcls2d(8, 8, 5, 11, padding="same") for _ in range(3)))
        >>> block.shared = dcls.share_positions(list(block.convs))
        >>> block.convs(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])

    Args:
        layers: ``DclsNd`` layers of equal channels, groups, kernel_count, dilated_kernel_size and interpolation.

    Raises:
        ValueError: no layer is given, they differ in one of these, or one shares its positions already.
    """
    if not layers:
        raise ValueError("share_positions needs at least one layer")
    if not all(layer.owns_positions for layer in layers):
        raise ValueError("a layer that shares positions already cannot share others")
    first = layers[0]
    for layer in layers[1:]:
        for name in ("dilated_kernel_size", "interpolation"):
            if getattr(layer, name) != getattr(first, name):
                values = f"{getattr(first, name)} and {getattr(layer, name)}"
                raise ValueError(f"layers that share positions must agree in {name}: {values}")
        if layer.positions.shape != first.positions.shape:
            raise ValueError(
                "layers that share positions must agree in channels, groups and kernel_count: "
                f"positions of shape {tuple(first.positions.shape)} and {tuple(layer.positions.shape)}"
            )
    shared = SharedPositions(first.dilated_kernel_size, first.interpolation)
    shared.register_positions(first.positions, first.sigma)
    for layer in layers:
        layer.use_positions_of(shared)
    return shared
