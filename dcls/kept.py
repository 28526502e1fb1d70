"""A layer's kernel between two changes of its parameters, so that evaluation does not build it for every batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def may_keep_kernels(module: nn.Module) -> bool:
    """In eval mode and without gradients; torch.compile and torch.export see the construction itself."""
    return not (module.training or torch.is_grad_enabled() or torch.compiler.is_compiling())


class KeptKernel:
    """The kernel last built, and which values of which tensors it was built from.

    A change is seen by the tensors' version counters and memory. Values written through ``Tensor.data``, or by a fused
    optimizer, leave no trace there; so the layer clears this whenever it computes with gradients and at ``train()`` and
    ``eval()``. A copy or pickle starts empty.
    """

    def __init__(self) -> None:
        self._kernel: Tensor | None = None
        self._sources: list[Tensor] = []
        self._versions: list[int] = []

    def clear(self) -> None:
        """Forget the kernel."""
        if self._kernel is not None:  # torch.export warns of every assignment
            self._kernel, self._sources, self._versions = None, [], []

    def get(self, sources: Sequence[Tensor], build: Callable[[], Tensor]) -> Tensor:
        """The kept kernel if it was built from what sources hold now, else a new one."""
        if any(source.is_inference() for source in sources):  # such tensors count no versions
            return build()
        if self._kernel is None or not self._is_built_from(sources):
            self._kernel = build()
            # Aliases hold on to the memory, which no other tensor can be given meanwhile.
            self._sources = [source.detach() for source in sources]
            self._versions = [source._version for source in sources]
        return self._kernel

    def _is_built_from(self, sources: Sequence[Tensor]) -> bool:
        return [source._version for source in sources] == self._versions and all(
            kept.is_set_to(source) for kept, source in zip(self._sources, sources, strict=True)
        )

    def __reduce__(self) -> tuple[type["KeptKernel"], tuple[()]]:
        return KeptKernel, ()
