"""torch.hub lists and builds the models."""

import subprocess
import sys

from conftest import REPOSITORY


def test_torch_hub_lists_and_builds_the_models(tmp_path) -> None:
    code = f"""
import torch, importlib.util
spec = importlib.util.spec_from_file_location("hubconf", {str(REPOSITORY / "hubconf.py")!r})
hubconf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hubconf)
entries = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
assert len(entries) == len(hubconf.sys.modules["dcls.models"].NAMES), entries
model = torch.hub.load(
    {str(REPOSITORY)!r}, "convnext_atto_dcls_gaussian", source="local", num_classes=3, dims=[8, 8, 8, 8]
)
assert model.num_classes == 3
"""
    # In a process of its own: there the models are dcls.models, here they are models.
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=200)
