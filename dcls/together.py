"""Kernels of layers that share positions, built at once: a network's stage costs as many launches as one layer."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from dcls.conv import DclsNd
from dcls.kept import may_keep_kernels
from dcls.kernel import construct_kernel
from dcls.positions import SharedPositions


def construct_together(parent: nn.Module) -> None:
    """From now on, build the kernels of all layers in ``parent`` that share positions whenever ``parent`` is called.

    The elements' footprints are computed once for all of them. Results are the same; a layer called by itself still
    builds its own kernel. Nothing is built ahead while ``parent.grad_checkpointing`` is set, as timm does: a block that
    is computed anew in the backward pass must build its kernel in there.

    Example:
        >>> stage = nn.Sequential(*(dcls.Dcls2d(8, 8, 5, 11, padding="same") for _ in range(3)))
        >>> stage.shared = dcls.share_positions(list(stage))
        >>> dcls.construct_together(stage)
    """
    parent.register_forward_pre_hook(_build_kernels)
    parent.register_forward_hook(_release_kernels, always_call=True)


def _build_kernels(parent: nn.Module, _: Any) -> None:
    if may_keep_kernels(parent) or getattr(parent, "grad_checkpointing", False):
        return
    for shared, layers in _sharing_layers(parent).items():
        weights = torch.stack([layer.weight for layer in layers])
        kernels = construct_kernel(
            weights, shared.positions, shared.sigma, shared.dilated_kernel_size, shared.interpolation
        )
        for layer, kernel in zip(layers, kernels.unbind(), strict=True):
            layer.built_kernel = kernel


def _release_kernels(parent: nn.Module, *_: Any) -> None:
    for layers in _sharing_layers(parent).values():
        for layer in layers:
            layer.built_kernel = None


def _sharing_layers(parent: nn.Module) -> dict[SharedPositions, list[DclsNd]]:
    groups = defaultdict(list)
    for module in parent.modules():
        if isinstance(module, DclsNd) and not module.owns_positions:
            groups[module.shared].append(module)
    return groups
