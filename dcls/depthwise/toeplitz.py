"""Backend for small maps on GPUs: the convolution as one matrix product a channel, on tensor cores in half precision.

With A[r, y, i] = 1 where kernel row i connects input row r to output row y, and B[s, x, j] alike for columns,

    out[b, c, y, x] = sum_{r, s} input[b, c, r, s] T[c, r, s, y, x]
    T[c, r, s, y, x] = sum_{i, j} A[r, y, i] K[c, i, j] B[s, x, j]

and the weight gradient is the adjoint of that expansion, applied to the gradient of T.
"""

import torch
from torch import Tensor

from dcls.depthwise.geometry import Padding, output_size


def depthwise_fwd(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W')."""
    size, kernel_size = (input.shape[2], input.shape[3]), (kernel.shape[2], kernel.shape[3])
    rows, columns = _connections(size, kernel_size, padding, kernel)
    matrix = torch.einsum("ryi,cij,sxj->crsyx", rows, kernel.squeeze(1), columns)
    pixels, matrix = _pixels_by_channel(input), matrix.flatten(3, 4).flatten(1, 2)
    out: Tensor = torch.bmm(pixels, matrix) if bias is None else torch.baddbmm(bias[:, None, None], pixels, matrix)
    out = out.unflatten(2, output_size(size, kernel_size, padding))
    return out.transpose(0, 1)


def depthwise_bwd_weight(grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""
    products = torch.bmm(_pixels_by_channel(input).mT, _pixels_by_channel(grad))
    products = products.unflatten(2, grad.shape[2:]).unflatten(1, input.shape[2:])
    products = products.to(torch.promote_types(input.dtype, torch.float32))
    rows, columns = _connections((input.shape[2], input.shape[3]), kernel_size, padding, products)
    gradient: Tensor = torch.einsum("crsyx,ryi,sxj->cij", products, rows, columns)
    return gradient.to(input.dtype).unsqueeze(1)


def _pixels_by_channel(map: Tensor) -> Tensor:
    """(B, C, H, W) -> (C, B, H * W)."""
    return map.flatten(2).transpose(0, 1)


def _connections(
    size: tuple[int, int], kernel_size: tuple[int, int], padding: Padding, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return A (H, H', h) and B (W, W', w), of the dtype and device of ``like``."""
    rows, columns = output_size(size, kernel_size, padding)
    return (
        _axis_connections(size[0], rows, kernel_size[0], padding.top, like),
        _axis_connections(size[1], columns, kernel_size[1], padding.left, like),
    )


def _axis_connections(extent: int, out_extent: int, kernel_extent: int, before: int, like: Tensor) -> Tensor:
    """(extent, out_extent, kernel_extent): 1 where the kernel's entry connects the input's to the output's."""
    place, out_place, entry = (torch.arange(count, device=like.device) for count in (extent, out_extent, kernel_extent))
    return (place[:, None, None] - out_place[:, None] + before == entry).to(like.dtype)
