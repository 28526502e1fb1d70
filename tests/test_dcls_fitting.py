"""weights="fit": layers that start with the kernels of the convolutions they replace."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dcls
from dcls.conversion import dcls_like
from dcls.fitting import first_tap, fit, why_no_fit

EXACT = ("bilinear", "bilinear_unnormalized", "triangle", "sinc")
CASES = {
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), 9, (2, 4, 12, 13)),
    "strided": (nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4), 7, (2, 4, 12, 13)),
    "dilated": (nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), 9, (2, 4, 12, 13)),
    "even": (nn.Conv2d(4, 4, 4, padding="same", groups=4), (9, 8), (2, 4, 12, 13)),
    "patches": (nn.Conv2d(4, 4, 2, stride=2), (6, 4), (2, 4, 12, 12)),
    "not square": (nn.Conv2d(4, 6, (5, 3), padding="same", dilation=(1, 3)), (9, 7), (1, 4, 20, 20)),
    "circular": (nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular"), 7, (1, 4, 9, 9)),
    "reflected": (nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"), 7, (1, 4, 9, 9)),
    "not larger": (nn.Conv2d(4, 4, 3, groups=4), 3, (1, 4, 9, 9)),
    "1-D": (nn.Conv1d(4, 4, 5, groups=4, padding=2), 11, (2, 4, 20)),
    "3-D": (nn.Conv3d(2, 3, 3, padding=1), 5, (1, 2, 6, 7, 8)),
}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch) -> None:
    monkeypatch.setattr("dcls.fitting.STEPS", 40)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("interpolation", EXACT)
@pytest.mark.parametrize("case", CASES)
def test_an_element_for_every_tap_gives_the_same_outputs_to_rounding(case, interpolation, dtype, more) -> None:
    conv, size, shape = copy.deepcopy(CASES[case][0]).to(dtype), *CASES[case][1:]
    layer = dcls_like(conv, size, conv.weight[0, 0].numel() + more, interpolation)
    (error,) = fit([conv], [layer])
    eps = torch.finfo(dtype).eps
    assert error <= (8 if interpolation == "sinc" else 1) * eps, "the zeros of sinc are rounded, too"
    x = torch.randn(shape, dtype=dtype)
    expected, actual = conv(x), layer(x)
    tolerance = 16 * eps * expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
    actual.square().sum().backward()
    moved = layer.positions.grad[..., : conv.weight[0, 0].numel()]
    assert torch.all(moved != 0), "positions learn from there"


@pytest.mark.parametrize("case", CASES)
def test_gaussians_on_every_tap_are_as_near_as_their_floor_allows(case) -> None:
    """No weights for these positions and spreads are nearer: what is left over is orthogonal to every element."""
    conv, size = copy.deepcopy(CASES[case][0]).double(), CASES[case][1]
    layer = dcls_like(conv, size, conv.weight[0, 0].numel(), "gaussian")
    (error,) = fit([conv], [layer])
    assert torch.all(layer.sigma == 0), "the smallest spread"
    target = torch.zeros_like(layer.kernel())
    inside = tuple(slice(a, a + k) for a, k in zip(first_tap(conv, layer), conv.kernel_size, strict=True))
    target[(..., *inside)] = conv.weight
    rest = layer.kernel() - target
    assert error == pytest.approx((rest.norm() / conv.weight.norm()).item())
    (slope,) = torch.autograd.grad(rest.square().sum(), layer.weight)
    assert slope.abs().max() < 1e-12 and error < 0.01


@pytest.mark.parametrize("interpolation", (*EXACT, "gaussian", "correlated_gaussian", "rotated_gaussian"))
def test_fewer_elements_are_nearer_the_more_there_are(interpolation) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 5, padding=2, groups=6)
    errors = []
    for count in (3, 12, 25):
        layer = dcls_like(conv, 9, count, interpolation)
        (error,) = fit([conv], [layer])
        rest = layer.kernel() - F.pad(conv.weight, (2, 2, 2, 2))
        assert error == pytest.approx((rest.norm() / conv.weight.norm()).item(), rel=1e-3, abs=1e-6)
        errors.append(error)
    assert errors == sorted(errors, reverse=True) and errors[0] < 1


def test_the_search_is_nearer_than_the_heaviest_taps_alone() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 7, padding=3, groups=8)
    energies = conv.weight.flatten(1).square().sort(1).values
    for interpolation in (*EXACT, "gaussian"):
        (error,) = fit([conv], [dcls_like(conv, 11, 26, interpolation)])
        assert error < 0.5 * (energies[:, :-26].sum() / energies.sum()).sqrt().item()


def test_kernels_that_have_so_many_elements_are_found() -> None:
    torch.manual_seed(0)
    true = dcls.Dcls2d(4, 4, 3, 7, padding=3, groups=4)
    with torch.no_grad():
        true.positions.uniform_(-2, 2)
    conv = nn.Conv2d(4, 4, 7, padding=3, groups=4)
    conv.load_state_dict(true.fuse().state_dict())
    (error,) = fit([conv], [dcls_like(conv, 7, 6, "gaussian")])
    assert error < 0.05


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_no_random_number_is_drawn_and_the_result_is_always_the_same(interpolation) -> None:
    conv = nn.Conv2d(3, 3, 5, padding=2, groups=3)
    layers = [dcls_like(conv, 7, 6, interpolation) for _ in range(2)]
    state = torch.get_rng_state()
    errors = [fit([conv], [layer]) for layer in layers]
    assert torch.equal(torch.get_rng_state(), state) and errors[0] == errors[1]
    for name, value in layers[0].state_dict().items():
        assert torch.equal(value, layers[1].state_dict()[name]), name


def test_channels_are_fitted_alone_however_many_fit_into_memory(monkeypatch) -> None:
    conv = nn.Conv2d(6, 6, 5, padding=2, groups=6)
    layers = [dcls_like(conv, 7, 6, "gaussian") for _ in range(2)]
    fit([conv], layers[:1])
    monkeypatch.setattr("dcls.fitting._CHUNK", 2 * 1024 * 7)
    fit([conv], layers[1:])
    torch.testing.assert_close(layers[0].kernel(), layers[1].kernel(), rtol=1e-3, atol=1e-4)


def test_a_dead_channel_stays_dead() -> None:
    conv = nn.Conv2d(3, 3, 5, padding=2, groups=3)
    nn.init.zeros_(conv.weight[1])
    layer = dcls_like(conv, 7, 6, "gaussian")
    (error,) = fit([conv], [layer])
    assert torch.all(layer.kernel()[1] == 0) and layer.positions.isfinite().all() and error < 1
    nn.init.zeros_(conv.weight)
    assert fit([conv], [layer]) == [0.0]


def test_what_cannot_be_fitted() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3)
    assert "take a size that differs by an even number" in str(why_no_fit(conv, dcls_like(conv, 6, 9, "bilinear")))
    assert why_no_fit(conv, dcls_like(conv, 5, 9, "bilinear")) is None
    nn.init.constant_(conv.weight, torch.nan)
    assert "not numbers" in str(why_no_fit(conv, dcls_like(conv, 5, 9, "bilinear")))
    assert "meta device" in str(why_no_fit(conv.to("meta"), dcls_like(conv.to("meta"), 5, 9, "bilinear")))


class Net(nn.Module):
    """Two stages of depthwise convolutions of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(*(nn.Conv2d(6, 6, 5, padding=2, groups=6) for _ in range(3)))
        self.down = nn.Conv2d(6, 8, 2, stride=2)
        self.second = nn.Sequential(
            nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.GELU(), nn.Conv2d(8, 8, (3, 7), padding=(1, 3), groups=8)
        )

    def forward(self, x):
        return self.second(self.down(self.first(x)))


