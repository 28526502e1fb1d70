"""timm models whose convolutions are DCLS layers: ``dcls.convert`` at the end of the constructor."""

from typing import Any, ClassVar

from timm.layers import trunc_normal_
from torch import nn

import dcls


class DclsVariant:
    """Mixin before a timm model: the convolutions that ``match`` become DCLS layers, see ``dcls.convert``.

    Args:
        *args: As the timm model.
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements of a kernel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        **kwargs: As the timm model.
    """

    match: ClassVar[int | str]
    share: ClassVar[str | None]

    def __init__(
        self, *args: Any, dilated_kernel_size: int, kernel_count: int, interpolation: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        conversion = dcls.convert(
            self,  # type: ignore[arg-type]  # a mixin of an nn.Module
            dilated_kernel_size=dilated_kernel_size,
            kernel_count=kernel_count,
            interpolation=interpolation,
            match=self.match,
            share=self.share,
            weights=_draw_weights,
        )
        assert not conversion.skipped, str(conversion)


def _draw_weights(layer: dcls.DclsNd) -> None:
    """Start as in the papers' models."""
    trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
