import pytest
import timm
import torch
from small_model import SMALL, assert_equal_weights, small_model
from torch import nn

from dcls.checkpoints import load_exactly, read_weights
from dcls.errors import UserError


@pytest.fixture
def model() -> nn.Module:
    return small_model()


def test_weights_of_another_model_are_refused_with_what_differs(model) -> None:
    other = timm.create_model("convnext_atto", **SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_exactly(model, other.state_dict(), "file.pt")
    message = str(error.value)
    assert message.startswith(
        "file.pt does not fit ConvNeXtDcls: 8 missing, such as stages.0.blocks.0.conv_dw.shared.positions"
    )
    assert "4 of another shape, such as stages.0.blocks.0.conv_dw.weight (8, 1, 7, 7) instead of (8, 1, 26)" in message
    assert_equal_weights(before, model)


def test_half_precision_weights_are_read(tmp_path) -> None:
    model, expected = nn.Linear(3, 2), nn.Linear(3, 2)
    for kind in (torch.float16, torch.bfloat16, torch.float8_e5m2):
        torch.save({name: tensor.to(kind) for name, tensor in expected.state_dict().items()}, tmp_path / "a.pth")
        load_exactly(model, read_weights(tmp_path / "a.pth"), "a.pth")
        assert torch.equal(model.weight, expected.weight.to(kind).float())
