"""DCLS layers in place of the convolutions of any model."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import Tensor, nn

from dcls.conv import Dcls1d, Dcls2d, Dcls3d, DclsNd, is_integer
from dcls.fitting import fit, why_no_fit
from dcls.interpolation import get_interpolation
from dcls.joint_construction import JointConstruction, register_joint_construction
from dcls.optim import NoWeightDecay
from dcls.padding import padding_amounts
from dcls.positions import share_positions
from dcls.self_folding import guard_self_folding

Match = int | str | Callable[[str, nn.Module], bool]
_LAYERS: dict[Any, type[DclsNd]] = {nn.Conv1d: Dcls1d, nn.Conv2d: Dcls2d, nn.Conv3d: Dcls3d}
_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Conversion:
    """What ``convert`` did.

    Attributes:
        replaced: Name -> the layer that is there now.
        skipped: Name of a convolution that was to be replaced and cannot be -> the reason.
        shared: Names of the sets of shared positions; each is a child of the first layer that uses it.
        joint_constructions: Handles, see ``register_joint_construction``; their ``remove()`` lets every layer build its
            own kernel.
        errors: With ``weights="fit"``, the name of each layer -> the norm of the difference between its kernel and the
            one it replaces, over the norm of the latter.
    """

    replaced: dict[str, DclsNd] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    joint_constructions: list[JointConstruction] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{_count(self.replaced, 'convolution')} replaced, {_count(self.shared, 'set')} of shared positions"]
        lines += [f"not replaced: {line}" for line in _by_reason(self.skipped)]
        return "\n".join(lines + self._describe_errors())

    def _describe_errors(self) -> list[str]:
        if not self.errors:
            return []
        width = max(map(len, self.errors))
        rows = [f"  {name:{width}}  {_percent(error)}" for name, error in self.errors.items()]
        return ["how far the kernels are from those before, by layer:", *rows]


def _by_reason(skipped: dict[str, str]) -> list[str]:
    """Return a line for each reason, with the first names and how many more there are."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    return [f"{_first(group)}: {reason}" for reason, group in names.items()]


