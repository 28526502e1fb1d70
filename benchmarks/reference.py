"""The reference implementation (PyPI package dcls) in this project's conventions: oracle of tests and benchmarks."""

import logging
import warnings
from typing import Any

import torch
from torch import Tensor

import dcls

logging.getLogger().addHandler(logging.NullHandler())  # without any, the reference's warnings add one that prints
from DCLS.construct import modules as reference  # noqa: E402

VERSIONS = {"bilinear": "v1", "bilinear_unnormalized": "v0", "triangle": "max", "gaussian": "gauss"}
LAYERS = {1: (dcls.Dcls1d, reference.Dcls1d), 2: (dcls.Dcls2d, reference.Dcls2d), 3: (dcls.Dcls3d, reference.Dcls3d)}


def axis_order(ndim: int, interpolation: str) -> list[int]:
    """Which axis of the reference's P and SIG is which of ours; its own inverse in every case."""
    if interpolation != "bilinear_unnormalized":
        return list(reversed(range(ndim)))  # v1, max and gauss count from the last axis
    return [0, 2, 1] if ndim == 3 else list(range(ndim))


def make_pair(
    ndim: int, interpolation: str, *arguments: Any, dtype: torch.dtype = torch.float64, **options: Any
) -> tuple[dcls.DclsNd, Any]:
    """Our layer and the reference's, with the same random parameters, positions within the kernel.

    Args:
        ndim: Number of spatial axes.
        arguments: in_channels, out_channels, kernel_count, dilated_kernel_size.
        options: As ``dcls.Dcls2d``.
    """
    ours_type, theirs_type = LAYERS[ndim]
    ours = ours_type(*arguments, interpolation=interpolation, dtype=dtype, **options)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = ("in_channels", "out_channels", "kernel_count", "dilated_kernel_size")
        size = ours.dilated_kernel_size
        theirs = theirs_type(
            **dict(zip(names, arguments, strict=True)) | {"dilated_kernel_size": size},
            version=VERSIONS[interpolation],
            **options,
        ).to(dtype)
        for position, extent in zip(ours.positions, size, strict=True):
            position.uniform_(-(extent // 2) + 0.01, extent // 2 - 0.01)
        if ours.sigma is not None:
            ours.sigma.normal_()
    copy_parameters(ours, theirs)
    return ours, theirs


@torch.no_grad()
def copy_parameters(ours: dcls.DclsNd, theirs: Any) -> None:
    """Give the reference's layer the parameters of ours."""
    order = axis_order(ours.ndim, ours.interpolation)
    theirs.weight.copy_(ours.weight)
    if ours.bias is not None:
        theirs.bias.copy_(ours.bias)
    theirs.P.copy_(ours.positions[order])
    if ours.sigma is not None:
        theirs.SIG.copy_(ours.sigma[order])


def outputs_and_gradients(layer: Any, x: Tensor, upstream: Tensor | None = None) -> dict[str, Tensor]:
    """Output and all gradients of either implementation, under our names and in our axis order."""
    x = x.detach().requires_grad_()
    output = layer(x)
    output.backward(torch.ones_like(output) if upstream is None else upstream)
    result = {"output": output.detach(), "d_input": x.grad, "d_weight": layer.weight.grad}
    if layer.bias is not None:
        result["d_bias"] = layer.bias.grad
    if isinstance(layer, dcls.DclsNd):
        result["d_positions"] = layer.positions.grad
        if layer.sigma is not None:
            result["d_sigma"] = layer.sigma.grad
    else:
        interpolation = next(name for name, version in VERSIONS.items() if version == layer.version)
        order = axis_order(layer.P.shape[0], interpolation)
        result["d_positions"] = layer.P.grad[order]
        if layer.version in ("max", "gauss"):
            result["d_sigma"] = layer.SIG.grad[order]
    return result
