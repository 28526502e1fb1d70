import random

import numpy as np
import pytest
import torch

from training.seeding import cpu_generators_kept, derive_seed, seed_cpu_generators, seed_generators


def draw() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeds_depend_on_every_value_and_its_place() -> None:
    seeds = [derive_seed(*values) for values in ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2**40))]
    assert len(set(seeds)) == 5 and all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(3, 4) == derive_seed(3, 4)


def test_every_global_generator_is_seeded() -> None:
    seed_generators(1, 2)
    first = draw()
    seed_generators(1, 3)
    assert all(a != b for a, b in zip(first, draw(), strict=True))
    seed_generators(1, 2)
    assert draw() == first


@pytest.mark.parametrize("seed", [seed_generators, seed_cpu_generators])
def test_what_a_block_draws_does_not_touch_those_outside_even_after_an_error(seed) -> None:
    seed_generators(0)
    expected = [draw(), draw()]
    seed_generators(0)
    outside = [draw()]
    with pytest.raises(KeyError), cpu_generators_kept():
        seed(5)
        inside = draw()
        raise KeyError
    assert [*outside, draw()] == expected
    with cpu_generators_kept():
        seed(5)
        assert draw() == inside
