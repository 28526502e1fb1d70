"""Recognize what a released file holds by its keys and shapes, and fit its weights to this project's models."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.models import convnext, fastvit, metaformer
from torch import Tensor, nn

import dcls
from dcls.errors import UserError

State = dict[str, Tensor]


@dataclass(frozen=True)
class UpstreamCheckpoint:
    """What a file holds.

    Attributes:
        family: Kind of model.
        depths: Blocks of each stage.
        dims: Channels of each stage.
        attends: Whether some stages attend rather than convolve.
        is_audio: Whether the stem takes spectrograms.
        has_spread: Whether the elements have learned spreads.
        kernel_count: Elements of a kernel.
        num_classes: Outputs.
    """

    family: str
    depths: tuple[int, ...]
    dims: tuple[int, ...]
    attends: bool
    is_audio: bool
    has_spread: bool
    kernel_count: int
    num_classes: int

    @property
    def interpolation(self) -> str:
        """Files with spreads are Gaussian; of the others, ConvNeXt and ResNet are not normalized."""
        if self.has_spread:
            return "gaussian"
        return "bilinear_unnormalized" if self.family in ("ConvNeXt", "ResNet") else "bilinear"

    @property
    def model(self) -> str:
        """The registered architecture that fits, with ``options`` where the file's model has another size."""
        sizes = _FAMILIES[self.family].sizes
        size = sizes.get((self.depths, self.dims), next(iter(sizes.values())))
        if self.attends and self.family == "MetaFormer":
            size = size.replace("convformer", "caformer")
        kind = "audio" if self.is_audio else "gaussian" if self.has_spread else self.interpolation
        return f"{size}_dcls_{kind}"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of ``timm.create_model``, beside ``num_classes``, with which ``model`` has this file's shapes."""
        family = _FAMILIES[self.family]
        options: dict[str, Any] = {"kernel_count": self.kernel_count}
        if (self.depths, self.dims) not in family.sizes:
            options[family.depths] = list(self.depths)
            if family.dims:
                options[family.dims] = list(self.dims)
        return options

    def __str__(self) -> str:
        what = f"{self.family}{', with attention' if self.attends else ''}{', for audio' if self.is_audio else ''}"
        return (
            f"{what}, {self.kernel_count} elements a kernel, {self.interpolation}, depths {self.depths}, widths "
            f"{self.dims}, {self.num_classes} classes: {self.model}"
        )


@dataclass(frozen=True)
class _Family:
    """How files of one kind of model are told and renamed.

    Attributes:
        telltale: Matches a key that no other family has.
        block: Matches the keys of a block: stage and block number.
        width: Key of a tensor whose first axis are a stage's channels, by stage and the first block's place.
        head: The classifier's key.
        rename: timm's function from the original names to its own.
        depths, dims: timm's arguments for the number of blocks and channels.
        sizes: (depths, dims) -> beginning of the registered name; the first is the default.
    """

    telltale: str
    block: str
    width: str
    head: str
    rename: Callable[[State, nn.Module], State]
    depths: str
    dims: str
    sizes: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = field(default_factory=dict)


_FAMILIES = {
    "ConvNeXt": _Family(
        telltale=r"downsample_layers\.0\.0\.weight",
        block=r"stages\.(\d+)\.(\d+)\.dwconv\.weight",
        width="stages.{}.{}.dwconv.weight",
        head="head.weight",
        rename=convnext.checkpoint_filter_fn,
        depths="depths",
        dims="dims",
        sizes={
            ((3, 3, 9, 3), (96, 192, 384, 768)): "convnext_tiny",
            ((3, 3, 27, 3), (96, 192, 384, 768)): "convnext_small",
            ((3, 3, 27, 3), (128, 256, 512, 1024)): "convnext_base",
        },
    ),
    "MetaFormer": _Family(
        telltale=r"downsample_layers\.0\.conv\.weight",
        block=r"stages\.(\d+)\.(\d+)\.norm1\.weight",
        width="stages.{}.{}.norm1.weight",
        head="head.fc2.weight",
        rename=metaformer.checkpoint_filter_fn,
        depths="depths",
        dims="dims",
        sizes={((3, 3, 9, 3), (64, 128, 320, 512)): "convformer_s18"},
    ),
    "FastViT": _Family(
        telltale=r"network\.0\.0\.convffn\.conv\.conv\.weight",
        block=r"network\.(\d+)\.(\d+)\.convffn\.fc1\.weight",
        width="network.{}.{}.convffn.fc2.weight",
        head="head.weight",
        rename=fastvit.checkpoint_filter_fn,
        depths="layers",
        dims="embed_dims",
        sizes={
            ((4, 4, 12, 4), (64, 128, 256, 512)): "fastvit_sa24",
            ((6, 6, 18, 6), (64, 128, 256, 512)): "fastvit_sa36",
        },
    ),
    "ResNet": _Family(
        telltale=r"layer1\.0\.conv2\.P",
        block=r"layer(\d+)\.(\d+)\.conv2\.weight",
        width="layer{}.{}.conv2.weight",
        head="fc.weight",
        rename=lambda state, _: state,
        depths="layers",
        dims="",
        sizes={((3, 4, 6, 3), (64, 128, 256, 512)): "resnet50"},
    ),
}


