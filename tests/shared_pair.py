"""Two layers that share their positions."""

import torch
from torch import nn

import dcls


class SharedPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4)
        self.second = dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4)
        dcls.share_positions([self.first, self.second])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))
