import argparse
import pathlib

import timm
import torch
from processes import run_script
from released_files import released_names

from models.loading import load_model


@torch.no_grad()
def test_a_file_is_loaded_without_a_name_and_converted(tmp_path) -> None:
    source = timm.create_model("convnext_tiny_dcls_gaussian", depths=(2, 1, 1, 1), dims=(8, 8, 16, 16), num_classes=3)
    released, converted = tmp_path / "released.pth.tar", tmp_path / "converted.safetensors"
    state = released_names(source.eval())
    weights = {"state_dict": {name: torch.zeros_like(value) for name, value in state.items()}, "state_dict_ema": state}
    torch.save({**weights, "args": argparse.Namespace(output=pathlib.PosixPath("/x"))}, released)
    result = run_script("scripts/convert_checkpoint.py", released, converted)
    assert f"{released}: convnext_tiny_dcls_gaussian, 3 classes, kernel_count 26, depths [2, 1, 1, 1]" in result.stdout
    x = torch.randn(1, 3, 64, 64)
    for file in (released, converted):
        model, description = load_model(file)
        assert description.name == "convnext_tiny_dcls_gaussian" and torch.equal(model(x), source(x))
    assert description.preprocessing.crop_pct == 0.875
    refused = run_script("scripts/convert_checkpoint.py", tmp_path / "absent.pth", converted)
    assert refused.returncode == 1 and refused.stderr.startswith("error: no checkpoint file")
