import pytest
import torch
from shared_pair import SharedPair
from torch import nn

import dcls


def layer_at(*positions: tuple[float, float], dtype=torch.float64) -> dcls.Dcls2d:
    layer = dcls.Dcls2d(1, 1, len(positions), 9, dtype=dtype)
    with torch.no_grad():
        layer.positions.copy_(torch.tensor(positions).T.view(2, 1, 1, -1))
    return layer


@pytest.mark.parametrize(
    "positions, expected",
    [
        ([(0, 0), (0, 0.25)], 0.75),  # 2 / (2 * 1) * 0.75
        ([(0, 0), (3, 4)], 0.0),
        ([(0, 0), (0.3, 0.4), (3, 3)], 0.5 / 3),  # 2 / (3 * 2) * 0.5
        ([(1, 1)] * 4, 1.0),
        ([(0, 0)], 0.0),
    ],
)
def test_hand_computed_cases(positions, expected) -> None:
    assert dcls.repulsive_loss(layer_at(*positions)).item() == pytest.approx(expected)


def test_mean_over_sets_and_a_shared_set_counts_once() -> None:
    model = nn.Sequential(layer_at((0, 0), (0, 0)), layer_at((0, 0), (3, 0)))
    assert dcls.repulsive_loss(model).item() == pytest.approx(0.5)
    shared = SharedPair()
    assert dcls.repulsive_loss(shared).item() == pytest.approx(dcls.repulsive_loss(shared.first.shared).item())


def test_gradient() -> None:
    layer = layer_at((0, 0), (0.3, 0.5), (-0.2, 0.6), (2, 2))

    def loss(positions):
        return torch.func.functional_call(Loss(layer), {"layer.positions": positions}, ())

    class Loss(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self):
            return dcls.repulsive_loss(self.layer)

    torch.autograd.gradcheck(loss, [layer.positions.detach().requires_grad_()])
    dcls.repulsive_loss(layer_at((1, 1), (1, 1))).backward()  # coinciding elements: no NaN


def test_descent_pushes_elements_apart() -> None:
    layer = layer_at((0, 0), (0.1, 0.1), (-0.1, 0.2))
    optimizer = torch.optim.SGD([layer.positions], lr=0.3)
    for _ in range(50):
        optimizer.zero_grad()
        dcls.repulsive_loss(layer).square().backward()
        optimizer.step()
    assert dcls.repulsive_loss(layer) < 0.2


def test_a_model_without_dcls_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no DCLS layer"):
        dcls.repulsive_loss(nn.Linear(2, 2))
