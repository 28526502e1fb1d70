"""How large a model is: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.model import meta_copy


def count_parameters(model: nn.Module) -> int:
    """Count parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_multiply_adds(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-adds that one more image costs, without computing anything.

    The difference between two images and one leaves out what a batch shares: building the DCLS kernels.

    Args:
        input_size: (C, H, W).
    """
    model = meta_copy(model)
    counts = []
    for batch in (1, 2):
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(batch, *input_size, device="meta"))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) // 2


def describe_size(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, int]:
    """Parameters and multiply-adds; the latter are missing where an operator cannot be counted."""
    size = {"parameters": count_parameters(model)}
    try:
        return size | {"multiply_adds": count_multiply_adds(model, input_size)}
    except NotImplementedError:  # an operator without meta tensors
        return size
