import pytest
import torch

from training.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_products_are_computed_in_the_precision(name) -> None:
    with Precision(CPU, name).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, name)


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_come_in_the_memory_format(channels_last) -> None:
    precision, images = Precision(CPU, channels_last=channels_last), torch.randn(2, 3, 4, 5)
    moved = precision.images(images)
    assert torch.equal(moved, images)
    assert moved.is_contiguous(memory_format=precision.memory_format)
    assert moved.is_contiguous() != channels_last
