"""From layers and state dicts of the reference package (PyPI ``dcls``, imported as ``DCLS``) to this library's."""

from collections.abc import Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn

from dcls.conv import Dcls1d, Dcls2d, Dcls3d, DclsNd
from dcls.optim import position_owners
from dcls.positions import share_positions

VERSIONS = {"bilinear": "v1", "bilinear_unnormalized": "v0", "triangle": "max", "gaussian": "gauss"}
_LAYERS: dict[int, type[DclsNd]] = {1: Dcls1d, 2: Dcls2d, 3: Dcls3d}


@overload
def from_reference(source: nn.Module) -> nn.Module: ...


@overload
def from_reference(source: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]: ...


def from_reference(source: Any, model: nn.Module | None = None) -> Any:
    """Bring a layer, a network or a state dict of the reference package over; outputs stay the same.

    It takes ``Dcls1d``, ``Dcls2d``, ``Dcls3d``, ``Dcls2dK1d``, ``Dcls3_1d`` and the later ``Dcls2_1d``, of every
    version. Elements that the reference puts outside the kernel, where they have no effect and never get a gradient,
    act here as if they were at its border.

    ``network = dcls.from_reference(network)`` replaces every layer in place, and
    ``model.load_state_dict(dcls.from_reference(state_dict, model))`` loads what was saved.

    Args:
        source: A layer; a network, whose layers are replaced in place; or a state dict with P and SIG.
        model: For a state dict: the network that it is for, with this library's layers under the same names. A state
            dict does not say its version, so their ``interpolation`` decides how it is read.

    Returns:
        The new layer; the network; or a state dict for ``model``. Layers that had P and SIG in common share positions.

    Raises:
        ValueError: there is no layer of the reference package, or the state dict does not fit the model.
    """
    if isinstance(source, nn.Module):
        if model is not None:
            raise ValueError("model is for a state dict; a network is brought over by itself")
        return _layer(source) if _is_theirs(source) else _replace_layers(source)
    if not isinstance(model, nn.Module):
        raise ValueError("a state dict needs model, the network of this library's layers that it is for")
    return _state_dict(source, model)


def axis_order(ndim: int, interpolation: str) -> list[int]:
    """Return which axis of the reference's P and SIG is which of ours; the order is its own inverse."""
    if interpolation != "bilinear_unnormalized":
        return list(reversed(range(ndim)))  # v1, max and gauss count from the last axis
    return [0, 2, 1] if ndim == 3 else list(range(ndim))


def _is_theirs(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("P", "SIG", "version", "kernel_count", "dilated_kernel_size"))


def _replace_layers(network: nn.Module) -> nn.Module:
    theirs: list[Any] = [module for module in network.modules() if _is_theirs(module)]
    if not theirs:
        raise ValueError(f"{type(network).__name__} has no layer of the reference package")
    ours = {module: _layer(module) for module in theirs}
    sets: dict[tuple[int, int], list[DclsNd]] = {}
    for module, layer in ours.items():
        sets.setdefault((id(module.P), id(module.SIG)), []).append(layer)
    for layers in sets.values():
        if len(layers) > 1:
            share_positions(layers)
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child in ours:
                parent._modules[name] = ours[child]
    return network


