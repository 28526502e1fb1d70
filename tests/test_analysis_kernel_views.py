import numpy as np
import pytest
import torch
from torch import nn

import dcls
from analysis.kernel_views import MOST_EPOCHS, all_finite, kernel_views
from training.position_history import current_elements

LAYERS = {
    "1d": lambda **o: dcls.Dcls1d(2, 4, 3, 25, padding="causal", **o),
    "2d": lambda **o: dcls.Dcls2d(4, 4, 3, 9, groups=4, **o),
    "not square": lambda **o: dcls.Dcls2d(4, 4, 3, (9, 4), groups=4, **o),
    "3d": lambda **o: dcls.Dcls3d(2, 2, 3, (3, 8, 9), **o),
    "along one axis": lambda **o: dcls.Dcls2d(2, 4, 3, (3, 25), learned_axes=(1,), **o),
}


def view(layer: nn.Module, history=(), **options) -> dict:
    (found,) = kernel_views(nn.Sequential(layer), history, **options)["layers"]
    return found


def test_a_kernel_is_the_dense_kernel_in_three_digits_with_the_strongest_first() -> None:
    layer = dcls.Dcls2d(6, 6, 5, 11, groups=6)
    found = view(layer)
    dense = layer.kernel()[:, 0].detach()
    norms = [dense[kernel["channel"]].norm().item() for kernel in found["kernels"]]
    assert len(norms) == found["channels"] == 6 and norms == sorted(norms, reverse=True)
    for kernel in found["kernels"]:
        shown = torch.tensor(kernel["levels"]) * kernel["largest"] / 999
        assert (shown - dense[kernel["channel"]]).abs().max() <= 1e-3 * dense[kernel["channel"]].abs().max()
    assert found["origin"] == [-5, -5] and found["epochs"] == [None]


def test_an_element_is_where_its_weight_is() -> None:
    layer = dcls.Dcls2d(1, 1, 1, 9, interpolation="bilinear")
    with torch.no_grad():
        layer.positions[:, 0, 0, 0] = torch.tensor([2.0, -3.0])
        layer.weight.fill_(-0.5)
    found = view(layer)
    kernel, (first_row, first_column) = found["kernels"][0], found["origin"]
    (row, column), (height, width) = (
        np.array(kernel["positions"][0])[:, 0] / 100,
        np.array(kernel["spreads"][0])[:, 0] / 100,
    )
    assert kernel["levels"][int(row) - first_row][int(column) - first_column] == -999
    assert (row, column, height, width, kernel["weights"]) == (2, -3, 1, 1, [-0.5])


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_kernels_of_any_kind_are_seen_in_two_dimensions(kind, interpolation) -> None:
    layer = LAYERS[kind](interpolation=interpolation)
    found = view(layer)
    *_, width = layer.dilated_kernel_size
    height = 1 if layer.ndim == 1 else layer.dilated_kernel_size[-2]
    for kernel in found["kernels"]:
        assert np.shape(kernel["levels"]) == (height, width)
        count = len(kernel["weights"])
        assert count == (9 if kind == "along one axis" else 3)
        assert np.shape(kernel["positions"]) == np.shape(kernel["spreads"]) == (1, 2, count)
    is_turned = interpolation in ("rotated_gaussian", "correlated_gaussian") and len(layer.learned_axes) > 1
    assert ("not turned" in found["remark"]) == is_turned
    assert ("The kernel has" in found["remark"] or "Of every" in found["remark"]) == (kind not in ("2d", "not square"))


def test_elements_along_one_axis_stay_on_the_grid_of_the_other() -> None:
    kernel = view(LAYERS["along one axis"]())["kernels"][0]
    assert kernel["positions"][0][0] == [-100] * 3 + [0] * 3 + [100] * 3


def test_history_is_thinned_out_to_first_last_and_some_between() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 9, groups=4)
    model = nn.Sequential(layer)
    history = [(epoch, current_elements(model)) for epoch in range(100)]
    epochs = view(layer, history)["epochs"]
    assert len(epochs) == MOST_EPOCHS + 1 and epochs[0] == 0 and epochs[-2:] == [99, None]
    other = [(epoch, {"0": (np.zeros((2, 4, 1, 7)), None)}) for epoch in range(3)]
    assert view(layer, other)["epochs"] == [None], "another layer's positions"


def test_the_page_is_limited_and_every_layer_is_on_it() -> None:
    model = nn.Sequential(*(dcls.Dcls2d(64, 64, 3, 9, groups=64) for _ in range(3)))
    for most, each in ((1, 1), (3 * 10 * (81 + 15), 10)):
        layers = kernel_views(model, [], most_numbers=most)["layers"]
        assert [len(layer["kernels"]) for layer in layers] == [each] * 3 and layers[0]["channels"] == 64


def test_layers_that_share_positions_find_those_of_their_set() -> None:
    layers = [dcls.Dcls2d(4, 4, 3, 9, groups=4) for _ in range(2)]
    dcls.share_positions(layers)
    model = nn.Sequential(*layers)
    first, second = kernel_views(model, [(0, current_elements(model))])["layers"]
    assert first["epochs"] == second["epochs"] == [0, None]


def test_a_dense_model_has_no_views() -> None:
    assert kernel_views(nn.Conv2d(3, 3, 3), []) == {}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_a_finite_number_is_none_and_comes_last(value) -> None:
    layer = dcls.Dcls2d(2, 2, 3, 9, groups=2)
    assert all_finite(layer)
    with torch.no_grad():
        layer.weight[0, 0, 0] = value
        layer.positions[0, 0, 0, 1] = layer.sigma[0, 0, 0, 2] = value
    assert not all_finite(layer)
    whole, broken = view(layer)["kernels"]
    assert (whole["channel"], broken["channel"]) == (1, 0) and None not in np.array(whole["levels"])
    assert set(np.array(broken["levels"]).flat) == {None}, "JSON knows no NaN"
    assert [weight is None for weight in broken["weights"]] == [True, False, False]
    assert [place is None for place in broken["positions"][0][0]] == [False, True, False]
    assert [spread is None for spread in broken["spreads"][0][0]] == [False, False, True]