@pytest.mark.parametrize("share", ["stage", None, "second"])
def test_a_network_computes_what_it_did(share) -> None:
    net, x = Net().double().eval(), torch.randn(2, 6, 16, 16, dtype=torch.float64)
    before = net(x)
    report = dcls.convert(
        net, dilated_kernel_size=9, kernel_count=5 * 7, interpolation="bilinear", match=5, share=share, weights="fit"
    )
    torch.testing.assert_close(net(x), before, rtol=0, atol=1e-13)
    assert list(report.errors) == list(report.replaced) and max(report.errors.values()) < 1e-15


def test_layers_that_share_positions_are_fitted_together() -> None:
    torch.manual_seed(0)
    alone, together = Net(), Net()
    together.load_state_dict(alone.state_dict())
    arguments = dict(dilated_kernel_size=9, kernel_count=10, match=5, weights="fit")
    errors = [dcls.convert(net, share=share, **arguments).errors for net, share in ((alone, None), (together, "stage"))]
    assert together.first[0].positions is together.first[2].positions
    assert all(errors[0][name] < errors[1][name] < 0.9 for name in errors[0])


def test_the_report_shows_the_error_of_every_layer() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 7, padding=3, groups=4))
    report = dcls.convert(
        net, dilated_kernel_size=9, kernel_count=9, interpolation="triangle", match=3, weights="fit", share=None
    )
    lines = str(report).splitlines()
    assert lines[:2] == [
        "2 convolutions replaced, 0 sets of shared positions",
        "how far the kernels are from those before, by layer:",
    ]
    assert lines[2].split()[0] == "0" and report.errors["0"] < 1e-6
    assert lines[3].split() == ["1", f"{100 * report.errors['1']:.2f}", "%"] and report.errors["1"] > 0.1


def test_what_cannot_be_fitted_is_skipped_and_the_rest_converted() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), nn.Conv2d(4, 4, 4, padding="same", groups=4)
    )
    report = dcls.convert(net, dilated_kernel_size=6, kernel_count=16, interpolation="bilinear", match=3, weights="fit")
    assert list(report.replaced) == ["1"] and "fall between" in report.skipped["0"]
    assert type(net[0]) is nn.Conv2d


def test_a_frozen_layer_in_low_precision_is_fitted_and_stays_frozen() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4)).bfloat16().requires_grad_(False)
    report = dcls.convert(net, dilated_kernel_size=9, kernel_count=5, match=3, weights="fit")
    assert net[0].weight.dtype == torch.bfloat16 and not net[0].positions.requires_grad
    assert 0 < report.errors["0"] < 0.9
