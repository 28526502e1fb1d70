"""A released layout gives the same logits here and in timm's model with the reference's layers."""

from pathlib import Path

import pytest
import timm

import models  # noqa: F401
from parity.reference import put_reference_layers
from parity.released_checkpoints import compare


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Keys, shapes and dtypes of a ResNet-50 of four blocks, as the authors' files have them."""
    sizes = dict(layers=(1, 1, 1, 1), num_classes=5)
    model = timm.create_model("resnet50", **sizes)
    ours = timm.create_model("resnet50_dcls_bilinear_unnormalized", kernel_count=5, dilated_kernel_size=7, **sizes)
    put_reference_layers(model, ours)
    lines = [f"{name}\t{tuple(value.shape)}\t{value.dtype}" for name, value in model.state_dict().items()]
    (tmp_path / "resnet50_v0.txt").write_text("\n".join(lines))
    return tmp_path / "resnet50_v0.txt"


def test_logits_are_equal_and_every_key_has_its_place(keys) -> None:
    layout, difference, missing, unexpected = compare(keys)
    assert layout.model == "resnet50_dcls_bilinear_unnormalized" and layout.depths == (1, 1, 1, 1)
    assert difference < 1e-5 and (missing, unexpected) == (0, 0)


def test_a_key_too_few_is_counted(keys) -> None:
    lines = [line for line in keys.read_text().splitlines() if not line.startswith("bn1.bias")]
    keys.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"1 missing, such as bn1\.bias"):
        compare(keys)
