import pytest
import torch
from torch import nn

import dcls
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


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_come_in_the_memory_format_beside_tensors_that_have_none(channels_last) -> None:
    layer = dcls.Dcls2d(8, 8, kernel_count=3, dilated_kernel_size=(7, 3), learned_axes=(0,))
    model = nn.Sequential(layer, nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    Precision(CPU, channels_last=channels_last).place(model)
    assert layer.positions.dim() == 5
    assert model[1].weight.is_contiguous() != channels_last
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
