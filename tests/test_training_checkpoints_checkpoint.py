import resource

import pytest
import torch
from small_model import DESCRIPTION, small_model
from torch import nn

from dcls.checkpoints import read_weights
from dcls.errors import UserError
from training.checkpoints.checkpoint import save_checkpoint, save_weights


@pytest.fixture
def model() -> nn.Module:
    return small_model()


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
