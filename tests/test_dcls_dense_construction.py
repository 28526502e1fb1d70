import pytest
import torch
from largest_result import LargestResult

import dcls
from dcls import dense_construction

JOINT = [name for name, kind in dcls.INTERPOLATIONS.items() if not kind.factorizes]


def arguments(channels: int, count: int, size: tuple[int, ...], interpolation: str, dtype=torch.float64):
    rows = dcls.INTERPOLATIONS[interpolation].sigma_rows(len(size))
    return [
        torch.randn(*leading, channels, 2, count, dtype=dtype, requires_grad=True)
        for leading in ((), (len(size),), (rows,))
    ]


@pytest.mark.parametrize("interpolation", JOINT)
@pytest.mark.parametrize("size", [(7,), (6, 4), (3, 4, 2)])
def test_groups_of_kernels_are_those_of_one_construction(monkeypatch, interpolation, size) -> None:
    inputs = arguments(5, 3, size, interpolation)
    together = dcls.construct_kernel(*inputs, size, interpolation)
    upstream = torch.randn_like(together)
    expected = torch.autograd.grad(together, inputs, upstream)
    monkeypatch.setattr(dense_construction, "MAX_ENTRIES", 1)
    apart = dcls.construct_kernel(*inputs, size, interpolation)
    torch.testing.assert_close(apart, together)
    torch.testing.assert_close(torch.autograd.grad(apart, inputs, upstream), expected)


@pytest.mark.parametrize("interpolation", JOINT)
def test_several_layers_at_once(interpolation) -> None:
    _, positions, sigma = arguments(5, 3, (6, 4), interpolation)
    weights = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    kernels = dcls.construct_kernel(weights, positions, sigma, (6, 4), interpolation)
    for kernel, weight in zip(kernels, weights, strict=True):
        torch.testing.assert_close(kernel, dcls.construct_kernel(weight, positions, sigma, (6, 4), interpolation))


def test_memory_does_not_grow_with_the_channels() -> None:
    size, count, channels = (23, 23), 26, 384
    inputs = arguments(channels // 2, count, size, "rotated_gaussian", torch.float32)
    kept = []
    keep = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t)
    with keep, LargestResult() as mode:
        kernel = dcls.construct_kernel(*inputs, size, "rotated_gaussian")
        kernel.sum().backward()
    assert mode.largest <= dense_construction.MAX_ENTRIES
    assert sum(kept) <= 2 * kernel.numel()


@pytest.mark.parametrize("interpolation", JOINT)
def test_correlation_and_rotation_follow_their_sign(interpolation) -> None:
    weight, positions = torch.ones(1, 1, 1), torch.zeros(2, 1, 1, 1)
    sigma = torch.tensor([2.0, 0.0 if interpolation == "rotated_gaussian" else 2.0, 0.6]).view(3, 1, 1, 1)
    kernel = dcls.construct_kernel(weight, positions, sigma, (7, 7), interpolation)[0, 0]
    assert kernel[5, 5] > 2 * kernel[5, 1], "a ridge from the first row and column to the last"


def test_export_of_several_groups(monkeypatch) -> None:
    monkeypatch.setattr(dense_construction, "MAX_ENTRIES", 20)
    layer = dcls.Dcls1d(2, 2, 3, 5, padding="same", groups=2, interpolation="rotated_gaussian")
    x = torch.randn(2, 2, 8)
    program = torch.export.export(layer, (x,), strict=True)
    torch.testing.assert_close(program.module()(x), layer(x))
