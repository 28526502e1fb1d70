"""What a padding argument of ``nn.ConvNd`` means in pixels."""

from collections.abc import Sequence


def padding_amounts(
    padding: str | Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Before and after each axis; "same" puts the odd pixel of an even kernel at the end, as ``nn.ConvNd`` does."""
    if padding == "valid":
        return [(0, 0)] * len(kernel_size)
    if padding == "same":
        totals = [step * (size - 1) for size, step in zip(kernel_size, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(amount), int(amount)) for amount in padding]
