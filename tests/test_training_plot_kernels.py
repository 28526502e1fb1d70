import torch
from torch import nn

import dcls
from training.plot_kernels import KERNELS_PER_STAGE, first_layer_of_each_set, plot_kernels


def two_sets() -> nn.Sequential:
    def layer(channels: int, **options) -> dcls.Dcls2d:
        return dcls.Dcls2d(channels, channels, 3, (7, 9), groups=channels, padding="same", **options)

    model = nn.Sequential(layer(8), nn.ReLU(), layer(8), layer(4, interpolation="bilinear"))
    dcls.share_positions([model[0], model[2]])
    return model


def test_one_layer_stands_for_each_set() -> None:
    model = two_sets()
    assert first_layer_of_each_set(model) == {"0": model[0], "3": model[3]}


def test_the_strongest_kernels_are_drawn_with_a_ring_for_each_element() -> None:
    model = two_sets()
    with torch.no_grad():
        model[0].weight.mul_(
            torch.arange(1.0, 9.0)[:, None, None] / model[0].kernel().flatten(1).norm(dim=1)[:, None, None]
        )
    axes = plot_kernels(model).axes
    assert len(axes) == 2 * KERNELS_PER_STAGE
    drawn = [[text.get_text() for text in ax.texts] for ax in axes]
    assert drawn[:6] == [["7"], ["6"], ["5"], ["4"], ["3"], ["2"]]
    assert [len(ax.patches) for ax in axes] == [3] * 6 + [3] * 4 + [0] * 2
    assert axes[0].get_title(loc="left") == "0, 7x9"
