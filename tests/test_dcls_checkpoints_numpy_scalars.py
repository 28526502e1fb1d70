import numpy as np
import pytest
import torch
from torch import nn

from dcls.checkpoints import open_safely
from dcls.errors import UserError


def test_single_numbers_of_numpy_are_read_as_pythons(tmp_path) -> None:
    numbers = {"best": np.float64(76.25), "epoch": np.int32(-3), "done": np.bool_(True), "half": np.float16(0.5)}
    numbers["other_order"] = np.dtype(">f4").type(1.5)
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), **numbers}, tmp_path / "a.pth")
    content = open_safely(tmp_path / "a.pth")
    assert {name: content[name] for name in numbers} == numbers and type(content["best"]) is float
    torch.save({"state_dict": {}, "x": np.zeros(1, dtype=object)}, tmp_path / "array.pth")
    with pytest.raises(UserError, match="array.pth"):
        open_safely(tmp_path / "array.pth")
