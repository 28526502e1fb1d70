"""Convolution layers whose kernel elements sit at learnable positions: ``Dcls1d``, ``Dcls2d``, ``Dcls3d``."""

# Shapes: O out channels, I in channels per group, N kernel_count.

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcls.depthwise.conv2d import FastConv2d, conv2d
from dcls.interpolation import get_interpolation
from dcls.kernel import construct_kernel
from dcls.kernel_cache import KernelCache, may_cache_kernels
from dcls.padding import padding_amounts
from dcls.positions import PositionOwner, SharedPositions
from dcls.saving_context import saving_context
from dcls.torch_conv import convolve

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class DclsNd(PositionOwner):
    """What ``Dcls1d``, ``Dcls2d`` and ``Dcls3d`` have in common; not to be used itself.

    Attributes:
        weight: (O, I, N), one weight an element.
        positions: (ndim, O, I, N), offsets from the kernel's center in pixels, in the axis order of
            dilated_kernel_size. The center of an axis of k points is index k // 2.
        sigma: (ndim, O, I, N), learned spread in pixels; None for the bilinear interpolations. A row more per axis or
            pair of axes where the interpolation learns a shape, see ``dcls.construct_kernel``.
        bias: (O,) or None.
    """

    ndim: int
    _function: Callable[..., Tensor]
    _plain: Callable[..., nn.Module]
    weight: nn.Parameter
    bias: nn.Parameter | None
    _built_kernel: tuple[Tensor, object, tuple[int, int]] | None = None
    """Set while a parent has built this layer's kernel for it, see ``dcls.register_joint_construction``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_count: int,
        dilated_kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        interpolation: str = "gaussian",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(self._per_axis("dilated_kernel_size", dilated_kernel_size), interpolation)
        self.in_channels = self._count("in_channels", in_channels)
        self.out_channels = self._count("out_channels", out_channels)
        self.kernel_count = self._count("kernel_count", kernel_count)
        self.stride = self._per_axis("stride", stride)
        self.padding = padding if isinstance(padding, str) else self._per_axis("padding", padding, least=0)
        self.dilation = self._per_axis("dilation", dilation)
        self.groups = self._count("groups", groups)
        self.padding_mode = padding_mode
        self._check_arguments(bias, device, dtype)

        shape = (out_channels, in_channels // groups, kernel_count)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(self.weight.new_empty(out_channels)) if bias else None)
        position_dtype = torch.promote_types(self.weight.dtype, torch.float32)
        positions = torch.empty(self.ndim, *shape, device=device, dtype=position_dtype)
        self._cache = KernelCache()
        rows = get_interpolation(interpolation).sigma_rows(self.ndim)
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
        return self._construct(*self._current_positions())

    def _current_positions(self) -> tuple[Tensor, Tensor | None]:
        """Return positions and sigma to compute with, (ndim, O, I, N) each; a shared set is called for them."""
        shared: SharedPositions | None = self._shared()
        return (self.positions, self.sigma) if shared is None else shared()

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, in_channels, *spatial), or without B, with the dense kernel, like ``nn.ConvNd``."""
        padding: str | tuple[int, ...] = self.padding
        if self.padding_mode != "zeros":
            amounts = padding_amounts(padding, self.dilated_kernel_size, self.dilation)
            last_axis_first = [amount for axis in reversed(amounts) for amount in axis]
            input = F.pad(input, last_axis_first, mode=self.padding_mode)
            padding = (0,) * self.ndim
        return self._function(
            input, self._kernel_of_pass(), self.bias, self.stride, padding, self.dilation, self.groups
        )

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """Return the plain convolution, ``nn.ConvNd``, whose weight is this layer's kernel; the layer stays as it is.

        By this name ``timm.utils.reparameterize_model`` finds it.
        """
        conv = self._plain(
            self.in_channels,
            self.out_channels,
            self.dilated_kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias is not None,
            self.padding_mode,
            device="meta",
        )
        conv.weight = nn.Parameter(self.kernel().clone(), requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            conv.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        return conv.train(self.training)

    def train(self, mode: bool = True) -> "DclsNd":
        """As ``nn.Module.train``; what evaluation cached is forgotten."""
        self._cache.clear()
        super().train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DclsNd":
        self._cache.clear()
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
            shared._save_to_state_dict(destination, f"{prefix}shared.", keep_vars)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str], *lists: Any
    ) -> None:
        shared, inner = self._borrowed(), f"{prefix}shared."
        if shared is not None:
            its_own = {key: value for key, value in state_dict.items() if key.startswith(inner)}
            state_dict = {key: value for key, value in state_dict.items() if key not in its_own}
            if its_own or not shared._was_loaded_by(missing_keys):
                shared._load_from_state_dict(its_own, inner, local_metadata, strict, missing_keys, *lists)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *lists)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_built_kernel"}

    def _set_built_kernel(self, kernel: Tensor | None) -> None:
        """Take a kernel for the coming forward pass, or None to build it here.

        It is used only where autograd saves tensors as it did when the kernel was built. A block whose activations are
        recomputed saves them in another way, and must build its kernel again, too.
        """
        self._built_kernel = None if kernel is None else (kernel, saving_context(), self._versions())

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

    def _versions(self) -> tuple[int, int]:
        """Count the changes of the weight and of the positions; torch.compile cannot see them."""
        if torch.compiler.is_compiling() or self.weight.is_inference() or self.positions.is_inference():
            return 0, 0
        return self.weight._version, self.positions._version

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
        defaults = dict(stride=ones, padding=zeros, dilation=ones, groups=1, padding_mode="zeros")
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.owns_positions else text + ", shared positions"

    def _kernel_of_pass(self) -> Tensor:
        """Return the kernel that a parent has built, that of an earlier batch, or a new one."""
        if self._built_kernel is not None:
            kernel, context, versions = self._built_kernel
            if context is saving_context() and versions == self._versions():
                return kernel
        if not may_cache_kernels(self):
            self._cache.clear()
            return self.kernel()
        positions, sigma = self._current_positions()
        sources = [self.weight, positions] + ([] if sigma is None else [sigma])
        return self._cache.get(sources, self.kernel)

    def _construct(self, positions: Tensor, sigma: Tensor | None) -> Tensor:
        return construct_kernel(self.weight, positions, sigma, self.dilated_kernel_size, self.interpolation)

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
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ValueError(f"padding must be integers, 'same' or 'valid', got {self.padding!r}")
        if self.padding == "same" and any(s != 1 for s in self.stride):
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
    _function = staticmethod(convolve)
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
    _function = staticmethod(conv2d)
    _plain = FastConv2d

    def fuse(self, input_size: tuple[int, int] | None = None) -> FastConv2d:
        """Return the plain convolution, an ``nn.Conv2d`` with this layer's kernel as weight; the layer stays as it is.

        Args:
            input_size: (H, W) of the largest input there will be, if the kernel may be cropped for it.
        """
        conv = super().fuse()
        assert isinstance(conv, FastConv2d)
        if input_size is not None:
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
    _function = staticmethod(convolve)
    _plain = nn.Conv3d
