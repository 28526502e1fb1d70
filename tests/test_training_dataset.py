import random

import numpy as np
import pytest
import torch
from timm.data import create_dataset

from dcls.errors import UserError
from training.dataset import EvaluationOrder, ImageLoader, ImageSamples, TrainingOrder


def noisy(image):
    """A transform that draws from every global generator."""
    return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])


def samples(folder, seed=0):
    return ImageSamples(create_dataset("", str(folder / "train")), noisy, seed)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_global_batches_do_not_depend_on_the_number_of_processes(world_size) -> None:
    orders = [TrainingOrder(103, 8, rank, world_size, seed=3) for rank in range(world_size)]
    for order in orders:
        order.set_epoch(2)
    shares = [list(order) for order in orders]
    assert all(len(share) == len(order) for share, order in zip(shares, orders, strict=True))
    share = 8 // world_size
    batches = [[key for s in shares for key in s[b * share : (b + 1) * share]] for b in range(103 // 8)]
    alone = TrainingOrder(103, 8, 0, 1, seed=3)
    alone.set_epoch(2)
    assert [key for batch in batches for key in batch] == list(alone)
    assert len({index for _, index in alone}) == 96 and all(epoch == 2 for epoch, _ in alone)


def test_order_changes_with_epoch_and_seed() -> None:
    def indices(seed, epoch):
        order = TrainingOrder(100, 10, 0, 1, seed)
        order.set_epoch(epoch)
        return [index for _, index in order]

    assert indices(0, 0) == indices(0, 0)
    assert len({tuple(indices(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_sees_each_image_once(world_size) -> None:
    orders = [EvaluationOrder(10, rank, world_size) for rank in range(world_size)]
    assert sorted(index for order in orders for _, index in order) == list(range(10))
    assert sum(len(order) for order in orders) == 10


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmentation_depends_on_seed_epoch_and_image_alone(image_folder, num_workers) -> None:
    def load(seed, order):
        loader = ImageLoader(samples(image_folder, seed), batch_size=1, sampler=order, num_workers=num_workers)
        return {key: values for key, (values, _) in zip(order, loader, strict=True)}

    order = [(0, 3), (0, 4), (1, 3)]
    first, again = load(0, order), load(0, order[::-1])
    for key in order:
        assert torch.equal(first[key], again[key])
    assert not torch.equal(first[0, 3], first[0, 4]) and not torch.equal(first[0, 3], first[1, 3])
    assert not torch.equal(first[0, 3], load(1, order)[0, 3])


def test_global_generators_are_left_alone(image_folder) -> None:
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    samples(image_folder)[0, 0]
    assert draw() == expected


@pytest.mark.parametrize("content", [b"", b"not an image", None])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_named(image_folder, content, num_workers) -> None:
    victim = image_folder / "train" / "middle" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200] if content is None else content)
    loader = ImageLoader(samples(image_folder), sampler=[(0, i) for i in range(36)], num_workers=num_workers)
    with pytest.raises(UserError) as error:
        list(loader)
    assert str(error.value).startswith(f"cannot decode image {victim}: ")
    assert str(error.value).endswith("; replace or remove the file") and "\n" not in str(error.value)
