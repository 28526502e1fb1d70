"""The processes of a run: alone, or several started by torchrun."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dcls.errors import UserError
from training.processes.parent_death import end_with_launcher
from training.processes.watchdog import Watchdog

_LEAVING, _MARGIN_SECONDS = "dcls/leaving", 5.0
_last_operation: dist.Work | None = None


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run.

    Attributes:
        rank: Index of this process, 0 is the one that writes and reports.
        world_size: Number of processes.
        device: Where this process computes.
        control: Of the processes' CPUs, for what is not computed; None for the default one.
        watchdog: Ends the run when another process does not answer; None for a process that is alone.
    """

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None
    watchdog: Watchdog | None = None

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

    def show_progress(self) -> None:
        """Tell the others that this process has done its part, before it waits for them."""
        if self.watchdog is not None:
            self.watchdog.step()

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all processes, in the order of their ranks; those of others only in the first."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.gather_object(value, values if self.is_main else None, group=self.control)
        return values

    def check_equal(self, updates: int, folder: Path) -> None:
        """Refuse to train when processes found different checkpoints.

        Args:
            updates: Of the checkpoint that this process found.
            folder: The run's.

        Raises:
            UserError: the run's folder is not the same for all processes.
        """
        total, squares = self.sum(torch.tensor([updates, updates**2], dtype=torch.float64)).tolist()
        if squares * self.world_size != total**2:
            raise UserError(
                f"not all processes found the same checkpoint in {folder}",
                "it must be on a disk that all nodes share",
                key="checkpoint.dir",
            )

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

    def leave_after_main(self) -> None:
        """Let the first process come here before the others go on, which need not come here at all.

        Launchers end a run as soon as one process has left it, and the first one may still be writing. The others wait
        for most of the time that torchrun gives them after a signal, 30 s or TORCH_ELASTIC_SHUTDOWN_TIMEOUT.
        """
        if self.world_size == 1:
            return
        store: Any = dist.PrefixStore(_LEAVING, dist.distributed_c10d._get_default_store())  # type: ignore[attr-defined]
        with suppress(dist.DistError):  # it has ended otherwise, or its torchrun has
            if self.is_main:
                store.set("main", "")
            else:
                given = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30"))
                store.wait(["main"], timedelta(seconds=max(given - _MARGIN_SECONDS, 0.1)))

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()


def init_distributed(device: str | None = None, timeout_minutes: float = 10.0) -> DistributedContext:
    """Join the processes that torchrun started (NCCL on GPUs, Gloo on CPUs), or run alone.

    Args:
        device: "cuda", "cpu", ...; by default a GPU where there is one.
        timeout_minutes: How long to wait for a process that does not answer, in training.

    Raises:
        UserError: the device is not there.
    """
    _refuse_lone_tasks()
    kind = device if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
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
    end_with_launcher(signal.SIGKILL)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if chosen.type == "cuda" and world_size > 1:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    _check_device(chosen)
    if world_size == 1:
        return DistributedContext(rank=0, world_size=1, device=chosen)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    # Others may wait long for the first process, which downloads data or lists a large folder.
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(hours=1))
    control: Any = dist.new_group(backend="gloo") if chosen.type == "cuda" else None
    watchdog = Watchdog(dist.get_rank(), world_size, 60 * timeout_minutes)
    return DistributedContext(dist.get_rank(), world_size, chosen, control, watchdog)


def _check_device(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # whatever a backend raises that is not there, or has no such device
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{str(device)!r} cannot be used: {reason}", "use cuda or cpu", key="training.device") from None


def _refuse_lone_tasks() -> None:
    """Refuse SLURM's tasks that do not know of each other: each would train a run of its own, in one folder.

    Raises:
        UserError: this is one of several tasks, and torchrun did not start it.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return
    tasks, task = (os.environ.get(f"SLURM_{name}", "") for name in ("NTASKS", "PROCID"))
    if (tasks.isdecimal() and int(tasks) > 1) or (task.isdecimal() and int(task) > 0):
        raise UserError(
            f"SLURM has started {tasks or 'several'} tasks here (this is task {task or 0}), which would be as many "
            "runs of one process each",
            "submit scripts/train.sbatch, or start one task a node and torchrun in it",
        )


class Ballot:
    """Small numbers that all processes must agree on again and again, such as whether to stop.

    With several processes the answer to a question comes with the next one, so that nobody waits for it.
    """

    def __init__(self, distributed: DistributedContext) -> None:
        self._distributed = distributed
        self._running: tuple[dist.Work, torch.Tensor] | None = None

    def highest(self, *values: int) -> list[int]:
        """Return the highest of each value over the processes: alone at once, else those of the call before."""
        if self._distributed.world_size == 1:
            return list(values)
        before, sent = self._running, torch.tensor(values)
        work = dist.all_reduce(sent, dist.ReduceOp.MAX, group=self._distributed.control, async_op=True)
        self._running = work, sent
        if before is None:
            return [0] * len(values)
        before[0].wait()
        return before[1].tolist()

    def close(self) -> None:
        """Wait for the last answer."""
        if self._running is not None:
            self._running[0].wait()


def destroy_distributed(distributed: DistributedContext) -> None:
    """Close the connections to the other processes, if any, once all have come to their end."""
    if distributed.watchdog is not None:
        distributed.watchdog.close()
    if dist.is_initialized():
        # With torch 2.11, Gloo's thread and the end of the process can wait for each other for ever (its mutex against
        # the GIL) when that thread is the last to hold a finished operation. This one is held until the very end.
        global _last_operation
        _last_operation = dist.barrier(async_op=True)
        _last_operation.wait()
        dist.destroy_process_group()
