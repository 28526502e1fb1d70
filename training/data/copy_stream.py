"""Batches brought to a GPU on a stream of their own, while it still computes the one before."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")


class CopyStream:
    """Run what prepares a batch beside the computation; on devices other than CUDA's, before it.

    PyTorch only queues work for a GPU. A loop that asks for its next batch before it waits for the results of the last
    one therefore has that batch on the device one step ahead, without further buffers.

    Args:
        device: Where batches go.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def run(self, prepare: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Prepare a batch; what is queued from now on for the current stream waits for the result."""
        if self.stream is None:
            return prepare(batch)
        with torch.cuda.stream(self.stream):
            result = prepare(batch)
        current = torch.cuda.current_stream(self.stream.device)
        current.wait_event(self.stream.record_event())
        result.record_stream(current)  # or its memory might be used again too early
        return result
