import os
import random
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageDataset, create_dataset

from dcls.errors import UserError
from training.data.dataset import EvaluationOrder, ImageLoader, ImageSamples, TrainingOrder
from training.data.readers import FolderReader

BROKEN = ("bottom/0.png", "middle/3.png", "top/7.png")


def noisy(image):
    """A transform that draws from every global generator."""
    return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])


def samples(folder, seed=0, transform=noisy):
    return ImageSamples(create_dataset("", str(folder / "train")), transform, seed)


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


def replacing(folder, num_workers=0, order=None, seed=0) -> ImageLoader:
    def index_of_blob(image):  # the pixels tell which image it is
        return torch.from_numpy(np.array(image)).sum()

    source = ImageSamples(create_dataset("", str(folder / "train")), index_of_blob, seed, replaces=True)
    order = [(epoch, index) for epoch in (0, 1) for index in range(36)] if order is None else order
    return ImageLoader(source, sampler=order, num_workers=num_workers, batch_size=4)


def test_another_image_takes_the_place_of_a_broken_one_and_that_is_counted_and_said_once(image_folder, capsys) -> None:
    intact = [
        (pixels.item(), label.item()) for batch in replacing(image_folder) for pixels, label in zip(*batch, strict=True)
    ]
    victim = image_folder / "train" / "middle" / "3.png"
    victim.write_bytes(b"broken")
    loader = replacing(image_folder)
    broken = [(pixels.item(), label.item()) for batch in loader for pixels, label in zip(*batch, strict=True)]
    changed = [index for index in range(72) if intact[index] != broken[index]]
    names = [loader.dataset.name(index) for index in range(36)]
    assert changed == [names.index(str(victim)), 36 + names.index(str(victim))]
    assert all(broken[index] in intact for index in changed) and broken[changed[0]] != broken[changed[1]]
    assert (loader.take_replaced(), loader.take_replaced()) == (2, 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: cannot decode image {victim}: ")
    assert line.endswith("; another image takes its place")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_takes_its_place_depends_on_seed_epoch_and_image_alone(image_folder, num_workers) -> None:
    for name in BROKEN:
        (image_folder / "train" / name).write_bytes(b"")
    order = [(epoch, index) for epoch in range(3) for index in range(36)]
    random.Random(0).shuffle(order)

    def load(order, num_workers, seed=0):
        loader = replacing(image_folder, num_workers, order, seed)
        values = [(pixels.item(), label.item()) for batch in loader for pixels, label in zip(*batch, strict=True)]
        return dict(zip(order, values, strict=True)), loader.take_replaced()

    expected, count = load(sorted(order), 0)
    again, count_again = load(order, num_workers)
    assert again == expected and count == count_again == 9
    half, count_half = load(order[:50], num_workers)
    names = [os.path.relpath(file, image_folder / "train") for file, _ in samples(image_folder).source.reader.samples]
    broken = [key for key in order[:50] if names[key[1]] in BROKEN]
    assert half == {key: expected[key] for key in order[:50]} and count_half == len(broken)
    assert load(sorted(order), 0, seed=1)[0] != expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_rate_is_that_of_all_loader_processes_together(image_folder, num_workers) -> None:
    def slow(image: Image.Image) -> torch.Tensor:
        time.sleep(0.01)
        return torch.zeros(1)

    loader = ImageLoader(
        samples(image_folder, transform=slow),
        batch_size=4,
        num_workers=num_workers,
        sampler=[(0, i) for i in range(12)],
    )
    assert loader.take_rate() == 0
    assert len(list(loader)) == 3
    assert 0 < loader.take_rate() <= 100 * max(1, num_workers)
    assert loader.take_rate() == 0


def test_where_nothing_can_be_read_the_first_image_is_named(image_folder) -> None:
    for file in (image_folder / "train").rglob("*.png"):
        file.write_bytes(b"")
    loader = replacing(image_folder)
    with pytest.raises(UserError, match=r"cannot decode image .*train/bottom/0.png"):
        list(loader)


def test_a_broken_link_is_named(image_folder) -> None:
    victim = image_folder / "train" / "middle" / "3.png"
    victim.unlink()
    victim.symlink_to("/nowhere.png")
    loader = ImageLoader(samples(image_folder), sampler=[(0, i) for i in range(36)])
    with pytest.raises(UserError, match=rf"cannot decode image {victim}: .*No such file"):
        list(loader)


def test_a_name_with_a_line_end_leaves_one_line(image_folder) -> None:
    (image_folder / "train" / "top" / "a\nb.png").write_bytes(b"")
    loader = ImageLoader(samples(image_folder), sampler=[(0, i) for i in range(37)])
    with pytest.raises(UserError, match=r"cannot decode image .*/top/a\\nb.png: ") as error:
        list(loader)
    assert "\n" not in str(error.value)


def test_mutated_images_of_every_format_give_an_image_or_one_error(tmp_path) -> None:
    generator = random.Random(0)
    folder = tmp_path / "cat"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    for kind in ("png", "jpg", "webp", "bmp", "tif", "gif", "ppm", "jp2", "tga", "avif", "ico", "dds", "qoi", "pcx"):
        file = folder / f"0.{kind}"
        Image.fromarray(pixels).save(file)
        whole = file.read_bytes()
        for index in range(1, 40):
            content = bytearray(whole)
            for _ in range(generator.randint(1, 8)):
                content[generator.randrange(min(len(content), 300))] = generator.randrange(256)
            if index % 3 == 0:
                del content[generator.randrange(len(content)) :]
            (folder / f"{index}.{kind}").write_bytes(content)
    source = ImageSamples(ImageDataset(str(tmp_path), reader=FolderReader(tmp_path)), lambda image: torch.zeros(1), 0)
    results = [source[0, index] for index in range(len(source))]
    errors = [result for result in results if isinstance(result, UserError)]
    assert len(results) == 14 * 40 and len(errors) > 100 and len(results) - len(errors) > 100
    for error in errors:
        assert re.match(r"cannot decode image .*/cat/\d+\.\w+: .+; replace or remove the file$", str(error))
