"""Kernels of layers that share positions, built at once: a model's stage costs as many launches as one layer."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.hooks import RemovableHandle

from dcls.conv import DclsNd
from dcls.kernel_cache import can_compare


@dataclass(frozen=True)
class JointConstruction:
    """A handle of ``register_joint_construction``."""

    parent: nn.Module
    hooks: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """Let every layer build its own kernel again."""
        for hook in self.hooks:
            hook.remove()
        _release_kernels(self.parent)


def register_joint_construction(parent: nn.Module) -> JointConstruction:
    """Build the kernels of all layers in ``parent`` that share positions whenever ``parent`` is called.

    The elements' footprints are computed once for all of them, and the results are those of each layer alone. A layer
    still builds its own kernel where it is called by itself, where activations of its block are recomputed
    (``torch.utils.checkpoint``, timm's gradient checkpointing), and where its weight is sharded or offloaded. A layer
    that a pass leaves out gets a gradient of zeros, not None.

    Examples:
        >>> stage = nn.Sequential(*(dcls.Dcls2d(8, 8, 5, 11, padding="same") for _ in range(3)))
        >>> shared = dcls.share_positions(list(stage))
        >>> handle = dcls.register_joint_construction(stage)
        >>> stage(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
        >>> handle.remove()

    Returns:
        A handle whose ``remove()`` undoes it.
    """
    return JointConstruction(
        parent,
        (
            parent.register_forward_pre_hook(_build_kernels),
            parent.register_forward_hook(_release_kernels, always_call=True),
        ),
    )


def remove_joint_construction(model: nn.Module) -> None:
    """Undo ``register_joint_construction`` everywhere in a model."""
    for module in model.modules():
        for hooks, ours in ((module._forward_pre_hooks, _build_kernels), (module._forward_hooks, _release_kernels)):
            for key in [key for key, hook in hooks.items() if hook is ours]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)
    _release_kernels(model)


def _build_kernels(parent: nn.Module, _: Any) -> None:
    _release_kernels(parent)  # what an interrupted pass left: hooks do not run after Ctrl-C
    for layers in _layers_of_each_set(parent):
        first = layers[0]
        positions, sigma = first._current_positions()
        weights = torch.stack([layer.weight for layer in layers])
        kernels = first._construct(weights, positions, sigma)
        for layer, kernel in zip(layers, kernels.unbind(), strict=True):
            layer._set_built_kernel(kernel)


def _release_kernels(parent: nn.Module, *_: Any) -> None:
    for module in parent.modules():
        if isinstance(module, DclsNd):
            module._set_built_kernel(None)


def _layers_of_each_set(parent: nn.Module) -> list[list[DclsNd]]:
    """Return the layers of each set whose weights can be stacked."""
    sets = defaultdict(list)
    for module in parent.modules():
        if isinstance(module, DclsNd) and not module.owns_positions and _builds_as_usual(module):
            key = (module.shared, module.weight.dtype, module.weight.device, module._settings())
            sets[key].append(module)
    return list(sets.values())


def _builds_as_usual(layer: DclsNd) -> bool:
    """Return whether a layer builds a kernel now, in the usual way, from parameters that are whole and here.

    Sharded weights are of a subclass (DTensor), offloaded ones are on the meta device, what a hook or a parametrization
    computes is known only when the layer is called, and in a symbolic trace nothing is known.
    """
    weight = layer.weight
    is_here = type(weight) in (nn.Parameter, Tensor) and not weight.is_meta
    if not is_here or "weight" not in layer._parameters or is_parametrized(layer.shared):
        return False
    is_cached = layer._may_cache_kernel() and can_compare(weight)
    return type(layer).kernel is DclsNd.kernel and not is_cached
