"""A layer's kernel between two changes of its parameters, so that evaluation does not build it for every batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dcls.transformations import is_transformed, is_written_down


def may_cache_kernels(module: nn.Module) -> bool:
    """In eval mode and without gradients; transformations, torch.compile and traces see the construction itself."""
    has_gradients = torch.is_grad_enabled() or is_transformed()
    return not (module.training or has_gradients or torch.compiler.is_compiling() or is_written_down())


def can_compare(tensor: Tensor) -> bool:
    """Return whether the values of a tensor can be read at once: it is whole, and nobody waits for a device."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"


class _CachedKernel(NamedTuple):
    kernel: Tensor
    settings: tuple[object, ...]
    sources: list[Tensor]  # copies


class KernelCache:
    """The kernel last built, and the values it was built from.

    They are compared value by value, as a change may leave no other trace: ``Tensor.data``, NumPy and fused optimizers
    write past the version counters. That takes a few microseconds a layer on a CPU. On any other device it would wait
    for everything computed so far, so there every kernel is built each time. A copy or pickle starts empty.
    """

    def __init__(self) -> None:
        self._cache: _CachedKernel | None = None

    def clear(self) -> None:
        """Forget the kernel, for the memory it takes."""
        if self._cache is not None:  # torch.export warns of every assignment
            self._cache = None

    def get(self, sources: Sequence[Tensor], settings: tuple[object, ...], build: Callable[[], Tensor]) -> Tensor:
        """Return the kept kernel if it was built from these values and settings, else a new one."""
        if not all(map(can_compare, sources)):
            self.clear()
            return build()
        cached = self._cache  # read once: another thread may clear it
        if cached is None or not _is_built_from(cached, sources, settings):
            copies = [source.detach().clone() for source in sources]
            cached = self._cache = _CachedKernel(build(), settings, copies)
        return cached.kernel

    def __reduce__(self) -> tuple[type["KernelCache"], tuple[()]]:
        return KernelCache, ()


def _is_built_from(cached: _CachedKernel, sources: Sequence[Tensor], settings: tuple[object, ...]) -> bool:
    return cached.settings == settings and all(
        copy.dtype == source.dtype and torch.equal(copy, source)
        for copy, source in zip(cached.sources, sources, strict=True)
    )
