import pytest
import torch

from dcls.errors import UserError
from models.trial import try_model

NAME, SIZES = "convnext_atto_dcls_gaussian", dict(dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))


def test_a_model_is_tried_without_memory() -> None:
    model = try_model(NAME, 5, (3, 64, 64), max_bytes=10**8, **SIZES)
    assert model.num_classes == 5 and {p.device for p in model.parameters()} == {torch.device("meta")}


def test_what_would_fail_later_fails_here() -> None:
    with pytest.raises(UserError, match="model.options: ConvNeXt.* cannot take RGB images of 8x8: "):
        try_model(NAME, 5, (3, 8, 8), max_bytes=10**8, **SIZES)
    with pytest.raises(UserError, match=f"model.options: the weights of {NAME} .* would take"):
        try_model(NAME, 5, (3, 64, 64), max_bytes=1000, **SIZES)
