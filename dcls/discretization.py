"""Kernels at rounded positions: every element is on one grid point, as delays in hardware are whole steps."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from dcls.conv import DclsNd


@contextmanager
def discretized(model: nn.Module) -> Iterator[None]:
    """Round the positions of all layers in a model inside a ``with`` block; learned values stay as they are.

    Examples:
        >>> layer = dcls.Dcls1d(2, 4, kernel_count=1, dilated_kernel_size=25, padding="causal")
        >>> with dcls.discretized(layer):
        ...     print(layer.kernel().count_nonzero(-1).unique())
        tensor([1])
        >>> layer.kernel().count_nonzero(-1).min() > 1
        tensor(True)
    """
    layers = [module for module in model.modules() if isinstance(module, DclsNd)]
    modes = [layer.discrete for layer in layers]
    try:
        for layer in layers:
            layer.discretize()
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.discretize(mode)