def recognize(state: State) -> UpstreamCheckpoint:
    """Recognize the model of a released file's weights.

    Raises:
        UserError: they are of no released kind.
    """
    for name, family in _FAMILIES.items():
        if any(re.fullmatch(family.telltale, key) for key in state) and any(key.endswith(".P") for key in state):
            return _measure(name, family, state)
    raise UserError(
        f"the layout is unknown: none of the released {', '.join(_FAMILIES)} models; its {len(state)} keys begin "
        f"with {', '.join(list(state)[:3])}"
    )


def to_model(state: State, model: nn.Module) -> State:
    """Released weights under this model's names, in its axis order, and shared positions once; others unchanged.

    Raises:
        UserError: they belong to another model, or layers that share positions differ in them.
    """
    if not any(key.endswith(".P") for key in state):
        return state
    layout = recognize(state)
    _check_fit(layout, model)
    plain = {key: value for key, value in state.items() if not _is_learned(key)}
    result = dict(_FAMILIES[layout.family].rename(plain, model))
    names = _with_learned(state, dict(zip(plain, result, strict=True)))
    for key in filter(_is_learned, state):
        layer_name, _, kind = names[key].rpartition(".")
        owner = _owner(model, model.get_submodule(layer_name), layer_name)
        name = f"{owner}.{'positions' if kind == 'P' else 'sigma'}"
        value = state[key]
        value = value if layout.interpolation == "bilinear_unnormalized" else value.flip(0)  # rows first
        if name in result and not torch.equal(result[name], value):
            raise UserError(f"{key} differs from the {kind} of another layer of its stage, with which it is shared")
        result[name] = value
    return result


def released_names(keys: Iterable[str], layout: UpstreamCheckpoint, model: nn.Module) -> dict[str, str]:
    """Released name -> timm's name, with P and SIG under the name of their layer."""
    plain = {key: torch.empty(0) for key in keys if not _is_learned(key)}
    return _with_learned(keys, dict(zip(plain, _FAMILIES[layout.family].rename(plain, model), strict=True)))


def _with_learned(keys: Iterable[str], plain: dict[str, str]) -> dict[str, str]:
    """Add P and SIG of every layer to the renamed weights."""
    learned = {}
    for key in filter(_is_learned, keys):
        layer, _, kind = key.rpartition(".")
        learned[key] = f"{plain[f'{layer}.weight'].removesuffix('.weight')}.{kind}"
    return plain | learned


def _is_learned(key: str) -> bool:
    return key.rpartition(".")[2] in ("P", "SIG")


def _measure(name: str, family: _Family, state: State) -> UpstreamCheckpoint:
    blocks = sorted({tuple(map(int, found.groups())) for key in state if (found := re.fullmatch(family.block, key))})
    stages = sorted({stage for stage, _ in blocks})
    first_position = next(key for key in state if key.endswith(".P"))
    return UpstreamCheckpoint(
        family=name,
        depths=tuple(sum(stage == other for other, _ in blocks) for stage in stages),
        dims=tuple(len(state[family.width.format(stage, 0)]) for stage in stages),
        attends=any(".qkv." in key for key in state),
        is_audio=any(tuple(value.shape[2:]) == (2, 16) for value in state.values()),
        has_spread=any(key.endswith(".SIG") for key in state),
        kernel_count=state[first_position].shape[-1],
        num_classes=len(state[family.head]),
    )


def _check_fit(layout: UpstreamCheckpoint, model: nn.Module) -> None:
    """Refuse another family or interpolation; shapes are compared when the weights are loaded."""
    name, layers = type(model).__name__, [m for m in model.modules() if isinstance(m, dcls.DclsNd)]
    if not name.startswith(layout.family.replace("FastViT", "FastVit")) or not layers:
        raise UserError(f"the file holds a {layout}; it does not fit a {name}")
    if layers[0].interpolation != layout.interpolation:
        raise UserError(f"the file holds a {layout}; the model's interpolation is {layers[0].interpolation}")


def _owner(model: nn.Module, layer: nn.Module, layer_name: str) -> str:
    """Name of the module that owns a layer's positions."""
    if not isinstance(layer, dcls.DclsNd):
        raise UserError(f"{layer_name} has learned positions in the file and none in the model")
    if layer.owns_positions:
        return layer_name
    return next(name for name, owner in dcls.position_owners(model).items() if owner is layer.shared)
