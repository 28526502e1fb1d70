"""What others install: the layer with torch alone, the variants as dcls.models, and no generic name."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY

import dcls


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    result = subprocess.run(build, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def site(distributions, tmp_path_factory) -> Path:
    """Somebody's project with a package ``models`` of its own, and the content of the wheel beside it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(next(distributions.glob("*.whl"))).extractall(folder)
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text("MINE = True\n")
    return folder


def run_python(code: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_brings_no_generic_name(distributions) -> None:
    names = zipfile.ZipFile(next(distributions.glob("*.whl"))).namelist()
    assert {name.split("/")[0] for name in names} == {"dcls", f"dcls_imagenet-{dcls.__version__}.dist-info"}
    assert {"dcls/py.typed", "dcls/depthwise/native.cpp", "dcls/models/released/releases.py"} <= set(names)


@pytest.mark.parametrize("checker", [["twine", "check", "--strict"], ["check_wheel_contents"]])
def test_distributions_pass_the_checkers(distributions, checker) -> None:
    pattern = "*" if checker[0] == "twine" else "*.whl"
    files = [str(file) for file in distributions.glob(pattern)]
    result = subprocess.run([sys.executable, "-m", *checker, *files], capture_output=True, text=True, timeout=100)
    assert result.returncode == 0 and "WARN" not in result.stdout, result.stdout + result.stderr


def test_the_layer_imports_torch_alone(site) -> None:
    hide = "import sys\nfor name in {names}: sys.modules[name] = None\n"
    absent = hide.format(names=["timm", "torchvision", "numpy", "safetensors", "PIL", "yaml", "pydantic", "matplotlib"])
    code = (
        absent
        + "import dcls, torch; print(dcls.__file__, dcls.Dcls2d(4, 4, 3, 9, groups=4)(torch.ones(1, 4, 9, 9)).shape)"
    )
    printed = run_python(code, site)
    assert printed.startswith(str(site)) and "torch.Size([1, 4, 1, 1])" in printed


def test_variants_beside_a_package_models_of_their_own(site) -> None:
    code = """
import json, models, timm
import dcls.models
from dcls.models.loading import load_model
from safetensors.torch import save_file
from dcls.checkpoints.description import METADATA_KEY, ModelDescription
options = dict(dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
net = timm.create_model("convnext_atto_dcls_gaussian", num_classes=3, **options)
description = ModelDescription(name="convnext_atto_dcls_gaussian", num_classes=3, options=options)
save_file(net.state_dict(), "net.safetensors", metadata={METADATA_KEY: json.dumps(description.to_dict())})
again, _ = load_model("net.safetensors")
print(models.MINE, type(again).__module__, models.__file__)
"""
    assert run_python(code, site).startswith(f"True dcls.models.convnext_dcls {site}")


@pytest.mark.parametrize("own_first", [False, True])
def test_torch_hub_beside_a_package_models_of_their_own(tmp_path, own_first) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("MINE = True\n")
    load = f"""
import torch
net = torch.hub.load({str(REPOSITORY)!r}, "convnext_atto_dcls_gaussian", source="local", dims=[8, 8, 8, 8])
assert type(net).__module__ == "dcls.models.convnext_dcls"
"""
    own = "import models; assert models.MINE\n"
    run_python(own + load if own_first else load + own, tmp_path)
