"""Random numbers that depend on what they are for, not on how many were drawn before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info


def derive_seed(*values: int) -> int:
    """One well-mixed 63-bit seed from several non-negative integers."""
    return int(np.random.SeedSequence(values).generate_state(1, np.uint64)[0]) >> 1


def seed_generators(*values: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    seed_cpu_generators(*values)
    torch.manual_seed(derive_seed(*values))


def seed_cpu_generators(*values: int) -> None:
    """Seed those of the CPU alone, in a fraction of the time."""
    seed = derive_seed(*values)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@contextmanager
def cpu_generators_kept() -> Iterator[None]:
    """After the block, the global generators of the CPU are as before it.

    In a loader process they stay as they are after the block: nothing else draws from them there, and to keep them
    takes several times as long as to seed them.
    """
    if get_worker_info():
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
