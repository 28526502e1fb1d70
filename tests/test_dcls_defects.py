"""Where the reference package is wrong: each defect shown on it, and its absence here.

The numbers are those of the list of differences in the README.
"""

import copy

import pytest
import torch

import dcls
from dcls.reference_package import VERSIONS, axis_order
from parity.reference import LAYERS, make_pair

NORMALIZED = ["bilinear", "triangle", "gaussian"]


def one_element(interpolation: str, size, position, ndim: int = 2):
    """Our layer and the reference's with a single element of weight 1 and the smallest spread, no channels to speak of."""
    ours_type, theirs_type = LAYERS[ndim]
    ours = ours_type(1, 1, 1, size, interpolation=interpolation, bias=False)
    theirs = theirs_type(1, 1, kernel_count=1, dilated_kernel_size=size, version=VERSIONS[interpolation], bias=False)
    order = axis_order(ndim, interpolation)
    with torch.no_grad():
        for layer, positions, sigma in ((ours, ours.positions, ours.sigma), (theirs, theirs.P, theirs.SIG)):
            layer.weight.fill_(1.0)
            positions.copy_(torch.tensor(position, dtype=torch.float32).view(ndim, 1, 1, 1))
            if ours.sigma is not None:
                sigma.zero_()
        theirs.P.copy_(theirs.P[order])
    return ours, theirs


def kernel_of(layer):
    if isinstance(layer, dcls.DclsNd):
        return layer.kernel()
    return layer.DCK(layer.weight, layer.P, layer.SIG)


@pytest.mark.parametrize("interpolation", NORMALIZED)
def test_1_positions_are_in_the_order_of_the_size(interpolation) -> None:
    ours, theirs = one_element(interpolation, (7, 7), (1, -2))
    assert kernel_of(ours)[0, 0].argmax() == 4 * 7 + 1
    with torch.no_grad():
        theirs.P.copy_(ours.positions)  # what a user would write
    assert kernel_of(theirs)[0, 0].argmax() == 1 * 7 + 4


@pytest.mark.parametrize("interpolation", NORMALIZED)
@pytest.mark.parametrize("size", [(3, 11), (1, 11), (34, 9)])
def test_2_non_square_kernels_keep_their_mass(interpolation, size) -> None:
    ours, theirs = one_element(interpolation, size, (0, 0))
    with torch.no_grad():
        kernel = kernel_of(ours)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-4)
    assert kernel[0, 0].argmax() == size[0] // 2 * size[1] + size[1] // 2
    assert (kernel_of(theirs) - kernel).abs().max() > 0.5


def test_3_a_triangles_spread_learns_from_the_first_step() -> None:
    ours = dcls.Dcls2d(2, 2, 4, 7, groups=2, padding=3, interpolation="triangle", dtype=torch.float64)
    assert torch.all(ours.sigma == 0), "the reference's initial value"
    _, theirs = make_pair(2, "triangle", 2, 2, 4, 7, groups=2, padding=3)
    with torch.no_grad():
        theirs.SIG.zero_()
    x = torch.randn(1, 2, 9, 9, dtype=torch.float64)
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    assert torch.all(theirs.SIG.grad == 0)
    assert torch.all(ours.sigma.grad != 0)
    optimizer = torch.optim.SGD([ours.sigma], lr=1e-3)
    before = ours(x).square().sum()
    optimizer.step()
    assert (ours(x).square().sum() - before).abs() > 1e-9


@pytest.mark.parametrize("interpolation", ["bilinear", "triangle"])
@pytest.mark.parametrize("position", [(0, 0), (1, -2), (3, -3)])
def test_4_an_element_on_an_integer_position_can_move(interpolation, position) -> None:
    ours, theirs = one_element(interpolation, (7, 7), position)
    slope = torch.arange(49.0).view(7, 7) ** 2
    for layer in (ours, theirs):
        (kernel_of(layer) * slope).sum().backward()
    assert torch.all(theirs.P.grad == 0)
    assert torch.all(ours.positions.grad > 0), "more loss to the right and below"


