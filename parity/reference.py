"""The reference implementation (PyPI package ``dcls`` 0.1.1) beside ours: layers and models of equal parameters.

Its module is called ``DCLS``. A layer of it is typed ``Any``: it has no types, and attributes of its own (P, SIG, DCK).
"""

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import dcls
from dcls.reference_package import VERSIONS, axis_order

logging.getLogger().addHandler(logging.NullHandler())  # without any, the reference's warnings add one that prints
from DCLS.construct import modules as reference  # noqa: E402

LAYERS: dict[int, tuple[type[dcls.DclsNd], Any]] = {
    1: (dcls.Dcls1d, reference.Dcls1d),
    2: (dcls.Dcls2d, reference.Dcls2d),
    3: (dcls.Dcls3d, reference.Dcls3d),
}


def reference_layer(ours: dcls.DclsNd) -> Any:
    """Return the reference's layer with the arguments and parameters of ours.

    It knows neither dilation nor padding by name.
    """
    assert set(ours.dilation) == {1} and not isinstance(ours.padding, str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LAYERS[ours.ndim][1](
            ours.in_channels,
            ours.out_channels,
            kernel_count=ours.kernel_count,
            stride=ours.stride,
            padding=ours.padding,
            dilated_kernel_size=ours.dilated_kernel_size,
            groups=ours.groups,
            bias=ours.bias is not None,
            padding_mode=ours.padding_mode,
            version=VERSIONS[ours.interpolation],
        ).to(ours.weight.dtype)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
        if ours.bias is not None:
            theirs.bias.copy_(ours.bias)
        for name, value in learned_tensors(ours).items():
            getattr(theirs, name).copy_(value)
    return theirs


def learned_tensors(ours: dcls.DclsNd) -> dict[str, Tensor]:
    """Return positions and spreads under the reference's names, P and SIG, and in its axis order."""
    order = axis_order(ours.ndim, ours.interpolation)
    return {"P": ours.positions[order]} | ({} if ours.sigma is None else {"SIG": ours.sigma[order]})


def make_pair(
    ndim: int, interpolation: str, *arguments: Any, dtype: torch.dtype = torch.float64, **options: Any
) -> tuple[dcls.DclsNd, Any]:
    """Return our layer and the reference's, with the same random parameters, positions within the kernel.

    Args:
        ndim: Number of spatial axes.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        arguments: in_channels, out_channels, kernel_count, dilated_kernel_size.
        dtype: Of all parameters.
        options: As ``dcls.Dcls2d``.
    """
    ours = LAYERS[ndim][0](*arguments, interpolation=interpolation, dtype=dtype, **options)
    with torch.no_grad():
        for position, extent in zip(ours.positions, ours.dilated_kernel_size, strict=True):
            position.uniform_(-(extent // 2) + 0.01, extent // 2 - 0.01)
        if ours.sigma is not None:
            ours.sigma.normal_()
    return ours, reference_layer(ours)


def put_reference_layers(model: nn.Module, ours: nn.Module) -> dict[str, Any]:
    """Make a plain model the reference's counterpart of ours, in place.

    Where ours has a DCLS layer, the model gets the reference's in place of its convolution, sharing P and SIG with the
    layers with which ours shares positions; all other weights become those of ours.

    Args:
        model: timm's model, whose other modules have the names that they have in ours.
        ours: The same model with DCLS layers.

    Returns:
        Name -> the reference's layer.
    """
    layers: dict[str, Any] = {}
    first_of_set: dict[int, Any] = {}
    for name, layer in ours.named_modules():
        if not isinstance(layer, dcls.DclsNd):
            continue
        _check_same_convolution(name, model.get_submodule(name), layer)
        theirs = layers[name] = reference_layer(layer)
        first = first_of_set.setdefault(id(layer.positions), theirs)
        theirs.P, theirs.SIG = first.P, first.SIG
        model.set_submodule(name, theirs)
    keys = model.load_state_dict(ours.state_dict(), strict=False)
    assert all(key.endswith((".P", ".SIG")) for key in keys.missing_keys), keys
    assert all(key.endswith((".positions", ".sigma")) for key in keys.unexpected_keys), keys
    return layers


def _check_same_convolution(name: str, plain: Any, ours: dcls.DclsNd) -> None:
    """Assert that a DCLS layer differs from the plain convolution that it replaces in the kernel alone."""
    for argument in ("in_channels", "out_channels", "stride", "groups", "padding_mode"):
        assert getattr(plain, argument) == getattr(ours, argument), f"{name}: {argument}"
    assert (plain.bias is None) == (ours.bias is None), f"{name}: bias"


def outputs_and_gradients(layer: Any, x: Tensor, upstream: Tensor | None = None) -> dict[str, Tensor]:
    """Return output and all gradients of either implementation, under our names and in our axis order."""
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
        if layer.SIG is not None:
            result["d_sigma"] = layer.SIG.grad[order]
    return result
