"""Folding a model's DCLS layers into plain convolutions, for inference and other tools."""

import torch
from torch import Tensor, nn

from dcls.conv import Dcls2d, DclsNd
from dcls.joint_construction import remove_joint_construction


@torch.no_grad()
def reparameterize(model: nn.Module, example: Tensor | None = None) -> nn.Module:
    """Replace every DCLS layer by the plain convolution with its kernel, in place; the outputs stay the same.

    ``timm.utils.reparameterize_model`` does the same without cropping. The convolutions are ``nn.Conv2d`` to every tool
    that asks, compute on this library's fast path in eager mode and under torch.compile, and leave plain convolutions
    in a program exported by torch.export, torch.onnx or torch.jit.trace; torch.jit.script does not take them.

    Args:
        model: Any module.
        example: An input of the largest size there will be. It runs through the model once, and each 2-D kernel is
            cropped to what it can meet there; larger inputs are refused afterwards, but for traced programs, which
            check nothing. None keeps the kernels whole.

    Returns:
        The model; for a lone layer, its convolution.
    """
    sizes = {} if example is None else _input_sizes(model, example)
    layers = [module for module in model.modules() if isinstance(module, DclsNd)]
    folded = {layer: layer.fuse(sizes.get(layer)) if isinstance(layer, Dcls2d) else layer.fuse() for layer in layers}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() leaves out a layer's second name
            if isinstance(child, DclsNd):
                setattr(parent, name, folded[child])
    remove_joint_construction(model)
    return folded[model] if isinstance(model, DclsNd) else model


def _input_sizes(model: nn.Module, example: Tensor) -> dict[DclsNd, tuple[int, int]]:
    """(H, W) of the largest input that each 2-D layer sees."""
    sizes: dict[DclsNd, tuple[int, int]] = {}

    def note(layer: DclsNd, positional: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        height, width = (positional[0] if positional else named["input"]).shape[-2:]
        seen = sizes.get(layer, (0, 0))
        sizes[layer] = (max(height, seen[0]), max(width, seen[1]))

    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in model.modules() if isinstance(m, Dcls2d)]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()(example)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for hook in hooks:
            hook.remove()
    return sizes
