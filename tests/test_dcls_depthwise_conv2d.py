import copy

import pytest
import torch
from depthwise_cases import relative_error
from torch import Tensor, nn
from torch.export import export

import dcls

pytestmark = pytest.mark.usefixtures("poisoned_memory")


class TwoUses(nn.Module):
    """One layer used twice in one graph, so that its gradients add up."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = dcls.Dcls2d(8, 8, 4, (9, 7), padding="same", groups=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).relu())


def test_compiled_is_eager() -> None:
    torch.manual_seed(0)
    eager = TwoUses()
    compiled = copy.deepcopy(eager)
    compiled.compile(fullgraph=True)
    x = torch.randn(2, 8, 6, 6)
    for model in (eager, compiled):
        model(x).square().mean().backward()
    torch.testing.assert_close(compiled(x), eager(x))
    for a, b in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_exported_is_eager() -> None:
    model = TwoUses()
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(export(model, (x,)).module()(x), model(x))


def test_autocast_lowers_the_precision() -> None:
    layer = dcls.Dcls2d(8, 8, 4, 9, padding="same", groups=8)
    x = torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.positions.grad.dtype == torch.float32
    assert relative_error(out, layer(x).double()) < 1e-2


@pytest.mark.parametrize(
    "arguments",
    [
        dict(groups=4),
        dict(stride=2),
        dict(dilation=2),
        dict(padding=9),
        dict(padding_mode="reflect", padding=2),
        dict(padding_mode="circular", padding="same"),
        dict(padding="same"),
        dict(padding="valid"),
        dict(padding=(1, 4)),
        dict(bias=False),
    ],
    ids=str,
)
def test_a_layer_is_the_convolution_with_its_kernel(arguments) -> None:
    torch.manual_seed(0)
    options = {"groups": 8} | arguments
    layer = dcls.Dcls2d(8, 8, 3, (5, 6), **options)
    plain = nn.Conv2d(8, 8, (5, 6), **options)
    with torch.no_grad():
        plain.weight.copy_(layer.kernel())
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    for x in (torch.randn(2, 8, 14, 15), torch.randn(8, 14, 15)):
        torch.testing.assert_close(layer(x), plain(x))
