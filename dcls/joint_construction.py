"""Kernels of layers that share positions, built at once: a model's stage costs as many launches as one layer."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from dcls.conv import DclsNd
from dcls.kernel import construct_kernel
from dcls.kernel_cache import may_cache_kernels


def construct_together(parent: nn.Module) -> None:
    """From now on, build the kernels of all layers in ``parent`` that share positions whenever ``parent`` is called.

    The elements' footprints are computed once for all of them. A layer called by itself still builds its own kernel,
    and so do all while ``parent.grad_checkpointing`` is set, as timm does: a block that is computed anew in the
    backward pass must build its kernel in there. Under other tools that recompute or shard single blocks (checkpoint
    wrappers, FSDP) take it back with ``construct_alone``. A layer that a pass leaves out gets a gradient of zeros, not
    None.

    Example:
        >>> stage = nn.Module()
        >>> stage.blocks = nn.Sequential(*(dcls.Dcls2d(8, 8, 5, 11, padding="same") for _ in range(3)))
        >>> stage.shared = dcls.share_positions(list(stage.blocks))
        >>> dcls.construct_together(stage)  # called as stage(x), once it has a forward
    """
    parent.register_forward_pre_hook(_build_kernels)
    parent.register_forward_hook(_release_kernels, always_call=True)


def construct_alone(model: nn.Module) -> None:
    """Take ``construct_together`` back in all of a model: every layer builds its own kernel."""
    for module in model.modules():
        for hooks, ours in ((module._forward_pre_hooks, _build_kernels), (module._forward_hooks, _release_kernels)):
            for key in [key for key, hook in hooks.items() if hook is ours]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)


def _build_kernels(parent: nn.Module, _: Any) -> None:
    _release_kernels(parent)  # what an interrupted pass left: hooks do not run after Ctrl-C
    if may_cache_kernels(parent) or getattr(parent, "grad_checkpointing", False):
        return
    for layers in _layers_of_each_set(parent):
        first = layers[0]
        kernels = construct_kernel(
            torch.stack([layer.weight for layer in layers]),
            first.positions,
            first.sigma,
            first.dilated_kernel_size,
            first.interpolation,
        )
        for layer, kernel in zip(layers, kernels.unbind(), strict=True):
            layer.built_kernel = kernel


def _release_kernels(parent: nn.Module, *_: Any) -> None:
    for module in parent.modules():
        if isinstance(module, DclsNd):
            module.built_kernel = None


def _layers_of_each_set(parent: nn.Module) -> list[list[DclsNd]]:
    """Layers with common positions and weights that can be stacked; not those with a construction of their own."""
    sets = defaultdict(list)
    for module in parent.modules():
        if isinstance(module, DclsNd) and not module.owns_positions and type(module).kernel is DclsNd.kernel:
            sets[module.shared, module.weight.dtype, module.weight.device].append(module)
    return list(sets.values())
