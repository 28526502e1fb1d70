"""Positions along some axes: the kernel is that of free elements which sit on the grid of the other axes."""

import itertools

import pytest
import torch
from torch import nn

import dcls
from dcls.learned_axes import places_of, spreads_of

SIZE = {2: (3, 8), 3: (2, 3, 7)}
SUBSETS = [
    (ndim, axes) for ndim in SIZE for count in range(1, ndim) for axes in itertools.combinations(range(ndim), count)
]
TYPES = {2: dcls.Dcls2d, 3: dcls.Dcls3d}


def layer_along(ndim: int, axes: tuple[int, ...], **options) -> dcls.DclsNd:
    layer = TYPES[ndim](4, 6, 2, SIZE[ndim], learned_axes=axes, groups=2, dtype=torch.float64, **options)
    nn.init.uniform_(layer.positions, -1.5, 1.5)
    return layer


@pytest.mark.parametrize("ndim, axes", SUBSETS)
@pytest.mark.parametrize("interpolation", ["gaussian", "bilinear", "rotated_gaussian"])
def test_every_grid_point_of_the_fixed_axes_has_a_kernel_of_its_own(ndim, axes, interpolation) -> None:
    layer = layer_along(ndim, axes, interpolation=interpolation)
    fixed = [axis for axis in range(ndim) if axis not in axes]
    size = [SIZE[ndim][axis] for axis in axes]
    kernel = layer.kernel()
    assert kernel.shape == (6, 2, *SIZE[ndim])
    for point in itertools.product(*(range(SIZE[ndim][axis]) for axis in fixed)):
        here = (slice(None),) * 2 + point
        along = dict(zip(fixed, point, strict=True))
        got = kernel[(slice(None), slice(None), *(along.get(axis, slice(None)) for axis in range(ndim)))]
        sigma = None if layer.sigma is None else layer.sigma[(slice(None), *here)]
        expected = dcls.construct_kernel(
            layer.weight[here], layer.positions[(slice(None), *here)], sigma, size, interpolation
        )
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("ndim, axes", SUBSETS)
def test_shapes_gradients_and_state_dict(ndim, axes) -> None:
    layer = layer_along(ndim, axes, padding="same")
    fixed = tuple(SIZE[ndim][axis] for axis in range(ndim) if axis not in axes)
    assert layer.weight.shape == (6, 2, *fixed, 2)
    assert layer.positions.shape == layer.sigma.shape == (len(axes), 6, 2, *fixed, 2)
    x = torch.randn(2, 4, *(8,) * ndim, dtype=torch.float64)
    layer(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    other = layer_along(ndim, axes, padding="same")
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    torch.testing.assert_close(layer.fuse()(x), layer(x))


def test_layers_share_positions_and_are_built_at_once() -> None:
    layers = nn.Sequential(*(dcls.Dcls2d(4, 4, 2, (3, 7), learned_axes=(1,), padding="same") for _ in range(3)))
    shared = dcls.share_positions(list(layers))
    x = torch.randn(1, 4, 6, 12)
    alone = layers(x)
    handle = dcls.register_joint_construction(layers)
    torch.testing.assert_close(layers(x), alone)
    handle.remove()
    nn.init.constant_(shared.positions, 9.0)
    shared.clamp_positions()
    assert torch.all(shared.positions == 3)
    assert dcls.repulsive_loss(layers) == 1, "both elements of every kernel are in one place"


@pytest.mark.parametrize("axes", [(), (2,), (-1,), (1, 0), (0, 0), 1, "0", (True,)])
def test_wrong_axes_are_named(axes) -> None:
    with pytest.raises(ValueError, match="learned_axes must be"):
        dcls.Dcls2d(4, 4, 2, 7, learned_axes=axes)


def test_layers_along_different_axes_cannot_share_positions() -> None:
    layers = [dcls.Dcls2d(4, 4, 2, (7, 7), learned_axes=axes) for axes in ((0,), (1,))]
    with pytest.raises(ValueError, match="must agree in learned_axes"):
        dcls.share_positions(layers)


def test_elements_are_where_the_kernel_is_not_zero() -> None:
    layer = dcls.Dcls3d(1, 1, 1, (3, 7, 4), interpolation="bilinear_unnormalized", learned_axes=(1,))
    with torch.no_grad():
        layer.positions.copy_(torch.arange(12.0).view_as(layer.positions) % 7 - 3)
        layer.weight.fill_(1.0)
    places = places_of(layer.positions[:, 0, 0].detach(), layer.dilated_kernel_size, layer.learned_axes)
    row, column, depth = (places.long() + torch.tensor([1, 3, 2])[:, None]).tolist()
    assert places.shape == (3, 12) and layer.kernel()[0, 0, row, column, depth].tolist() == [1.0] * 12
    widths = spreads_of(torch.full((1, 3, 4, 1), 2.0), layer.dilated_kernel_size, layer.learned_axes, elsewhere=0.5)
    assert widths.tolist() == [[0.5] * 12, [2.0] * 12, [0.5] * 12]
