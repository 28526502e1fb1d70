"""Triton kernels of ``triton_rows``: matrix products over rows of pixels, for one channel a program.

Maps are contiguous (B, C, H, W). A tile takes BLOCK_ROWS rows of the output, of any image, and BLOCK_OUT of their
columns, with BLOCK_IN columns of the input at a time.
"""

import triton
import triton.language as tl


@triton.jit
def depthwise_fwd_kernel(
    input_ptr,
    kernel_ptr,
    bias_ptr,
    out_ptr,
    batch,
    channels,
    height,
    width,
    out_height,
    out_width,
    kernel_height,
    kernel_width,
    top,
    left,
    HAS_BIAS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """out[b, c, y] = bias[c] + sum over i of input[b, c, y + i - top] @ (Toeplitz matrix of kernel row i)."""
    channel = tl.program_id(1)
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    image, y = row // out_height, row % out_height
    plane = (image.to(tl.int64) * channels + channel)[:, None]
    first_x = tl.program_id(2) * BLOCK_OUT
    x = first_x + tl.arange(0, BLOCK_OUT)[None, :]

    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel).to(tl.float32)
    first_s = tl.maximum(0, first_x - left)
    last_s = tl.minimum(width, first_x + BLOCK_OUT - 1 + kernel_width - left)
    for i in range(kernel_height):
        r = y + i - top
        is_row = (image < batch) & (r >= 0) & (r < height)
        for s_begin in range(first_s, last_s, BLOCK_IN):
            s = s_begin + tl.arange(0, BLOCK_IN)
            pixels = tl.load(
                input_ptr + (plane * height + r[:, None]) * width + s[None, :],
                mask=is_row[:, None] & (s < width)[None, :],
                other=0.0,
            )
            j = s[:, None] - x + left
            toeplitz = tl.load(
                kernel_ptr + (channel * kernel_height + i) * kernel_width + j,
                mask=(j >= 0) & (j < kernel_width),
                other=0.0,
            )
            total = tl.dot(pixels, toeplitz, total, input_precision="tf32x3")
    tl.store(
        out_ptr + (plane * out_height + y[:, None]) * out_width + x,
        total.to(out_ptr.dtype.element_ty),
        mask=(image < batch)[:, None] & (x < out_width),
    )


@triton.jit
def depthwise_bwd_weight_kernel(
    grad_ptr,
    input_ptr,
    by_column_ptr,
    batch,
    channels,
    height,
    width,
    out_height,
    out_width,
    kernel_height,
    kernel_width,
    top,
    left,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """by_column[c, i, x, j] = sum over b, y of grad[b, c, y, x] input[b, c, y + i - top, x + j - left], in float32.

    All pairs of output and input columns are multiplied; each pair (x, s) is stored at its j, or dropped.
    """
    channel, i = tl.program_id(0) // kernel_height, tl.program_id(0) % kernel_height
    first_x = tl.program_id(1) * BLOCK_OUT
    x = first_x + tl.arange(0, BLOCK_OUT)
    s = tl.maximum(0, first_x - left) + tl.program_id(2) * BLOCK_IN + tl.arange(0, BLOCK_IN)

    products = tl.zeros((BLOCK_OUT, BLOCK_IN), tl.float32)
    for first_row in range(0, batch * out_height, BLOCK_ROWS):
        row = first_row + tl.arange(0, BLOCK_ROWS)
        image, y = row // out_height, row % out_height
        r = y + i - top
        plane = (image.to(tl.int64) * channels + channel)[:, None]
        is_row = (image < batch)[:, None]
        grad = tl.load(
            grad_ptr + (plane * out_height + y[:, None]) * out_width + x[None, :],
            mask=is_row & (x < out_width)[None, :],
            other=0.0,
        )
        pixels = tl.load(
            input_ptr + (plane * height + r[:, None]) * width + s[None, :],
            mask=is_row & ((r >= 0) & (r < height))[:, None] & (s < width)[None, :],
            other=0.0,
        )
        products = tl.dot(tl.trans(grad), pixels, products, input_precision="tf32x3")
    j = s[None, :] - x[:, None] + left
    tl.store(
        by_column_ptr + (tl.program_id(0).to(tl.int64) * out_width + x[:, None]) * kernel_width + j,
        products,
        mask=(x < out_width)[:, None] & (s < width)[None, :] & (j >= 0) & (j < kernel_width),
    )
