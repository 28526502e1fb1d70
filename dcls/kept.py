"""A layer's kernel between two changes of its parameters, so that evaluation does not build it for every batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def may_keep_kernels(module: nn.Module) -> bool:
    """In eval mode and without gradients; torch.compile and torch.export see the construction itself."""
    has_gradients = torch.is_grad_enabled() or forward_ad._current_level >= 0
    return not (module.training or has_gradients or torch.compiler.is_compiling())


class _Kept(NamedTuple):
    kernel: Tensor
    sources: list[Tensor]  # aliases, which hold on to the memory: no other tensor can be given it meanwhile
    versions: list[int]


class KeptKernel:
    """The kernel last built, and which values of which tensors it was built from.

    A change is seen by the tensors' version counters and memory. Values written through ``Tensor.data``, or by a fused
    optimizer, leave no trace there; so the layer clears this whenever it computes with gradients, when it is moved, and
    at ``train()`` and ``eval()``. A copy or pickle starts empty.
    """

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def clear(self) -> None:
        """Forget the kernel."""
        if self._kept is not None:  # torch.export warns of every assignment
            self._kept = None

    def get(self, sources: Sequence[Tensor], build: Callable[[], Tensor]) -> Tensor:
        """The kept kernel if it was built from what sources hold now, else a new one."""
        # Tensors of inference mode count no versions, those on the meta device have no memory.
        if any(source.is_inference() or source.is_meta for source in sources):
            return build()
        kept = self._kept  # read once: another thread may clear it
        if kept is None or not _is_built_from(kept, sources):
            versions = [source._version for source in sources]
            kept = _Kept(build(), [source.detach() for source in sources], versions)
            self._kept = kept
        return kept.kernel

    def __reduce__(self) -> tuple[type["KeptKernel"], tuple[()]]:
        return KeptKernel, ()


def _is_built_from(kept: _Kept, sources: Sequence[Tensor]) -> bool:
    return [source._version for source in sources] == kept.versions and all(
        alias.is_set_to(source) for alias, source in zip(kept.sources, sources, strict=True)
    )
