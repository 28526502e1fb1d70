"""The processes of a run: alone, or several started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from dcls.errors import UserError

_last_operation: dist.Work | None = None


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run.

    Attributes:
        rank: Index of this process, 0 is the one that writes and reports.
        world_size: Number of processes.
        device: Where this process computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all processes, in place; the tensor may be on any device."""
        if self.world_size > 1:
            moved = values.to(self.device)
            dist.all_reduce(moved)
            values.copy_(moved)
        return values

    def any(self, is_so: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.sum(torch.tensor([float(is_so)])).item())

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run a block, such as a download, in the first process before the others, even if it ends by an error."""
        if not self.is_main:
            self.barrier()
        try:
            yield
        finally:
            if self.is_main:
                self.barrier()

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()


def init_distributed(device: str | None = None) -> DistributedContext:
    """Join the processes that torchrun started (NCCL on GPUs, Gloo on CPUs), or run alone.

    Args:
        device: "cuda", "cpu", ...; by default a GPU where there is one.

    Raises:
        UserError: the device is not there.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"{device!r} is not available on this machine", "use cpu", key="training.device", on_every_rank=True
        )
    try:
        chosen = torch.device(kind)
    except RuntimeError:
        raise UserError(
            f"{device!r} is not a device", "use cuda or cpu", key="training.device", on_every_rank=True
        ) from None
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return DistributedContext(rank=0, world_size=1, device=chosen)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    # Others may wait long for the first process, which downloads data or lists a large folder.
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(hours=1))
    return DistributedContext(dist.get_rank(), world_size, chosen)


def destroy_distributed() -> None:
    """Close the connections to the other processes, if any, once all have come to their end."""
    if dist.is_initialized():
        # With torch 2.11, Gloo's thread and the end of the process can wait for each other for ever (its mutex against
        # the GIL) when that thread is the last to hold a finished operation. This one is held until the very end.
        global _last_operation
        _last_operation = dist.barrier(async_op=True)
        _last_operation.wait()
        dist.destroy_process_group()
