"""How large a network is: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.network import meta_copy


def count_parameters(network: nn.Module) -> int:
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def count_multiply_adds(network: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-adds that one more image costs, without computing anything.

    The difference between two images and one leaves out what a batch shares: building the DCLS kernels.

    Args:
        input_size: (C, H, W).
    """
    network = meta_copy(network)
    counts = []
    for batch in (1, 2):
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(batch, *input_size, device="meta"))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) // 2
