"""The repulsive loss of the first paper, which keeps the elements of a kernel from collapsing onto each other."""

import torch
from torch import Tensor, nn

from dcls.optim import position_owners


def repulsive_loss(model: nn.Module) -> Tensor:
    """How much the elements of each kernel overlap, averaged over the model's sets of positions.

    With C kernels (out channels * in channels per group) of N elements in a set:

        L = mean over sets of  2 / (N (N - 1) C) * sum over kernels, i < j of  max(0, 1 - ||p_i - p_j||)

    The first paper's training adds L² to the loss from epoch 21 (counted from 0) on. A set shared by several layers
    counts once.

    Returns:
        A scalar between 0 (every pair at least a pixel apart) and 1 (all elements in one place); differentiable.

    Raises:
        ValueError: the model has no DCLS layer.
    """
    owners = position_owners(model).values()
    if not owners:
        raise ValueError(f"{type(model).__name__} has no DCLS layer, so there is no repulsive loss")
    return torch.stack([_overlap(owner.positions) for owner in owners]).mean()


def _overlap(positions: Tensor) -> Tensor:
    """(ndim, O, I, N), or with further axes before N -> scalar."""
    count = positions.shape[-1]
    if count < 2:
        return positions.new_zeros(())
    points = positions.flatten(1, -2).permute(1, 2, 0)  # (C, N, ndim)
    # The exact mode: the matrix-product one loses half the digits for elements close to each other.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = (1 - distances).relu().triu(diagonal=1)
    return 2 * pairs.sum() / (count * (count - 1) * len(points))
