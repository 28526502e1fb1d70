import itertools
from math import prod

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dcls
from dcls.kernel import axis_bounds

SIZES = [(7,), (8,), (5, 5), (3, 11), (1, 11), (34, 9), (6, 4), (3, 5, 4)]


def elements(size: tuple[int, ...], interpolation: str, dtype=torch.float64, count: int = 4, spread: float = 0.5):
    """Random weight, positions inside the kernel and sigma or None, (O, I, N) = (3, 2, count)."""
    weight = torch.randn(3, 2, count, dtype=dtype)
    bounds = [axis_bounds(extent) for extent in size]
    positions = torch.stack(
        [
            torch.empty(3, 2, count, dtype=dtype).uniform_(low + 0.05, max(high - 0.05, low + 0.1))
            for low, high in bounds
        ]
    )
    sigma = spread * torch.randn_like(positions) if dcls.INTERPOLATIONS[interpolation].has_sigma else None
    return weight, positions, sigma


def dense_definition(weight, positions, sigma, size, interpolation):
    """The definition, one grid point and element at a time."""
    kernel = torch.zeros(*weight.shape[:2], *size, dtype=weight.dtype)
    grid = list(itertools.product(*(range(extent) for extent in size)))
    for o, i, n in itertools.product(*(range(extent) for extent in weight.shape)):
        values = []
        for point in grid:
            value = 1.0
            for axis, index in enumerate(point):
                d = index - size[axis] // 2 - positions[axis, o, i, n].item()
                s = 0.0 if sigma is None else abs(sigma[axis, o, i, n].item())
                if interpolation == "gaussian":
                    value *= torch.tensor(-0.5 * (d / (0.27 + s)) ** 2, dtype=torch.float64).exp().item()
                else:
                    value *= max(0.0, 1 + s - abs(d))
            values.append(value)
        mass = 1.0 if interpolation == "bilinear_unnormalized" else sum(values) + 1e-7
        for point, value in zip(grid, values, strict=True):
            kernel[(o, i, *point)] += weight[o, i, n] * value / mass
    return kernel


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
@pytest.mark.parametrize("size", [(7,), (6, 4), (3, 11), (1, 5), (3, 4, 2)])
def test_kernel_follows_the_definition(size, interpolation) -> None:
    arguments = elements(size, interpolation)
    expected = dense_definition(*arguments, size, interpolation)
    torch.testing.assert_close(dcls.construct_kernel(*arguments, size, interpolation), expected)


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_match_finite_differences(size, interpolation) -> None:
    weight, positions, sigma = elements(size, interpolation)
    inputs = [t.requires_grad_() for t in (weight, positions, sigma) if t is not None]

    def kernel(weight, positions, sigma=None):
        return dcls.construct_kernel(weight, positions, sigma, size, interpolation)

    torch.autograd.gradcheck(kernel, inputs, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("interpolation", [n for n, kind in dcls.INTERPOLATIONS.items() if kind.normalized])
@pytest.mark.parametrize("size", SIZES)
def test_normalized_elements_keep_their_whole_weight(size, interpolation) -> None:
    weight, positions, sigma = elements(size, interpolation)
    kernel = dcls.construct_kernel(weight, positions, sigma, size, interpolation)
    torch.testing.assert_close(kernel.flatten(2).sum(-1), weight.sum(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "bilinear_unnormalized", "triangle"])
@pytest.mark.parametrize("position", [(0, 0), (-1, 2), (1, -5), (-1, 5)])
def test_an_element_on_a_grid_point_fills_that_point_alone(interpolation, position) -> None:
    positions = torch.tensor(position, dtype=torch.float32).view(2, 1, 1, 1)
    sigma = torch.zeros_like(positions) if interpolation == "triangle" else None
    kernel = dcls.construct_kernel(torch.full((1, 1, 1), 3.0), positions, sigma, (3, 11), interpolation)
    expected = torch.zeros(3, 11)
    expected[1 + position[0], 5 + position[1]] = 3.0
    torch.testing.assert_close(kernel[0, 0], expected)


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_no_tensor_as_large_as_elements_times_kernel(interpolation) -> None:
    class LargestResult(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            tensors = result if isinstance(result, (tuple, list)) else [result]
            self.largest = max([self.largest, *(t.numel() for t in tensors if isinstance(t, torch.Tensor))])
            return result

    size, count = (23, 23), 26
    arguments = [t if t is None else t.requires_grad_() for t in elements(size, interpolation, count=count)]
    with LargestResult() as mode:
        dcls.construct_kernel(*arguments, size, interpolation).sum().backward()
    assert mode.largest <= 3 * 2 * max(prod(size), 23 * count)


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_computed_in_float32_under_autocast(interpolation) -> None:
    weight, positions, sigma = elements((23, 23), interpolation, torch.float32)
    expected = dcls.construct_kernel(weight, positions, sigma, (23, 23), interpolation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kernel = dcls.construct_kernel(weight, positions, sigma, (23, 23), interpolation)
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel, expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(weight=torch.ones(4)), "weight must have 3 axes"),
        (dict(positions=torch.ones(2, 3, 2, 5)), "positions must have shape"),
        (dict(sigma=None), "needs sigma"),
        (dict(sigma=torch.ones(1)), "shape of positions"),
        (dict(interpolation="bilinear"), "takes no sigma"),
        (dict(interpolation="sinc"), "unknown interpolation 'sinc', expected one of: bilinear"),
        (dict(dilated_kernel_size=(5, 0)), "positive integers"),
    ],
)
def test_wrong_arguments_are_named(change, message) -> None:
    weight, positions, sigma = elements((5, 5), "gaussian")
    arguments = dict(
        weight=weight, positions=positions, sigma=sigma, dilated_kernel_size=(5, 5), interpolation="gaussian"
    )
    with pytest.raises(ValueError, match=message):
        dcls.construct_kernel(**arguments | change)
