import pytest
import timm
import torch
from torch import nn

from analysis.receptive_field import mirrored, receptive_field, share_within_squares, side_that_holds, with_surroundings


class Features(nn.Module):
    """A model whose features are those of a layer, changed in their shape."""

    def __init__(self, layer: nn.Module, change=lambda features: features, channels: int = 1) -> None:
        super().__init__()
        self.layer, self.change, self.num_features = layer, change, channels

    def forward_features(self, x):
        return self.change(self.layer(x))


def mean_filter(size: int, channels: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(3, channels, size, padding=size // 2, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    return conv


CHANGES = {
    "map": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_field_of_a_filter_is_the_filter(change) -> None:
    model = Features(mean_filter(5, channels=2), CHANGES[change], channels=2)
    field = receptive_field(model, torch.rand(2, 3, 15, 15))
    expected = torch.zeros(15, 15)
    expected[5:10, 5:10] = 1 / 25
    assert torch.allclose(field, expected) and side_that_holds(field, 1.0) == 5 and side_that_holds(field, 0.3) == 3


def test_of_a_map_with_even_sides_the_features_around_the_center_count() -> None:
    field = receptive_field(Features(mean_filter(3)), torch.rand(1, 3, 8, 8))
    assert torch.allclose(field, field.flip(0)) and torch.allclose(field, field.flip(1))
    assert side_that_holds(field, 1.0) == 4


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (8, 12), (9, 13)])
def test_shares_within_squares_grow_to_all(shape) -> None:
    within = share_within_squares(torch.full(shape, 1 / (shape[0] * shape[1])))
    assert (within.diff() > 0).all() and within[-1].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (nn.Conv2d(3, 3, 3), "Conv2d has no forward_features"),
        (Features(nn.Flatten()), "Features has no map of features"),
        (Features(mean_filter(3), lambda x: 0 * x), "no gradient reaches the input"),
    ],
)
def test_a_model_without_such_a_field_is_named(model, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        receptive_field(model, torch.rand(1, 3, 8, 8))


def test_small_images_are_surrounded_by_their_mirror_images() -> None:
    images = torch.rand(1, 3, 4, 6)
    large = mirrored(images, 3)
    assert large.shape == (1, 3, 12, 18) and torch.equal(large[..., 4:8, 6:12], images)
    assert torch.equal(large[..., 4:8, :6], images.flip(-1)) and torch.equal(large[..., :4, 6:12], images.flip(-2))
    model = Features(nn.Conv2d(3, 1, 4, stride=4))
    for side, factor in ((8, 5), (12, 3), (28, 1), (32, 1)):
        enlarged, found = with_surroundings(model, torch.rand(1, 3, side, side))
        assert found == factor and enlarged.shape[-1] == factor * side


def test_a_model_that_knows_the_size_of_its_images_sees_them_as_they_are() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=24, num_heads=2).eval()
    images, factor = with_surroundings(model, torch.rand(1, 3, 32, 32))
    assert factor == 1 and receptive_field(model, images).shape == (32, 32)