def _layer(theirs: Any) -> DclsNd:
    """Build the layer of this library with a reference layer's arguments and parameters."""
    interpolation = next((name for name, version in VERSIONS.items() if version == theirs.version), None)
    if interpolation is None:
        raise ValueError(f"a {type(theirs).__name__} of version {theirs.version!r} has no counterpart here")
    ndim = len(theirs.stride)
    dense, learned = tuple(getattr(theirs, "dense_kernel_size", ())), tuple(theirs.dilated_kernel_size)
    size, axes = dense + learned, range(len(dense), ndim)
    if hasattr(theirs, "flat_dim"):  # Dcls2dK1d: its flat axis counts from the last
        size, axes = ((*learned, 1), range(1)) if theirs.flat_dim == 0 else ((1, *learned), range(1, 2))
    layer = _LAYERS[ndim](
        theirs.in_channels,
        theirs.out_channels,
        theirs.kernel_count,
        size,
        stride=theirs.stride,
        padding=theirs.padding,
        groups=theirs.groups,
        bias=theirs.bias is not None,
        padding_mode=theirs.padding_mode,
        interpolation=interpolation,
        learned_axes=axes,
        device=theirs.weight.device,
        dtype=theirs.weight.dtype,
    )
    is_wide = any(kind.__name__ == "Dcls2_1d" for kind in type(theirs).__mro__)
    state = _tensors(layer, theirs.weight, theirs.P, theirs.SIG, is_wide)
    if theirs.bias is not None:
        state["bias"] = theirs.bias
    layer.load_state_dict(state)
    for ours, name in (("weight", "weight"), ("bias", "bias"), ("positions", "P"), ("sigma", "SIG")):
        if getattr(theirs, name) is not None:
            getattr(layer, ours).requires_grad_(getattr(theirs, name).requires_grad)
    return layer.train(theirs.training)


@torch.no_grad()
def _tensors(layer: DclsNd, weight: Tensor, P: Tensor, SIG: Tensor | None, is_wide: bool) -> dict[str, Tensor]:
    """Return a layer's own tensors from those of the reference.

    Args:
        is_wide: Whether the spread is 1 + |SIG| also where the interpolation is Gaussian, as in ``Dcls2_1d``.
    """
    size = [layer.dilated_kernel_size[axis] for axis in layer.learned_axes]
    order = axis_order(len(size), layer.interpolation)
    # The reference takes the center from the axis at the same place in its own order.
    shift = P.new_tensor([size[theirs] // 2 - size[ours] // 2 for ours, theirs in enumerate(order)])
    positions = P[order] + shift.view(-1, *[1] * (P.ndim - 1))
    result = {"weight": weight.reshape(layer.weight.shape), "positions": positions.reshape(layer.positions.shape)}
    if SIG is not None and layer.sigma is not None:
        sigma = SIG[order].reshape(layer.sigma.shape)
        result["sigma"] = sigma.abs() + (1.0 - 0.27) if is_wide and layer.interpolation == "gaussian" else sigma
    return result


def _state_dict(source: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    owners = {owner: name for name, owner in position_owners(model).items()}
    modules = model.named_modules(remove_duplicate=False)  # a state dict has every name of a layer
    layers = {name: module for name, module in modules if isinstance(module, DclsNd)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no DCLS layer")
    result = dict(source)
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        owner_prefix = prefix
        if not layer.owns_positions:
            owner_prefix += "shared."
            if "shared" not in layer._modules:  # it is another layer's child
                owner_prefix = f"{owners[layer.shared]}."
        _check_fits(source, prefix, layer)
        weight, P, SIG = (result.pop(f"{prefix}{key}", None) for key in ("weight", "P", "SIG"))
        assert weight is not None and P is not None
        for buffer in ("DCK.IDX", "DCK.lim"):
            result.pop(f"{prefix}{buffer}", None)
        is_wide = layer.ndim == 2 and len(layer.learned_axes) == 1 and weight.ndim == layer.weight.ndim
        tensors = _tensors(layer, weight, P, SIG, is_wide)
        result[f"{prefix}weight"] = tensors.pop("weight")
        for key, value in tensors.items():
            present = result.setdefault(f"{owner_prefix}{key}", value)
            if not torch.equal(present, value):
                raise ValueError(f"{name} shares its {key} in the model, but has its own in the state dict")
    return result


def _check_fits(source: Mapping[str, Tensor], prefix: str, layer: DclsNd) -> None:
    for key, ours in (("weight", layer.weight), ("P", layer.positions), ("SIG", layer.sigma)):
        theirs = source.get(f"{prefix}{key}")
        if (theirs is None) != (ours is None):
            problem = "has no" if theirs is None else "has a"
            raise ValueError(f"the state dict {problem} {prefix}{key}, but the layer is {layer.interpolation!r}")
        if theirs is not None and ours is not None and theirs.numel() != ours.numel():
            raise ValueError(f"{prefix}{key} has shape {tuple(theirs.shape)}, the layer needs {tuple(ours.shape)}")
