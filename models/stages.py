"""Put DCLS layers into the stages of a timm model, with one set of positions and spreads a stage."""

from collections.abc import Iterable
from typing import Any, ClassVar

from timm.layers import trunc_normal_
from torch import nn

import dcls
from dcls.conversion import dcls_like


class _PositionsWithoutDecay:
    """Mixin before a timm model."""

    def no_weight_decay(self) -> set[str]:
        """Positions and spreads, beside what the timm model names, for timm's own training scripts."""
        inherited = super().no_weight_decay() if hasattr(super(), "no_weight_decay") else set()
        return inherited | dcls.position_names(self)


class DclsInStages(_PositionsWithoutDecay):
    """Mixin before a timm model with ``stages`` of ``blocks``: their depthwise convolutions become ``dcls.Dcls2d``.

    Args:
        *args: As the timm model.
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements a channel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        **kwargs: As the timm model.
    """

    conv_name: ClassVar[str]
    """Where a block has its depthwise convolution."""

    def __init__(
        self,
        *args: Any,
        dilated_kernel_size: int = 23,
        kernel_count: int = 26,
        interpolation: str = "gaussian",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        use_dcls(self.stages, self.conv_name, dilated_kernel_size, kernel_count, interpolation)


class DclsEverywhere(_PositionsWithoutDecay):
    """Mixin before a timm model of any build: the convolutions that ``match`` become DCLS layers, see ``dcls.convert``.

    Args:
        *args: As the timm model.
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements a channel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        **kwargs: As the timm model.
    """

    match: ClassVar[int | str] = 7
    share: ClassVar[str | None] = "stage"

    def __init__(
        self, *args: Any, dilated_kernel_size: int, kernel_count: int, interpolation: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        conversion = dcls.convert(
            self,
            dilated_kernel_size=dilated_kernel_size,
            kernel_count=kernel_count,
            interpolation=interpolation,
            match=self.match,
            share=self.share,
        )
        assert not conversion.skipped, str(conversion)
        for layer in conversion.replaced.values():
            _initialise(layer)


def use_dcls(
    stages: Iterable[nn.Module], conv_name: str, dilated_kernel_size: int, kernel_count: int, interpolation: str
) -> None:
    """Replace the depthwise convolution of every block, in place.

    Args:
        stages: Modules with ``blocks``; each becomes the owner of the positions its blocks share, as ``stage.shared``.
        conv_name: Where a block has its ``nn.Conv2d``, e.g. "conv_dw". Blocks without one are left alone.
        dilated_kernel_size: Extent of the dense kernel.
        kernel_count: Number of learned elements a channel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
    """
    for stage in stages:
        layers = []
        for block in stage.blocks:
            if conv_name not in dict(block.named_modules()):
                continue
            conv = block.get_submodule(conv_name)
            layer = dcls_like(conv, dilated_kernel_size, kernel_count, interpolation)
            _initialise(layer)
            block.set_submodule(conv_name, layer)
            layers.append(layer)
        if layers:
            stage.shared = dcls.share_positions(layers)
            dcls.construct_together(stage)


def _initialise(layer: dcls.DclsNd) -> None:
    """As in the papers' models."""
    trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
