import pickle
from zipfile import ZipFile

import pytest
import torch

from dcls.checkpoints import read_weights
from dcls.errors import UserError


@pytest.mark.parametrize(
    "key", [b")" + b"\x85" * 10**6, b")" + b"K\x01\x86" * 10**6, b"(" * 10**6 + b"t" * 10**6], ids=["1", "2", "t"]
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_key_that_is_nested_deep_does_not_end_the_process(tmp_path, key, is_zip) -> None:
    text = b"\x80\x02}" + key + b"K\x01s."
    torch.save({"a": torch.ones(8)}, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    if is_zip:
        with ZipFile(tmp_path / "a.pt") as archive, ZipFile(tmp_path / "b.pt", "w") as hostile:
            for name in archive.namelist():
                hostile.writestr(name, text if name.endswith("data.pkl") else archive.read(name))
    else:
        with (tmp_path / "a.pt").open("rb") as file:
            head = b"".join(pickle.dumps(pickle.load(file), 2) for _ in range(3))
        (tmp_path / "b.pt").write_bytes(head + text)
    with pytest.raises(UserError, match="b.pt is no checkpoint: its values are nested too deep"):
        read_weights(tmp_path / "b.pt")