def _first(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _percent(error: float) -> str:
    """Show an error that is more than rounding."""
    return f"{100 * error:.2f} %" if error > 1e-5 else f"{error:.0e}"


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def convert(
    model: nn.Module,
    *,
    dilated_kernel_size: int | tuple[int, ...],
    kernel_count: int,
    interpolation: str = "gaussian",
    match: Match = 7,
    share: str | None = "stage",
    weights: Literal["fit"] | Callable[[DclsNd], object] | None = None,
    initial_positions: str = "normal",
    initial_sigma: float | None = None,
) -> Conversion:
    """Replace convolutions of a model by DCLS layers, in place.

    Channels, groups, stride, dilation, bias, padding mode, dtype, device and training mode stay, and the padding grows
    with the kernel, so that the shapes of all outputs stay, too. The model gets a method ``no_weight_decay()``, for
    timm's optimizers. Biases are kept; weights and positions are new, or with ``weights="fit"`` such that the network
    computes what it did, as nearly as that many elements can.

    Examples:
        >>> net = timm.create_model("convnext_tiny")
        >>> print(dcls.convert(net, dilated_kernel_size=23, kernel_count=26))
        18 convolutions replaced, 4 sets of shared positions

    Args:
        model: Any model; must hold its convolutions, not be one.
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements of a kernel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        match: Which convolutions. A number: depthwise ones whose kernel has at least this extent along some axis. A
            text: those whose name it matches as a pattern, such as "stages.*.conv_dw". A function of name and module:
            those for which it is true.
        share: Which layers share positions and spreads, among those with equal channels. "stage": those that follow
            one another, a new set beginning wherever the channels change. "channels": all. None: no two. Any other
            text: those inside one module whose name it matches as a pattern, such as "stages.*"; of nested modules that
            match, the outermost counts, and layers in none share with no other.
        weights: "fit": those with which the kernels are as before. With an element for every tap (9 for 3x3) and
            "bilinear", "bilinear_unnormalized", "triangle" or "sinc", they are the same to rounding; otherwise they are
            the nearest found, which takes seconds a layer, and the report has the remaining error of each. A function:
            called with each new layer, to draw its weights as the model does. By default they are those of
            ``nn.ConvNd``.
        initial_positions: "normal", N(0, 0.5) pixels, "uniform" over the kernel, or "half_normal". Ignored by "fit".
        initial_sigma: Initial value of sigma, in pixels; by default the interpolation's. Ignored by "fit".

    Returns:
        What was replaced, and what could not be and why.

    Raises:
        ValueError: nothing matches, nothing that matches can be replaced, or an argument is wrong.
    """
    _check_arguments(model, dilated_kernel_size, kernel_count, share, weights)
    has_sigma = get_interpolation(interpolation).has_sigma
    if initial_sigma is not None and not has_sigma:
        raise ValueError(f"initial_sigma is given, and {interpolation} has no spreads")
    result, wanted = Conversion(), _wanted(model, match)
    for name, conv in wanted.items():
        made = _layer_or_reason(conv, dilated_kernel_size, kernel_count, interpolation, weights, initial_positions)
        if isinstance(made, str):
            result.skipped[name] = made
        else:
            if initial_sigma is not None and made.sigma is not None:
                nn.init.constant_(made.sigma[: made.ndim], initial_sigma)
            result.replaced[name] = made
    if not result.replaced:
        raise ValueError(_nothing_replaced(model, match, result))
    sets = _sets(model, result.replaced, share)
    if weights == "fit":
        _fit(wanted, sets, result)
    _install(model, wanted, sets, result)
    return result


def _install(model: nn.Module, convs: dict[str, Any], sets: list[list[str]], result: Conversion) -> None:
    """Put the layers into the model. Nothing here can fail, so that a model is either converted or as it was."""
    for name, layer in result.replaced.items():
        _put_everywhere(model, convs[name], layer)
    _share(model, sets, result)
    guard_self_folding(model, {convs[name]: layer for name, layer in result.replaced.items()})
    model.__dict__["no_weight_decay"] = NoWeightDecay(model)


def _layer_or_reason(
    conv: Any, dilated_kernel_size: Any, kernel_count: int, interpolation: str, weights: Any, initial_positions: str
) -> DclsNd | str:
    """Make the layer for a convolution, or say why there can be none."""
    reason = _why_not(conv, dilated_kernel_size)
    if reason is not None:
        return reason
    layer = dcls_like(conv, dilated_kernel_size, kernel_count, interpolation, initial_positions)
    if weights == "fit":
        return why_no_fit(conv, layer) or layer
    if weights is not None:
        weights(layer)
    return layer


def _fit(convs: dict[str, Any], sets: list[list[str]], result: Conversion) -> None:
    """Fit the layers of each set together, others one by one, and note the errors in the order of the layers."""
    in_sets = {name for names in sets for name in names}
    errors: dict[str, float] = {}
    for names in [*sets, *([name] for name in result.replaced if name not in in_sets)]:
        found = fit([convs[name] for name in names], [result.replaced[name] for name in names])
        errors.update(zip(names, found, strict=True))
    result.errors.update({name: errors[name] for name in result.replaced})


def _share(model: nn.Module, sets: list[list[str]], result: Conversion) -> None:
    """Make the layers of each set share positions, and build the kernels of what is called together at once."""
    for names in sets:
        share_positions([result.replaced[name] for name in names])
        result.shared.append(f"{names[0]}.shared")
    for parent in _outermost([_common_parent(model, names) for names in sets if len(names) > 1]):
        result.joint_constructions.append(register_joint_construction(model.get_submodule(parent)))


def dcls_like(
    conv: Any,
    dilated_kernel_size: int | tuple[int, ...],
    kernel_count: int,
    interpolation: str,
    initial_positions: str = "normal",
) -> DclsNd:
    """Build a DCLS layer with everything of a convolution but its kernel; outputs have the same shape.

    Raises:
        ValueError: there is none, because of the convolution's padding or because it is no plain ``nn.ConvNd``.
    """
    reason = _why_not(conv, dilated_kernel_size)
    if reason is not None:
        raise ValueError(f"{type(conv).__name__} cannot be replaced: {reason}")
    padding = _padding_like(conv, _per_axis(conv, dilated_kernel_size))
    assert padding is not None
    layer = _layer_type(conv)(
        conv.in_channels,
        conv.out_channels,
        kernel_count,
        dilated_kernel_size,
        stride=conv.stride,
        padding=padding,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        interpolation=interpolation,
        initial_positions=initial_positions,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
        dilation=conv.dilation,
    )
    if conv.bias is not None:
        layer.bias = conv.bias
    layer.requires_grad_(conv.weight.requires_grad)
    return layer.train(conv.training)


def _check_arguments(model: Any, dilated_kernel_size: Any, kernel_count: Any, share: Any, weights: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be an nn.Module, got {model!r:.80}")
    if isinstance(model, tuple(_LAYERS)):
        raise ValueError(
            f"model is a {type(model).__name__}, and what is replaced must be inside of it: use nn.Sequential(model)"
        )
    sizes = (dilated_kernel_size,) if is_integer(dilated_kernel_size) else dilated_kernel_size
    if not isinstance(sizes, tuple | list) or not sizes or not all(is_integer(size) and size >= 1 for size in sizes):
        raise ValueError(f"dilated_kernel_size must be an integer >= 1 or one per axis, got {dilated_kernel_size!r}")
    if not is_integer(kernel_count) or kernel_count < 1:
        raise ValueError(f"kernel_count must be an integer >= 1, got {kernel_count!r}")
    if share is not None and not isinstance(share, str):
        raise ValueError(f"share must be 'stage', 'channels', None or a pattern such as 'stages.*', got {share!r}")
    if weights is not None and weights != "fit" and not callable(weights):
        raise ValueError(f"weights must be 'fit' or a function of a layer, got {weights!r:.80}")


def _matcher(match: Match) -> Callable[[str, Any], bool]:
    if callable(match):
        return match
    if isinstance(match, str):
        return lambda name, _: fnmatchcase(name, match)
    if not is_integer(match):
        raise ValueError(f"match must be an integer, a pattern or a function of name and module, got {match!r}")
    return lambda _, conv: _is_depthwise(conv) and max(conv.kernel_size) >= match


def _wanted(model: nn.Module, match: Match) -> dict[str, Any]:
    is_wanted = _matcher(match)
    return {
        name: module
        for name, module in model.named_modules()
        if name and _is_convolution(module) and is_wanted(name, module)
    }


def _is_convolution(module: Any) -> bool:
    """Return whether a layer is, or looks like, a convolution that is not DCLS already."""
    looks_so = all(hasattr(module, name) for name in ("in_channels", "out_channels", "kernel_size", "groups"))
    has_kernel = isinstance(getattr(module, "weight", None), Tensor)
    return isinstance(module, tuple(_LAYERS)) or (looks_so and has_kernel and not isinstance(module, DclsNd))


def _is_depthwise(conv: Any) -> bool:
    return bool(conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1)


def _layer_type(conv: Any) -> type[DclsNd]:
    return next(layer for plain, layer in _LAYERS.items() if isinstance(conv, plain))


def _per_axis(conv: Any, size: int | tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, tuple | list) else (size,) * len(conv.kernel_size)


def _why_not(conv: Any, size: int | tuple[int, ...]) -> str | None:
    """Return why a convolution cannot be replaced, or None."""
    plain = next((plain for plain in _LAYERS if isinstance(conv, plain)), None)
    if plain is None:
        return f"a {type(conv).__name__} is no nn.Conv1d, nn.Conv2d or nn.Conv3d"
    if isinstance(conv.weight, nn.parameter.UninitializedParameter):
        return "it has no shape before its first batch"
    if type(conv).forward is not plain.forward or type(conv)._conv_forward is not plain._conv_forward:
        return f"a {type(conv).__name__} computes something else than an nn.{plain.__name__}"
    if "weight" not in conv._parameters:
        return "its weight is computed (weight norm, spectral norm, pruning)"
    if conv.transposed:
        return "it is transposed"
    return None if _padding_like(conv, _per_axis(conv, size)) is not None else _padding_problem(conv, size)


def _padding_like(conv: Any, size: tuple[int, ...]) -> str | tuple[int, ...] | None:
    """Return the padding with which a kernel of this size gives outputs of the same shape, None if there is none."""
    if conv.padding == "same":
        return "same"
    if len(size) != len(conv.kernel_size):
        return None
    growth = [d * (new - old) for d, new, old in zip(conv.dilation, size, conv.kernel_size, strict=True)]
    before = padding_amounts(conv.padding, conv.kernel_size, conv.dilation)
    totals = [start + end + extra for (start, end), extra in zip(before, growth, strict=True)]
    if all(total % 2 == 0 and total >= 0 for total in totals):
        return tuple(total // 2 for total in totals)
    is_same = all(total == d * (new - 1) for total, d, new in zip(totals, conv.dilation, size, strict=True))
    return "same" if is_same and all(stride == 1 for stride in conv.stride) else None


def _padding_problem(conv: Any, size: int | tuple[int, ...]) -> str:
    old, new = tuple(conv.kernel_size), _per_axis(conv, size)
    if len(new) != len(old):
        return f"its kernel has {len(old)} axes, dilated_kernel_size has {len(new)}"
    return (
        f"no padding keeps its output's shape with a {new} kernel in place of {old} at stride {conv.stride}; take an "
        "odd size where its own is odd, and one that is not smaller"
    )


def _put_everywhere(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace the convolution wherever the model holds it: a module may be in several places."""
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _sets(model: nn.Module, layers: dict[str, DclsNd], share: str | None) -> list[list[str]]:
    """Return the names of the layers of each set."""
    if share is None:
        return []
    groups = [list(layers)] if share in ("stage", "channels") else _by_module(model, layers, share)
    return [names for group in groups for names in _of_equal_shape(group, layers, only_neighbors=share == "stage")]


def _by_module(model: nn.Module, layers: Iterable[str], pattern: str) -> list[list[str]]:
    """Group layers by the outermost module whose name matches the pattern."""
    groups: dict[str, list[str]] = {}
    for name in layers:
        parts = name.split(".")
        parents = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        parent = next((parent for parent in parents if fnmatchcase(parent, pattern)), None)
        if parent is not None:
            groups.setdefault(parent, []).append(name)
    if not groups:
        raise ValueError(
            f"share={pattern!r}: no module of that name holds a replaced convolution in this "
            f"{type(model).__name__}; use 'stage', 'channels', None or a pattern such as 'stages.*'"
        )
    return list(groups.values())


def _of_equal_shape(names: Iterable[str], layers: dict[str, DclsNd], *, only_neighbors: bool) -> list[list[str]]:
    """Split layers into sets that can share positions."""
    sets: list[list[str]] = []
    for name in names:
        candidates = sets[-1:] if only_neighbors else sets
        fitting = [s for s in candidates if layers[s[0]].positions.shape == layers[name].positions.shape]
        if fitting:
            fitting[0].append(name)
        else:
            sets.append([name])
    return sets


def _outermost(names: list[str]) -> list[str]:
    """Return those modules that are in no other of them, each once: the rest is built together with them."""
    return [
        n for n in dict.fromkeys(names) if not any(n != m and f"{n}.".startswith(f"{m}." if m else "") for m in names)
    ]


def _common_parent(model: nn.Module, names: list[str]) -> str:
    """Return the innermost module that holds all of them and is called."""
    paths = [name.split(".")[:-1] for name in names]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    while common and isinstance(model.get_submodule(".".join(common)), _NEVER_CALLED):
        common.pop()
    return ".".join(common)


def _nothing_replaced(model: nn.Module, match: Match, result: Conversion) -> str:
    if result.skipped:
        return "\n".join(["no convolution can be replaced:", *_by_reason(result.skipped)])
    convs: list[Any] = [module for module in model.modules() if isinstance(module, tuple(_LAYERS))]
    kinds = {f"{'depthwise ' if _is_depthwise(c) else ''}{'x'.join(map(str, c.kernel_size))}" for c in convs}
    return f"no convolution matches {match!r}; {type(model).__name__} has {', '.join(sorted(kinds)) or 'none'}"
