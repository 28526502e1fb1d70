"""The definition, slow and obvious: what every backend is tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcls.depthwise.geometry import Padding, output_size


def depthwise_conv2d(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W'): one shifted product for each entry of the kernel."""
    rows, columns = kernel.shape[-2:]
    out_rows, out_columns = output_size((input.shape[2], input.shape[3]), (rows, columns), padding)
    padded = F.pad(input, (padding.left, padding.right, padding.top, padding.bottom))
    out = torch.zeros_like(padded[..., :out_rows, :out_columns])
    for i in range(rows):
        for j in range(columns):
            out = out + kernel[:, 0, i, j, None, None] * padded[..., i : i + out_rows, j : j + out_columns]
    return out if bias is None else out + bias[:, None, None]