@pytest.mark.parametrize("interpolation", VERSIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_4_a_clamped_element_is_brought_back_by_gradient_descent(interpolation, sign) -> None:
    ours, _ = one_element(interpolation, (6, 7), (sign * 3.0, sign * 3.0))
    ours.clamp_positions()
    assert ours.positions.flatten().tolist() == ([2.0, 3.0] if sign > 0 else [-3.0, -3.0])
    target = torch.zeros(6, 7)
    target[3, 3] = 1.0  # the center
    target = torch.nn.functional.avg_pool2d(target[None, None], 5, 1, 2)[0, 0]
    optimizer = torch.optim.Adam([ours.positions], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (kernel_of(ours)[0, 0] - target).square().sum().backward()
        optimizer.step()
        ours.clamp_positions()
    # Adjacent to the target's blob, or in it: it left the border.
    assert ours.positions.abs().max() < 2.5


def test_4_an_even_kernels_last_grid_point_is_where_clamping_stops() -> None:
    ours, theirs = one_element("bilinear", (4, 4), (9.0, 9.0))
    ours.clamp_positions()
    theirs.clamp_parameters()
    assert kernel_of(ours)[0, 0, 3, 3].item() == pytest.approx(1.0, abs=1e-4)
    assert kernel_of(theirs).abs().max() == 0


@pytest.mark.parametrize("interpolation", VERSIONS)
@pytest.mark.parametrize("outside", [2, 3, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_5_an_element_outside_the_kernel_is_felt_and_comes_back(interpolation, outside, sign) -> None:
    place = sign * (3.0 + outside)
    ours, theirs = one_element(interpolation, (7, 7), (place, place))
    corner = slice(4, 7) if sign > 0 else slice(0, 3)
    target = torch.zeros(7, 7)
    target[corner, corner] = 1.0
    for layer in (ours, theirs):
        (kernel_of(layer)[0, 0] - target).square().sum().backward()
    assert theirs.P.grad.abs().max() < 1e-6 and kernel_of(theirs).abs().max() < 1e-6
    assert kernel_of(ours).abs().max() > 5e-5
    assert torch.all(ours.positions.grad * sign > 0), "descent moves it inwards"
    ours.double()  # in float32 the way back, which overshoots, depends on the processor's rounding
    optimizer = torch.optim.Adam([ours.positions], lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        (kernel_of(ours)[0, 0] - target).square().sum().backward()
        optimizer.step()
    assert ours.positions.abs().max() < 4
    assert kernel_of(ours)[0, 0, corner, corner].sum() > 0.9, "all of its weight is back where it is wanted"


@pytest.mark.parametrize("size", [23, 51])
def test_6_a_low_precision_layer_keeps_the_kernel_and_small_steps(size) -> None:
    ours, theirs = make_pair(2, "gaussian", 8, 8, 26, size, groups=8, dtype=torch.float32)
    exact = ours.kernel().detach()
    ours_low, theirs_low = copy.deepcopy(ours).bfloat16(), copy.deepcopy(theirs).bfloat16()

    def error(kernel):
        return ((kernel.float() - exact).norm() / exact.norm()).item()

    assert ours_low.weight.dtype == ours_low.kernel().dtype == torch.bfloat16
    assert ours_low.positions.dtype == ours_low.sigma.dtype == torch.float32
    assert error(ours_low.kernel()) < 0.01
    assert error(kernel_of(theirs_low)) > 0.03
    with torch.no_grad():
        before = ours_low.positions.clone()
        ours_low.positions += 0.01
    assert torch.all(ours_low.positions != before)


def test_6_arguments_device_and_dtype_are_understood() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 7, groups=4, device="cpu", dtype=torch.bfloat16)
    assert layer.weight.dtype == layer.bias.dtype == torch.bfloat16
    assert layer.positions.dtype == torch.float32
    assert layer(torch.randn(1, 4, 9, 9, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert dcls.Dcls2d(4, 4, 3, 7, device="meta").positions.is_meta


def test_7_a_layer_moves_after_its_first_forward() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 7, groups=4)
    layer(torch.randn(1, 4, 9, 9))
    layer.to("meta")
    assert layer(torch.empty(1, 4, 9, 9, device="meta")).is_meta
    assert not [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)], "no cached grids"


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_9_padding_same_keeps_the_size_of_even_kernels() -> None:
    x = torch.randn(1, 4, 9, 10)
    ours = dcls.Dcls2d(4, 4, 3, (6, 8), padding="same", groups=4)
    theirs = LAYERS[2][1](4, 4, kernel_count=3, dilated_kernel_size=(6, 6), padding=3, groups=4)
    assert ours(x).shape == x.shape
    assert theirs(x).shape == (1, 4, 10, 11)


def test_11_construction_is_silent(caplog, recwarn) -> None:
    import logging

    handlers = list(logging.getLogger().handlers)
    dcls.Dcls2d(4, 4, 3, 7, groups=4)(torch.randn(1, 4, 9, 9))
    assert not caplog.records and not recwarn.list
    assert logging.getLogger().handlers == handlers
