"""How a global batch is divided over processes and micro-batches."""

from dataclasses import dataclass

from dcls.errors import UserError


@dataclass(frozen=True)
class BatchPlan:
    """How a global batch is divided: batch_size = micro_batch_size * accumulation * processes."""

    batch_size: int
    micro_batch_size: int
    accumulation: int


def plan_batches(batch_size: int, largest: int | None, world_size: int) -> BatchPlan:
    """Divide a global batch over processes, accumulating as few steps as possible.

    Args:
        batch_size: Images of an update.
        largest: Micro-batch that a process can hold, or None for any.
        world_size: Number of processes.

    Raises:
        UserError: it does not divide evenly, or only into tiny batches.
    """
    if batch_size % world_size:
        raise UserError(
            f"{batch_size} images cannot be divided over {world_size} processes",
            f"use a multiple of {world_size}",
            key="training.batch_size",
            on_every_rank=True,
        )
    share = batch_size // world_size
    accumulation = -(-share // (largest or share))
    while share % accumulation:
        accumulation += 1
    if largest and 2 * (share // accumulation) < min(largest, share):
        raise UserError(
            f"{share} images a process only divide into {accumulation} batches of {share // accumulation}, far below "
            f"training.micro_batch_size, {largest}",
            "use a batch_size with more divisors",
            key="training.batch_size",
            on_every_rank=True,
        )
    return BatchPlan(batch_size, share // accumulation, accumulation)
