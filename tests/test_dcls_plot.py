import math
import sys

import numpy as np
import pytest
import torch
from shared_pair import SharedPair
from torch import nn

import dcls
from dcls.plot import KERNELS_PER_SET, SETS_PER_LINE

LAYERS = {
    "1d": lambda **o: dcls.Dcls1d(2, 4, 3, 25, padding="causal", **o),
    "2d": lambda **o: dcls.Dcls2d(4, 4, 3, (7, 9), groups=4, **o),
    "3d": lambda **o: dcls.Dcls3d(2, 2, 3, (3, 8, 9), **o),
    "along rows": lambda **o: dcls.Dcls2d(2, 4, 2, (3, 9), learned_axes=(1,), **o),
    "along the last axes": lambda **o: dcls.Dcls3d(2, 2, 2, (3, 8, 9), learned_axes=(1, 2), **o),
    "along the first axis": lambda **o: dcls.Dcls3d(2, 2, 2, (9, 2, 2), learned_axes=(0,), **o),
}


@pytest.fixture(params=LAYERS)
def build(request):
    return LAYERS[request.param]


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_every_element_of_a_kernel_is_drawn_once(build, interpolation) -> None:
    layer = build(interpolation=interpolation)
    nn.init.uniform_(layer.positions, -6, 6)
    axes = dcls.plot.kernel(layer, channel=1).axes
    slices = layer.dilated_kernel_size[0] if layer.ndim == 3 else 1
    assert len(axes) == slices
    marks = sum(len(ax.patches) + len(ax.containers) for ax in axes) - (layer.ndim == 1)
    assert marks == layer.weight[0, 0].numel()


def test_a_ring_is_where_the_element_is_and_as_wide_as_its_spread() -> None:
    layer = dcls.Dcls2d(2, 2, 1, (7, 9), groups=2)
    with torch.no_grad():
        layer.positions[:, 1, 0, 0] = torch.tensor([2.0, -3.0])
        layer.sigma[:, 1, 0, 0] = torch.tensor([0.5, 1.0])
    axes = dcls.plot.kernel(layer, channel=1).axes[0]
    (ring,) = axes.patches
    assert ring.center == (-3.0, 2.0)
    assert (ring.width, ring.height) == pytest.approx((2 * 1.27, 2 * 0.77))
    assert np.allclose(axes.images[0].get_array(), layer.kernel()[1, 0].detach())
    assert axes.images[0].get_extent() == [-4.5, 4.5, 3.5, -3.5]


@pytest.mark.parametrize("shape", [-0.6, 0.5, 2.0])
@pytest.mark.parametrize("interpolation", ["rotated_gaussian", "correlated_gaussian"])
def test_a_ring_is_turned_as_its_footprint_is(interpolation, shape) -> None:
    layer = dcls.Dcls2d(1, 1, 1, 41, interpolation=interpolation)
    with torch.no_grad():
        layer.positions.zero_()
        layer.sigma[:] = torch.tensor([4.0, 1.5, shape]).view(3, 1, 1, 1)
    (ring,) = dcls.plot.kernel(layer).axes[0].patches
    mass, steps = layer.kernel()[0, 0].detach().double(), torch.arange(-20.0, 21.0)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    moments = torch.stack([(mass * a * b).sum() / mass.sum() for a in (x, y) for b in (x, y)]).view(2, 2)
    angle = torch.tensor(math.radians(ring.angle))
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2).double()
    along = turn @ moments @ turn.T
    torch.testing.assert_close(
        along, torch.diag(torch.tensor([ring.width, ring.height]).double() / 2) ** 2, rtol=1e-3, atol=1e-3
    )


def test_elements_that_do_not_move_along_an_axis_are_at_its_grid_points() -> None:
    layer = dcls.Dcls2d(1, 1, 1, (3, 9), learned_axes=(1,), interpolation="bilinear")
    with torch.no_grad():
        layer.positions.copy_(torch.tensor([1.0, 2.0, -4.0]).view(1, 1, 1, 3, 1))
    centers = [ring.center for ring in dcls.plot.kernel(layer).axes[0].patches]
    assert centers == [(1.0, -1.0), (2.0, 0.0), (-4.0, 1.0)]


@pytest.mark.parametrize("channel", [-1, 4])
def test_a_channel_that_is_not_there_is_named(channel) -> None:
    with pytest.raises(ValueError, match=f"channel must be between 0 and 3, got {channel}"):
        dcls.plot.kernel(LAYERS["2d"](), channel)


@pytest.mark.parametrize("channel", [True, 1.0, "1", None])
def test_a_channel_that_is_no_number_is_named(channel) -> None:
    with pytest.raises(ValueError, match=f"channel must be a whole number, got {channel!r}"):
        dcls.plot.kernel(LAYERS["2d"](), channel)


def test_a_channel_may_be_a_number_of_numpy_or_pytorch() -> None:
    for channel in (np.int64(2), torch.tensor(2)):
        assert dcls.plot.kernel(LAYERS["2d"](), channel).get_suptitle().startswith("channel 2,")


def test_what_is_no_layer_of_dcls_is_named_and_the_function_for_models() -> None:
    for other in (nn.Conv2d(3, 3, 3), nn.Sequential(LAYERS["2d"]())):
        with pytest.raises(ValueError, match=rf"one DCLS layer, got {type(other).__name__}; strongest_kernels\(\)"):
            dcls.plot.kernel(other)


def test_a_ring_of_an_element_that_learns_no_spread_is_as_wide_as_its_interpolation() -> None:
    (ring,) = dcls.plot.kernel(dcls.Dcls2d(1, 1, 1, 9, interpolation="bilinear")).axes[0].patches
    assert (ring.width, ring.height) == (2.0, 2.0)


