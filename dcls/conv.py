"""Convolution layers whose kernel elements sit at learnable positions: ``Dcls1d``, ``Dcls2d``, ``Dcls3d``."""

# Shapes: O out channels, I in channels per group, N kernel_count.

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from dcls.depthwise.conv2d import FastConv2d, conv2d
from dcls.grid import axis_bounds
from dcls.interpolation import get_interpolation
from dcls.kernel_cache import KernelCache, may_cache_kernels
from dcls.learned_axes import construct_along, fixed_sizes
from dcls.padding import BY_NAME, AxisPadding, Padding, is_of_torch, last_axis_first, padding_amounts
from dcls.positions import PositionOwner, SharedPositions
from dcls.saving_context import saving_context
from dcls.torch_conv import convolve
from dcls.transformations import is_transformed

# In a graph of torch.fx, a layer is a call of each of these.
torch.fx.wrap("construct_along")
torch.fx.wrap("conv2d")
torch.fx.wrap("convolve")

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class DclsNd(PositionOwner):
    """What ``Dcls1d``, ``Dcls2d`` and ``Dcls3d`` have in common; not to be used itself.

    Attributes:
        weight: (O, I, N), one weight an element. Where positions are learned along some axes only, there are N
            elements at every grid point of the others: (O, I, *their sizes, N), and so for all that follows.
        positions: (learned axes, O, I, N), offsets from the kernel's center in pixels, in the axis order of
            dilated_kernel_size. The center of an axis of k points is index k // 2.
        sigma: (ndim, O, I, N), learned spread in pixels; None for the bilinear interpolations. A row more per axis or
            pair of axes where the interpolation learns a shape, see ``dcls.construct_kernel``.
        bias: (O,) or None.
        discrete: Whether the layer computes with rounded positions, see ``discretize``.

    Args:
        padding: As ``nn.ConvNd``, or "causal": all that "same" adds comes before, so that no output depends on a later
            input. Along each axis one of these, a number, or (before, after).
        learned_axes: Axes along which elements move, such as ``(0,)``; by default all. Along the others, there are
            kernel_count elements at every grid point.
        position_limits: (low, high) in pixels from the center, or one pair for each learned axis, within which
            ``clamp_positions`` and the initial values keep positions; by default the kernel.
        initial_positions: "normal", N(0, 0.5) pixels; "uniform" between the limits; or "half_normal", most of them
            close to the upper limit, where delays are short.
    """

    discrete: bool = False
    ndim: int
    transposed = False
    _plain: Callable[..., nn.Module]
    weight: nn.Parameter
    bias: nn.Parameter | None
    _built_kernel: tuple[Tensor, object, list[Tensor], list[int]] | None = None
    """Set while a parent has built this layer's kernel for it, see ``dcls.register_joint_construction``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_count: int,
        dilated_kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[AxisPadding] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        interpolation: str = "gaussian",
        learned_axes: Sequence[int] | None = None,
        position_limits: Any = None,
        initial_positions: str = "normal",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        size = self._per_axis("dilated_kernel_size", dilated_kernel_size)
        super().__init__(size, interpolation, learned_axes, position_limits, initial_positions)
        self.in_channels = self._count("in_channels", in_channels)
        self.out_channels = self._count("out_channels", out_channels)
        self.kernel_count = self._count("kernel_count", kernel_count)
        self.stride = self._per_axis("stride", stride)
        self.padding: Padding = self._checked_padding(padding)
        self.dilation = self._per_axis("dilation", dilation)
        self.groups = self._count("groups", groups)
        self.padding_mode = padding_mode
        self._check_arguments(bias, device, dtype)

        fixed = fixed_sizes(size, self.learned_axes)
        shape = (out_channels, in_channels // groups, *fixed, kernel_count)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(self.weight.new_empty(out_channels)) if bias else None)
        position_dtype = torch.promote_types(self.weight.dtype, torch.float32)
        positions = torch.empty(len(self.learned_axes), *shape, device=device, dtype=position_dtype)
        self._cache = KernelCache()
        rows = get_interpolation(interpolation).sigma_rows(len(self.learned_axes))
        sigma = nn.Parameter(positions.new_empty(rows, *shape)) if rows else None
        self._register_positions(nn.Parameter(positions), sigma)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize as ``nn.ConvNd`` with a fan-in of N * I; positions and sigma too where the layer owns them."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)
        if self.owns_positions:
            self.reset_positions()

    def kernel(self) -> Tensor:
        """Return the dense kernel, (O, I, *dilated_kernel_size), in the dtype of weight; differentiable."""
        return self._construct(self.weight, *self._current_positions())

    @property
    def position_owner(self) -> PositionOwner:
        """The module that holds the positions and spreads: the shared set or, without one, the layer itself."""
        return self._shared() or self

    @property
    def delays(self) -> Tensor:
        """How many steps of the input each element is before the last grid point of its kernel; differentiable.

        With padding="causal" it is how long ago the input was that the element lets through, from 0 to
        dilation * (dilated_kernel_size - 1). It has the shape of positions.
        """
        positions = self._rounded(self.positions) if self.discrete else self.positions
        per_axis = zip(positions, self.learned_axes, strict=True)
        return torch.stack(
            [(axis_bounds(self.dilated_kernel_size[axis])[1] - p) * self.dilation[axis] for p, axis in per_axis]
        )

    def discretize(self, mode: bool = True) -> "DclsNd":
        """Compute with every element on the grid point nearest to its position, until ``discretize(False)``.

        Learned positions and spreads stay as they are, and get no gradient meanwhile; ``dcls.discretized`` does this
        for all layers of a model inside a ``with`` block.
        """
        self.discrete = mode
        return self

    def _current_positions(self) -> tuple[Tensor, Tensor | None]:
        """Return positions and sigma to compute with, (ndim, O, I, N) each; a shared set is called for them."""
        shared: SharedPositions | None = self._shared()
        return (self.positions, self.sigma) if shared is None else shared()

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, in_channels, *spatial), or without B, with the dense kernel, like ``nn.ConvNd``."""
        padding = self.padding
        if self._pads_beforehand():
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=mode)
            padding = (0,) * self.ndim
        return self._convolve(input, self._kernel_of_pass(), padding)

    def _convolve(self, input: Tensor, kernel: Tensor, padding: Any) -> Tensor:
        return convolve(input, kernel, self.bias, self.stride, padding, self.dilation, self.groups)

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """Return the plain convolution, ``nn.ConvNd``, whose weight is this layer's kernel; the layer stays as it is.

        Padding that it does not know is a module in front of it, in an ``nn.Sequential``. By this name
        ``timm.utils.reparameterize_model`` finds it.
        """
        pads_in_front = not is_of_torch(self.padding)
        conv = self._plain(
            self.in_channels,
            self.out_channels,
            self.dilated_kernel_size,
            self.stride,
            (0,) * self.ndim if pads_in_front else self.padding,
            self.dilation,
            self.groups,
            self.bias is not None,
            "zeros" if pads_in_front else self.padding_mode,
            device="meta",
        )
        conv.weight = nn.Parameter(self.kernel().clone(), requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            conv.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        fused = nn.Sequential(self._padding_module(), conv) if pads_in_front else conv
        return fused.train(self.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DclsNd":
        super()._apply(fn, recurse)
        shared = self._borrowed()
        if shared is not None and recurse:  # the layer that holds the set may be in another part of the model
            shared._apply(fn)
        return self

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Iterate as ``nn.Module.named_modules``, over a borrowed set too if its owner has not been met before."""
        memo = set() if memo is None else memo
        yield from super().named_modules(memo, prefix, remove_duplicate)
        shared = self._borrowed()
        if shared is not None and remove_duplicate:
            yield from shared.named_modules(memo, f"{prefix}.shared".lstrip("."))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        shared = self._borrowed()
        if shared is not None and not shared._is_in(destination):
            shared.state_dict(destination=destination, prefix=f"{prefix}shared.", keep_vars=keep_vars)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str], *lists: Any
    ) -> None:
        shared, inner = self._borrowed(), f"{prefix}shared."
        if shared is not None:
            its_own = {key: value for key, value in state_dict.items() if key.startswith(inner)}
            state_dict = {key: value for key, value in state_dict.items() if key not in its_own}
            if its_own or not shared._was_loaded_by(missing_keys):
                shared._load_all(its_own, inner, local_metadata, strict, missing_keys, *lists)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *lists)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_built_kernel"}

    def _set_built_kernel(self, kernel: Tensor | None) -> None:
        """Take a kernel for the coming forward pass, or None to build it here.

        It is used only where autograd saves tensors as it did when the kernel was built. A block whose activations are
        recomputed saves them in another way, and must build its kernel again, too.
        """
        self._built_kernel = None if kernel is None else (kernel, saving_context(), *self._sources_and_versions())

    def _use_positions_of(self, shared: SharedPositions, *, owns: bool) -> None:
        """Give up positions and sigma for those of a shared set, see ``dcls.share_positions``.

        Args:
            owns: Hold the set as a child. Otherwise it is borrowed from the layer that does.
        """
        del self._parameters["positions"], self._parameters["sigma"]
        if owns:
            self.add_module("shared", shared)
        else:
            object.__setattr__(self, "shared", shared)

    def _shared(self) -> SharedPositions | None:
        return self._modules.get("shared") or self._borrowed()  # type: ignore[return-value]

    def _borrowed(self) -> SharedPositions | None:
        return self.__dict__.get("shared")

    def _sources(self) -> list[Tensor]:
        """Return what the kernel is built from: weight, positions and, if there is one, sigma."""
        positions, sigma = self._current_positions()
        return [self.weight, positions] + ([] if sigma is None else [sigma])

    def _sources_and_versions(self) -> tuple[list[Tensor], list[int]]:
        """Return the parameters and the counts of their changes, empty where there are none to read."""
        if torch.compiler.is_compiling() or is_transformed():
            return [], []
        parameters: tuple[Tensor | None, ...] = (self.weight, self.positions, self.sigma)
        sources = [parameter for parameter in parameters if parameter is not None]
        return sources, [0 if source.is_inference() else source._version for source in sources]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("positions", "sigma") and "_modules" in self.__dict__:
            shared = self._shared()
            if shared is not None:  # for all layers of the set
                setattr(shared, name, value)
                return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in ("positions", "sigma"):
            shared = self._shared()
            if shared is not None:
                return getattr(shared, name)
        return super().__getattr__(name)

    def extra_repr(self) -> str:
        """Arguments that differ from their defaults, for ``repr``."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_count={self.kernel_count}, "
            f"dilated_kernel_size={self.dilated_kernel_size}, interpolation={self.interpolation!r}"
        )
        ones, zeros = (1,) * self.ndim, (0,) * self.ndim
        bounds = tuple(self.kernel_bounds)
        defaults = dict(stride=ones, padding=zeros, dilation=ones, groups=1, padding_mode="zeros")
        defaults |= dict(learned_axes=tuple(range(self.ndim)), position_limits=bounds, initial_positions="normal")
        defaults |= dict(discrete=False)
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.owns_positions else text + ", shared positions"

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """The extent of the dense kernel, for code that was written for ``nn.ConvNd``."""
        return self.dilated_kernel_size

    @property
    def output_padding(self) -> tuple[int, ...]:
        """Zeros, as in ``nn.ConvNd``."""
        return (0,) * self.ndim

    @property
    def _reversed_padding_repeated_twice(self) -> list[int]:
        """Return the padding in pixels as ``F.pad`` takes it: before and after each axis, the last axis first."""
        return last_axis_first(padding_amounts(self.padding, self.dilated_kernel_size, self.dilation))

    def _kernel_of_pass(self) -> Tensor:
        """Return the kernel that a parent has built, that of an earlier batch, or a new one."""
        if self._built_kernel is not None and self._is_up_to_date(*self._built_kernel[1:]):
            return self._built_kernel[0]
        if not self._may_cache_kernel():
            self._cache.clear()
            return self.kernel()
        return self._cache.get(self._sources(), self._settings(), self.kernel)

    def _settings(self) -> tuple[object, ...]:
        """Return the attributes that a kernel depends on, besides what it is built from."""
        return self.interpolation, self.dilated_kernel_size, self.learned_axes, self.discrete

    def _is_up_to_date(self, context: object, sources: list[Tensor], versions: list[int]) -> bool:
        now, versions_now = self._sources_and_versions()
        is_same = len(sources) == len(now) and all(map(operator.is_, sources, now))
        return context is saving_context() and is_same and versions == versions_now

    def _may_cache_kernel(self) -> bool:
        """Return whether the kernel may be kept; one that a subclass builds may depend on anything."""
        return type(self).kernel is DclsNd.kernel and may_cache_kernels(self)

    def _construct(self, weight: Tensor, positions: Tensor, sigma: Tensor | None) -> Tensor:
        """Build the kernel of this layer's weight, or those of several layers: ([L,] O, I, N) -> ([L,] O, I, *size)."""
        interpolation = self.interpolation
        if self.discrete:  # at an integer position, this interpolation is exactly 1 there and 0 elsewhere
            positions, sigma, interpolation = self._rounded(positions), None, "bilinear_unnormalized"
        return construct_along(weight, positions, sigma, self.dilated_kernel_size, self.learned_axes, interpolation)

    def _rounded(self, positions: Tensor) -> Tensor:
        return torch.stack([positions[index].round().clamp(*bound) for index, bound in enumerate(self.kernel_bounds)])

    def _pads_beforehand(self) -> bool:
        return self.padding_mode != "zeros" or not is_of_torch(self.padding)

    def _padding_module(self) -> nn.Module:
        amounts = self._reversed_padding_repeated_twice
        kinds = dict(zeros="Zero", reflect="Reflection", replicate="Replication", circular="Circular")
        module: nn.Module = getattr(nn, f"{kinds[self.padding_mode]}Pad{self.ndim}d")(tuple(amounts))
        return module

    def _checked_padding(self, padding: Any) -> Padding:
        """Return "same", "valid" or "causal", or a tuple with what each axis has."""
        if isinstance(padding, str):
            return padding
        per_axis = (padding,) * self.ndim if is_integer(padding) else padding
        if not isinstance(per_axis, Sequence) or len(per_axis) != self.ndim or not all(map(_is_padding, per_axis)):
            raise ValueError(
                f"padding of a {type(self).__name__} must be an integer >= 0, {', '.join(map(repr, BY_NAME))}, or "
                f"{self.ndim} of them or of (before, after), got {padding!r}"
            )
        return tuple(p if isinstance(p, str) or is_integer(p) else (int(p[0]), int(p[1])) for p in per_axis)

    def _per_axis(self, name: str, value: Any, least: int = 1) -> tuple[int, ...]:
        values = (value,) * self.ndim if is_integer(value) else value
        is_sequence = isinstance(values, Sequence) and len(values) == self.ndim
        if not is_sequence or not all(is_integer(v) and v >= least for v in values):
            raise ValueError(
                f"{name} of a {type(self).__name__} must be an integer >= {least} or {self.ndim} of them, got {value!r}"
            )
        return tuple(map(int, values))

    def _count(self, name: str, value: Any) -> int:
        if not is_integer(value):
            raise ValueError(f"{name} of a {type(self).__name__} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
        return int(value)

    def _check_arguments(self, bias: Any, device: Any, dtype: Any) -> None:
        get_interpolation(self.interpolation)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{name}={getattr(self, name)} is not divisible by groups={self.groups}")
        if self.padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(_PADDING_MODES)}, got {self.padding_mode!r}")
        if isinstance(self.padding, str) and self.padding not in BY_NAME:
            raise ValueError(f"padding must be integers, {', '.join(map(repr, BY_NAME))}, got {self.padding!r}")
        padding = (self.padding,) * self.ndim if isinstance(self.padding, str) else self.padding
        if any(p == "same" and step != 1 for p, step in zip(padding, self.stride, strict=True)):
            raise ValueError(f"padding='same' needs stride 1, got stride={self.stride}; give the padding as integers")
        if not isinstance(bias, bool):
            raise ValueError(f"bias must be True or False, got {bias!r}")
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype must be one of floating-point numbers, got {dtype!r}")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            raise ValueError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from None


def is_integer(value: Any) -> bool:
    """Whether it is a number that counts something; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_padding(value: Any) -> bool:
    """Whether an axis may have it: a name, a number of pixels, or one before and one after."""
    if isinstance(value, str):
        return value in BY_NAME
    pair = value if isinstance(value, Sequence) else (value, value)
    return len(pair) == 2 and all(is_integer(amount) and amount >= 0 for amount in pair)


class Dcls1d(DclsNd):
    """1-D convolution with learnable element positions; arguments as ``nn.Conv1d`` but for the kernel, and
    by name after the fourth.

    Args:
        kernel_count: Number of learned elements (N).
        dilated_kernel_size: Length of the dense kernel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.

    Examples:
        >>> dcls.Dcls1d(2, 4, kernel_count=3, dilated_kernel_size=25, padding="same")(torch.randn(1, 2, 100)).shape
        torch.Size([1, 4, 100])
    """

    ndim = 1
    _plain = nn.Conv1d


class Dcls2d(DclsNd):
    """2-D convolution with learnable element positions; arguments as ``nn.Conv2d`` but for the kernel.

    Args:
        kernel_count: Number of learned elements (N), e.g. 26.
        dilated_kernel_size: Extent of the dense kernel, (rows, columns) or one number, e.g. 23.
        interpolation: A name of ``dcls.INTERPOLATIONS``.

    Examples:
        >>> layer = dcls.Dcls2d(96, 96, kernel_count=26, dilated_kernel_size=23, padding="same", groups=96)
        >>> layer(torch.randn(1, 96, 56, 56)).shape
        torch.Size([1, 96, 56, 56])
    """

    ndim = 2
    _plain = FastConv2d

    def _convolve(self, input: Tensor, kernel: Tensor, padding: Any) -> Tensor:
        return conv2d(input, kernel, self.bias, self.stride, padding, self.dilation, self.groups)

    def fuse(self, input_size: tuple[int, int] | None = None) -> nn.Module:
        """Return the plain convolution, an ``nn.Conv2d`` with this layer's kernel as weight; the layer stays as it is.

        Args:
            input_size: (H, W) of the largest input there will be, if the kernel may be cropped for it; one with a
                module in front of it for its padding is not.
        """
        conv = super().fuse()
        if input_size is not None and isinstance(conv, FastConv2d):
            conv.crop(input_size)
        return conv


class Dcls3d(DclsNd):
    """3-D convolution with learnable element positions; arguments as ``nn.Conv3d`` but for the kernel.

    Args:
        kernel_count: Number of learned elements (N).
        dilated_kernel_size: Extent of the dense kernel, (depth, rows, columns) or one number.
        interpolation: A name of ``dcls.INTERPOLATIONS``.

    Examples:
        >>> dcls.Dcls3d(2, 4, kernel_count=5, dilated_kernel_size=(3, 7, 7))(torch.randn(1, 2, 8, 16, 16)).shape
        torch.Size([1, 4, 6, 10, 10])
    """

    ndim = 3
    _plain = nn.Conv3d
