"""What a padding argument means in pixels: those of ``nn.ConvNd``, and what else each axis may have."""

from collections.abc import Sequence

AxisPadding = int | str | tuple[int, int]
Padding = str | tuple[AxisPadding, ...]
BY_NAME = ("same", "valid", "causal")


def padding_amounts(
    padding: str | Sequence[AxisPadding], kernel_size: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Before and after each axis; "same" puts the odd pixel of an even kernel at the end, as ``nn.ConvNd`` does."""
    axes = [padding] * len(kernel_size) if isinstance(padding, str) else padding
    return [
        _along_axis(amount, step * (size - 1)) for amount, size, step in zip(axes, kernel_size, dilation, strict=True)
    ]


def _along_axis(amount: AxisPadding, total: int) -> tuple[int, int]:
    """Before and after an axis along which the kernel takes ``total`` pixels away."""
    if amount == "valid":
        return 0, 0
    if amount == "same":
        return total // 2, total - total // 2
    if amount == "causal":
        return total, 0
    before, after = amount if isinstance(amount, tuple) else (amount, amount)
    return int(before), int(after)


def is_of_torch(padding: str | Sequence[AxisPadding]) -> bool:
    """Return whether PyTorch's convolutions take it as it is."""
    if isinstance(padding, str):
        return padding != "causal"
    return not any(isinstance(amount, str | tuple) for amount in padding)


def last_axis_first(amounts: Sequence[tuple[int, int]]) -> list[int]:
    """Return amounts in the order of ``F.pad``."""
    return [amount for axis in reversed(amounts) for amount in axis]