def test_many_sets_are_drawn_in_several_lines() -> None:
    model = nn.Sequential(*(dcls.Dcls2d(1, 1, 1, 5) for _ in range(SETS_PER_LINE + 2)))
    figure = dcls.plot.positions(model)
    assert [axes.get_title() for axes in figure.axes] == list(map(str, range(SETS_PER_LINE + 2)))
    assert figure.get_size_inches().tolist() == [3.0 * SETS_PER_LINE, 6.0]


def test_positions_of_every_set_are_drawn(build) -> None:
    model = nn.Sequential(SharedPair(), build())
    figure = dcls.plot.positions(model)
    assert [axes.get_title() for axes in figure.axes] == ["0.first.shared", "1"]
    assert dcls.plot.positions(build()).axes[0].get_title().startswith("Dcls")
    with pytest.raises(ValueError, match="Linear has no DCLS layer"):
        dcls.plot.positions(nn.Linear(2, 2))


@pytest.mark.parametrize("kind, size", [(dcls.Dcls1d, 9), (dcls.Dcls2d, (5, 9)), (dcls.Dcls3d, 9)])
def test_histograms_hold_every_element_and_the_title_counts_those_outside(kind, size) -> None:
    layer = kind(4, 4, 6, size, groups=4, initial_positions="uniform")
    (axes,) = dcls.plot.positions(layer).axes
    drawn = sum(bar.get_height() for bar in axes.patches) if layer.ndim == 1 else axes.collections[0].get_array().sum()
    assert drawn == 24 and axes.get_title() == type(layer).__name__
    with torch.no_grad():
        layer.positions[-1].view(-1)[:3] = torch.tensor([100.0, -100.0, torch.nan])
    assert dcls.plot.positions(layer).axes[0].get_title() == f"{type(layer).__name__}, 3 of 24 outside"


def test_the_title_counts_as_diagnostics_and_warnings_do() -> None:
    layer = dcls.Dcls3d(4, 4, 6, 9, groups=4)
    with torch.no_grad():
        layer.positions.zero_()
        layer.positions[2].view(-1)[:2] = 4.4  # within the pixel of the last grid point, but beyond it
        layer.positions[0].view(-1)[2:5] = 9.0  # along the axis that is not drawn
    assert dcls.diagnostics.describe(layer).outside_kernel == pytest.approx(5 / 24)
    assert dcls.plot.positions(layer).axes[0].get_title() == "Dcls3d, 5 of 24 outside"


def test_movement_is_the_mean_distance_from_the_first_epoch() -> None:
    start = np.zeros((2, 4, 1, 3), np.float16)
    epochs = [(epoch, {"a": (start + np.float16(epoch), None)}) for epoch in (0, 3, 6)]
    (line,) = dcls.plot.movement(epochs).axes[0].lines
    assert list(line.get_xdata()) == [0, 3, 6]
    assert line.get_ydata() == pytest.approx([0, 3 * 2**0.5, 6 * 2**0.5])
    with pytest.raises(ValueError, match="no epoch"):
        dcls.plot.movement([])


def test_every_set_is_in_the_legend_and_one_of_another_shape_is_left_out() -> None:
    start = np.zeros((2, 4, 1, 3))
    history = [(0, {"_blocks.0": (start, None), "": (start, None)})]
    history += [(1, {"_blocks.0": (start + 1, None), "": (np.zeros((2, 4, 1, 5)), None)})]
    axes = dcls.plot.movement(history).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["layer _blocks.0", "layer"]
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 1]


def two_sets() -> nn.Sequential:
    def layer(channels: int, **options) -> dcls.Dcls2d:
        return dcls.Dcls2d(channels, channels, 3, (7, 9), groups=channels, padding="same", **options)

    model = nn.Sequential(layer(8), nn.ReLU(), layer(8), layer(4, interpolation="bilinear"))
    dcls.share_positions([model[0], model[2]])
    return model


def test_the_strongest_kernels_are_drawn_with_a_ring_for_each_element() -> None:
    model = two_sets()
    with torch.no_grad():
        model[0].weight.mul_(
            torch.arange(1.0, 9.0)[:, None, None] / model[0].kernel().flatten(1).norm(dim=1)[:, None, None]
        )
    axes = dcls.plot.strongest_kernels(model).axes
    assert len(axes) == 2 * KERNELS_PER_SET
    drawn = [[text.get_text() for text in ax.texts] for ax in axes]
    assert drawn[:6] == [["7"], ["6"], ["5"], ["4"], ["3"], ["2"]]
    assert [len(ax.patches) for ax in axes] == [3] * 6 + [3] * 4 + [0] * 2
    titles = [axes[0].get_title(loc="left"), axes[KERNELS_PER_SET].get_title(loc="left")]
    assert titles == ["0, 7x9", "3, 7x9"], "one layer stands for each set"


@pytest.mark.parametrize("model", [LAYERS["1d"](), nn.Linear(2, 2)])
def test_a_network_with_no_kernel_to_draw_in_two_axes_is_refused(model) -> None:
    with pytest.raises(ValueError, match=f"{type(model).__name__} has no DCLS layer with positions in two axes"):
        dcls.plot.strongest_kernels(model)


def test_a_missing_matplotlib_is_told_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"^Matplotlib is not installed; install it with pip install"):
        dcls.plot.kernel(LAYERS["2d"]())


def test_figures_are_drawn_to_a_file_without_a_screen(build, tmp_path) -> None:
    for figure in (dcls.plot.kernel(build()), dcls.plot.positions(build())):
        figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 1000
