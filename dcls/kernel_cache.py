"""A layer's kernel between two changes of its parameters, so that evaluation does not build it for every batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def may_cache_kernels(module: nn.Module) -> bool:
    """In eval mode and without gradients; torch.compile and torch.export see the construction itself."""
    has_gradients = torch.is_grad_enabled() or forward_ad._current_level >= 0
    return not (module.training or has_gradients or torch.compiler.is_compiling())


class _CachedKernel(NamedTuple):
    kernel: Tensor
    sources: list[Tensor]  # aliases, which hold on to the memory: no other tensor can be given it meanwhile
    versions: list[int]


class KernelCache:
    """The kernel last built, and which values of which tensors it was built from.

    A change is seen by the tensors' version counters and memory. Values written through ``Tensor.data``, or by a fused
    optimizer, leave no trace there; so the layer clears this whenever it computes with gradients, when it is moved, and
    at ``train()`` and ``eval()``. A copy or pickle starts empty.
    """

    def __init__(self) -> None:
        self._cache: _CachedKernel | None = None

    def clear(self) -> None:
        """Forget the kernel."""
        if self._cache is not None:  # torch.export warns of every assignment
            self._cache = None

    def get(self, sources: Sequence[Tensor], build: Callable[[], Tensor]) -> Tensor:
        """Return the kept kernel if it was built from what sources hold now, else a new one."""
        # Tensors of inference mode count no versions, those on the meta device have no memory.
        if any(source.is_inference() or source.is_meta for source in sources):
            return build()
        cached = self._cache  # read once: another thread may clear it
        if cached is None or not _is_built_from(cached, sources):
            versions = [source._version for source in sources]
            cached = _CachedKernel(build(), [source.detach() for source in sources], versions)
            self._cache = cached
        return cached.kernel

    def __reduce__(self) -> tuple[type["KernelCache"], tuple[()]]:
        return KernelCache, ()


def _is_built_from(cached: _CachedKernel, sources: Sequence[Tensor]) -> bool:
    return [source._version for source in sources] == cached.versions and all(
        alias.is_set_to(source) for alias, source in zip(cached.sources, sources, strict=True)
    )
