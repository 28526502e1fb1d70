import resource

import pytest
import timm
import torch
from torch import nn

import models  # noqa: F401
from dcls.checkpoints import ModelDescription, Preprocessing, read_weights
from dcls.errors import UserError
from training.checkpoint import save_checkpoint, save_weights

SMALL = dict(dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))
PREPROCESSING = Preprocessing((3, 64, 64), "bicubic", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9)
DESCRIPTION = ModelDescription("x", 3, {"dims": [8, 8]}, PREPROCESSING)


@pytest.fixture
def model() -> nn.Module:
    return timm.create_model("convnext_atto_dcls_gaussian", **SMALL)


def test_a_full_disk_leaves_the_checkpoint_before(model, tmp_path) -> None:
    """A limit on the size of files makes writing fail as a full disk does."""
    path, weights = tmp_path / "last.pt", tmp_path / "model.safetensors"
    save_checkpoint(path, {"state_dict": {"x": torch.ones(3)}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*last.pt: .*; the one written before is kept. Is the disk full"
        ):
            save_checkpoint(path, {"state_dict": {"x": torch.ones(100_000)}})
        with pytest.raises(UserError, match=r"cannot write .*model.safetensors"):
            save_weights(weights, model, DESCRIPTION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(read_weights(path)["x"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
