import itertools
import math
from math import prod

import pytest
import torch
from largest_result import LargestResult

import dcls
from dcls.grid import axis_bounds

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
    rows = dcls.INTERPOLATIONS[interpolation].sigma_rows(len(size))
    sigma = spread * torch.randn(rows, *weight.shape, dtype=dtype) if rows else None
    return weight, positions, sigma


def sinc(z: float) -> float:
    return math.sin(math.pi * z) / (math.pi * z) if z else 1.0


def along_one_axis(d: float, sigma: float, x: float, interpolation: str) -> float:
    """The footprint of an interpolation that is a product over the axes."""
    if interpolation == "gaussian":
        return math.exp(-0.5 * (d / (0.27 + sigma)) ** 2)
    if interpolation == "lorentz":
        return 1 / (1 + (d / (0.27 + sigma)) ** 2)
    if interpolation == "hyper_gaussian":
        return math.exp(-0.5 * abs(d / (0.5 + sigma)) ** (1 + abs(x)))
    if interpolation == "sinc":
        z = d / (1 + sigma)
        return sinc(z) * sinc(z / 3) if abs(z) < 3 else 0.0
    return max(0.0, 1 + sigma - abs(d))


def along_all_axes(d: torch.Tensor, sigma: torch.Tensor, x: torch.Tensor, interpolation: str) -> float:
    """exp(-d' C^-1 d / 2) with the covariance C written out."""
    spread, ndim = torch.diag(0.27 + sigma), len(d)
    if interpolation == "rotated_gaussian":
        turn = torch.eye(ndim, dtype=d.dtype)
        for (a, b), angle in zip(itertools.combinations(range(ndim), 2), x, strict=True):
            plane = torch.eye(ndim, dtype=d.dtype)
            plane[a, a] = plane[b, b] = angle.cos()
            plane[a, b], plane[b, a] = angle.sin(), -angle.sin()
            turn = plane @ turn
        covariance = turn.T @ spread.square() @ turn
    else:
        correlation, partial = torch.eye(ndim, dtype=d.dtype), 0.9 * x.tanh()
        for (a, b), r in zip(itertools.combinations(range(ndim), 2), partial, strict=True):
            correlation[a, b] = correlation[b, a] = r
        if ndim == 3:  # the last is given the first axis
            r01, r02, r12 = partial
            r12 = r01 * r02 + r12 * ((1 - r01**2) * (1 - r02**2)).sqrt()
            correlation[1, 2] = correlation[2, 1] = r12
        covariance = spread @ correlation @ spread
    return math.exp(-0.5 * (d @ torch.linalg.inv(covariance) @ d).item())


def dense_definition(weight, positions, sigma, size, interpolation):
    """The definition, one grid point and element at a time."""
    kernel = torch.zeros(*weight.shape[:2], *size, dtype=weight.dtype)
    grid = list(itertools.product(*(range(extent) for extent in size)))
    for o, i, n in itertools.product(*(range(extent) for extent in weight.shape)):
        values = []
        for point in grid:
            d = torch.tensor([index - extent // 2 for index, extent in zip(point, size, strict=True)])
            d = d - positions[:, o, i, n]
            rows = torch.zeros(2 * len(size)) if sigma is None else sigma[:, o, i, n]
            s, x = rows[: len(size)].abs(), rows[len(size) :]
            if dcls.INTERPOLATIONS[interpolation].factorizes:
                x = x if len(x) else torch.zeros(len(size))
                axes = zip(d.tolist(), s.tolist(), x.tolist(), strict=True)
                value = math.prod(along_one_axis(*axis, interpolation) for axis in axes)
            else:
                value = along_all_axes(d, s, x, interpolation)
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
@pytest.mark.parametrize("size", [(14, 5) if size == (34, 9) else size for size in SIZES])  # by differences: slow
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


@pytest.mark.parametrize("interpolation", [n for n, kind in dcls.INTERPOLATIONS.items() if kind.factorizes])
def test_no_tensor_as_large_as_elements_times_kernel(interpolation) -> None:
    size, count = (23, 23), 26
    arguments = [t if t is None else t.requires_grad_() for t in elements(size, interpolation, count=count)]
    with LargestResult() as mode:
        dcls.construct_kernel(*arguments, size, interpolation).sum().backward()
    assert mode.largest <= 3 * 2 * max(prod(size), 23 * count)


@pytest.mark.parametrize("interpolation", ["gaussian", "hyper_gaussian", "correlated_gaussian", "rotated_gaussian"])
def test_tails_end_before_they_underflow(interpolation) -> None:
    """Convolutions with subnormal numbers, or whose products are, take some CPUs several times as long."""
    arguments = elements((101, 101), interpolation, torch.float32, spread=1.0)
    kernel = dcls.construct_kernel(*arguments, (101, 101), interpolation).abs()
    assert (kernel == 0).any()
    assert 0.98e-31 < kernel[kernel > 0].min() < 1e-25


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
        (dict(interpolation="hyper_gaussian"), r"a row per axis and axis, \(4, 3, 2, 4\), got \(2, 3, 2, 4\)"),
        (dict(interpolation="rotated_gaussian"), r"a row per axis and pair, \(3, 3, 2, 4\), got \(2, 3, 2, 4\)"),
        (dict(interpolation="spline"), "unknown interpolation 'spline', expected one of: bilinear"),
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
