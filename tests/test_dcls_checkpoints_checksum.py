import json

import torch
from safetensors.torch import save_file
from small_model import DESCRIPTION
from torch import nn

from dcls.checkpoints import read_description, read_weights
from dcls.errors import UserError
from training.checkpoints.checkpoint import save_weights


def test_no_flipped_bit_of_a_safetensors_file_of_this_project_is_read(tmp_path) -> None:
    model = nn.Linear(3, 2)
    save_weights(tmp_path / "good.safetensors", model, DESCRIPTION)
    good = (tmp_path / "good.safetensors").read_bytes()
    before, path, accepted = read_weights(tmp_path / "good.safetensors"), tmp_path / "bad.safetensors", []
    for byte in range(len(good)):
        path.write_bytes(good[:byte] + bytes([good[byte] ^ 1 << byte % 8]) + good[byte + 1 :])
        try:
            after, description = read_weights(path), read_description(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        # What does not matter may change: spaces in JSON, or offsets that say the same.
        assert description == DESCRIPTION and all(torch.equal(before[name], after[name]) for name in before), byte
        accepted.append(byte)
    assert len(accepted) < 10


def test_a_file_from_before_there_were_checksums_is_read(tmp_path) -> None:
    metadata = {"dcls_imagenet": json.dumps(DESCRIPTION.to_dict())}
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "old.safetensors", metadata)
    assert read_weights(tmp_path / "old.safetensors").keys() == {"weight", "bias"}
