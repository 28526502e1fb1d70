"""Blocks that fold themselves (RepVGG, MobileOne, ...), when some of their convolutions are DCLS layers.

``timm.utils.reparameterize_model`` calls such a block's ``fuse()``, ``reparameterize()`` or ``switch_to_deploy()``.
These read the weights of its convolutions and expect the kernel size that the block was built with.
"""

import copy
import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dcls.conv import DclsNd
from dcls.reparameterization import reparameterize

_METHODS = ("fuse", "reparameterize", "switch_to_deploy")
_SIZE_ATTRIBUTES = ("kernel_size", "spatial_shape")
_PROBE_EXTENT = 9
_TOLERANCE = 1e-4

_log = logging.getLogger(__name__)


def guard_self_folding(model: nn.Module, replaced: dict[nn.Module, DclsNd]) -> None:
    """Make blocks of a model that fold themselves fold right, whatever calls them.

    Args:
        replaced: The convolutions that were there -> the layers in their place.
    """
    layers = set(replaced.values())
    sizes = {tuple(conv.kernel_size): layer.kernel_size for conv, layer in replaced.items()}  # type: ignore[arg-type]
    for block in model.modules():
        if not isinstance(block, DclsNd) and any(module in layers for module in block.modules()):
            for method in _METHODS:
                if callable(getattr(type(block), method, None)):
                    block.__dict__[method] = GuardedFold(block, method, sizes)


class GuardedFold:
    """In place of a block's own folding method: folds the DCLS layers first, then the block if it computes the same.

    It is tried on a copy of the block. If that fails, or computes something else, the block keeps its branches, which
    are plain convolutions by then: the outputs are right in any case.
    """

    def __init__(self, block: nn.Module, method: str, sizes: dict[tuple[int, ...], tuple[int, ...]]) -> None:
        self.block, self.method, self.sizes = block, method, sizes

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Fold; a method with arguments is another one of the same name and called as it is."""
        if arguments or named:
            return getattr(type(self.block), self.method)(self.block, *arguments, **named)
        reparameterize(self.block)
        if not self._computes_the_same():
            _log.info("a %s keeps its branches, as plain convolutions", type(self.block).__name__)
            return self.block if self.method == "fuse" else None
        return self._fold(self.block)

    def _fold(self, block: nn.Module) -> Any:
        """Call the block's own method, which may call another one that is guarded."""
        guards = {method: block.__dict__.pop(method) for method in _METHODS if method in block.__dict__}
        try:
            _correct_sizes(block, self.sizes)
            return getattr(type(block), self.method)(block)
        finally:
            block.__dict__.update(guards)

    @torch.no_grad()
    def _computes_the_same(self) -> bool:
        """Try on a copy in float32 and eval mode, with a random input."""
        try:
            before = copy.deepcopy(self.block).float().eval()
            x = _probe(before)
            expected = before(x)
            after = self._fold(before)
            folded = (after if self.method == "fuse" else before)(x)
        except Exception:  # whatever a block's own code dies of
            return False
        return _are_close(folded, expected)


def _correct_sizes(block: nn.Module, sizes: dict[tuple[int, ...], tuple[int, ...]]) -> None:
    """Tell the block and its branches the new kernel size, where they noted the old one."""
    single = {old[0]: new[0] for old, new in sizes.items() if len({*old}) == len({*new}) == 1}
    for module in block.modules():
        if hasattr(module, "weight"):
            continue
        for name, value in vars(module).items():
            if name.endswith(_SIZE_ATTRIBUTES):
                known: Any = single.get(value, value) if isinstance(value, int) else sizes.get(_as_tuple(value), value)
                vars(module)[name] = known


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else ()


def _probe(block: nn.Module) -> Tensor:
    """Return a random input for a block, (1, C, ...), of the channels of its first convolution."""
    conv: Any = next(m for m in block.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    generator = torch.Generator().manual_seed(0)
    shape = (1, conv.in_channels, *(_PROBE_EXTENT,) * len(conv.kernel_size))
    return torch.randn(shape, generator=generator).to(conv.weight.device)


def _are_close(result: Any, expected: Any) -> bool:
    if not (isinstance(result, Tensor) and isinstance(expected, Tensor) and result.shape == expected.shape):
        return False
    return not expected.is_meta and bool((result - expected).abs().max() <= _TOLERANCE * expected.abs().max())
