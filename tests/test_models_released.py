"""Released checkpoints: recognised, converted, equal to the reference; hostile and wrong files refused."""

import argparse
import ast
import hashlib
import io
import json
import os
import pathlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import timm
import torch
from conftest import REPOSITORY
from processes import run_script
from safetensors.torch import save_file
from torch import nn

import dcls
from dcls.checkpoints import read_weights
from models.loading import load_model, load_weights
from models.released import RELEASES, download, recognise, to_model
from parity.reference import VERSIONS, put_reference_layers

SAMPLES = REPOSITORY.parent / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the released samples lie outside this repository")
KEYS = {
    "audio_convformer_s18_gauss": "convformer_s18_dcls_audio",
    "audio_convnext_tiny_gauss": "convnext_tiny_dcls_audio",
    "caformer_s18_v1": "caformer_s18_dcls_bilinear",
    "convformer_s18_v1": "convformer_s18_dcls_bilinear",
    "convnext_base_v0": "convnext_base_dcls_bilinear_unnormalized",
    "convnext_small_v0": "convnext_small_dcls_bilinear_unnormalized",
    "convnext_tiny_gauss": "convnext_tiny_dcls_gaussian",
    "convnext_tiny_v0": "convnext_tiny_dcls_bilinear_unnormalized",
    "fastvit_sa24_v1": "fastvit_sa24_dcls_bilinear",
    "fastvit_sa36_v1": "fastvit_sa36_dcls_bilinear",
    "resnet50_v0": "resnet50_dcls_bilinear_unnormalized",
}


def sample_files() -> list[Path]:
    return sorted(f for f in (SAMPLES / "released").glob("*/*") if f.suffix in (".pth", ".tar"))


@needs_samples
@pytest.mark.parametrize("index", range(3))
def test_samples_give_the_references_logits(index) -> None:
    file = sample_files()[index]
    layout = recognise(read_weights(file))
    model = timm.create_model(layout.model, num_classes=layout.num_classes, **layout.options).eval()
    load_weights(model, read_weights(file), file)
    expected = torch.load(file.parent / "io.pt", weights_only=True)
    with torch.no_grad():
        logits = model(expected["input"])
    assert (logits - expected["logits"]).abs().max() < 1e-5 * expected["logits"].abs().max()


def shapes_of(layout: str) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    lines = (SAMPLES / "keys" / f"{layout}.txt").read_text().splitlines()
    found = {}
    for line in lines:
        name, shape, dtype = line.split("\t")
        found[name] = ast.literal_eval(shape), getattr(torch, dtype.removeprefix("torch."))
    return found


@needs_samples
@pytest.mark.parametrize("layout", KEYS)
def test_full_size_layouts_are_recognised_and_fit(layout) -> None:
    shared: dict[tuple, torch.Tensor] = {}
    state = {}
    for name, (shape, dtype) in shapes_of(layout).items():
        value = torch.zeros(shape, dtype=dtype)
        if name.endswith((".P", ".SIG")):  # a stage's layers have the same values
            value = shared.setdefault((name.rpartition(".")[2], shape), value)
        state[name] = value
    found = recognise(state)
    assert found.model == KEYS[layout]
    model = timm.create_model(found.model)
    converted = to_model(state, model)
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    assert all(converted[name].shape == tensor.shape for name, tensor in expected.items())


def tiny_reference() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """timm's ResNet-50 with narrow layers, the reference's layers in it, and its state under the released names."""
    torch.manual_seed(0)
    sizes = dict(layers=(1, 1, 1, 1), num_classes=5)
    model = timm.create_model("resnet50", **sizes)
    ours = timm.create_model("resnet50_dcls_bilinear_unnormalized", kernel_count=5, dilated_kernel_size=7, **sizes)
    with torch.no_grad():
        for layer in put_reference_layers(model, ours).values():
            layer.P.uniform_(-3, 3)
    return model.eval(), model.state_dict()


def test_a_resnet_with_unshared_positions_equals_the_reference(tmp_path) -> None:
    theirs, state = tiny_reference()
    torch.save(
        {"state_dict": {k: torch.zeros_like(v) for k, v in state.items()}, "state_dict_ema": state},
        tmp_path / "r.pth.tar",
    )
    layout = recognise(read_weights(tmp_path / "r.pth.tar"))
    assert (layout.model, layout.depths) == ("resnet50_dcls_bilinear_unnormalized", (1, 1, 1, 1))
    ours = timm.create_model(layout.model, num_classes=layout.num_classes, **layout.options).eval()
    load_weights(ours, read_weights(tmp_path / "r.pth.tar"), "r.pth.tar")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


class Hostile:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "args": Hostile()}, "hostile.pth.tar")
    with pytest.raises(ValueError, match=r"asks to run code .*system.*refused"):
        read_weights("hostile.pth.tar")
    assert not Path("harmed").exists()


def test_options_of_a_training_are_allowed(tmp_path) -> None:
    _, state = tiny_reference()
    options = argparse.Namespace(output=pathlib.PosixPath("/x"))
    torch.save({"state_dict": state, "args": options}, tmp_path / "file.pth.tar")
    assert read_weights(tmp_path / "file.pth.tar").keys() == state.keys()


def test_truncated_unknown_and_missing_files_are_named(tmp_path) -> None:
    _, state = tiny_reference()
    torch.save({"model": state}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:100_000])
    with pytest.raises(ValueError, match="is no checkpoint, or it is damaged.*download it again"):
        read_weights(tmp_path / "half.pth")
    with pytest.raises(ValueError, match="no checkpoint file"):
        read_weights(tmp_path / "none.pth")
    save_file({"some.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="layout is unknown.*some.weight"):
        recognise(read_weights(tmp_path / "other.safetensors"))
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(tmp_path / "none.pth")


def test_another_model_or_interpolation_is_named() -> None:
    _, state = tiny_reference()
    narrow = dict(layers=(1, 1, 1, 1), num_classes=5)
    with pytest.raises(ValueError, match="ResNet.*resnet50_dcls_bilinear_unnormalized; it does not fit a ConvNeXtDcls"):
        load_weights(timm.create_model("convnext_atto_dcls_gaussian"), state, "file.pth")
    with pytest.raises(ValueError, match="bilinear_unnormalized.*the model's interpolation is gaussian"):
        model = timm.create_model("resnet50_dcls_bilinear_unnormalized", interpolation="gaussian", **narrow)
        load_weights(model, state, "file.pth")
    with pytest.raises(ValueError, match="does not fit ResNetDcls: 1 missing, such as fc.bias"):
        model = timm.create_model("resnet50_dcls_bilinear_unnormalized", layers=(1, 1, 1, 1), num_classes=5)
        load_weights(model, {name: value for name, value in state.items() if name != "fc.bias"}, "less.pth")


def test_aliases_of_shared_positions_must_be_equal() -> None:
    model = timm.create_model("convnext_tiny_dcls_gaussian", depths=(2, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=3)
    assert isinstance(model.stages[0].blocks[1].conv_dw, dcls.Dcls2d)
    state = released_names(model)
    assert to_model(state, model).keys() == model.state_dict().keys()
    state["stages.0.1.dwconv.P"] = state["stages.0.1.dwconv.P"] + 1
    with pytest.raises(ValueError, match=r"stages\.0\.1\.dwconv\.P differs"):
        to_model(state, model)


def released_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """A ConvNeXt's weights under the names of the released files."""
    state = {}
    for name, value in model.state_dict().items():
        if ".shared." in name:
            continue
        new = name.replace("stem.", "downsample_layers.0.").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        for stage in range(4):
            new = new.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        state[new.replace(".blocks.", ".").replace("head.norm", "norm").replace("head.fc", "head")] = value
    for index, stage in enumerate(model.stages):
        for block in range(len(stage.blocks)):
            state[f"stages.{index}.{block}.dwconv.P"] = stage.blocks[0].conv_dw.positions.detach().flip(0)
            state[f"stages.{index}.{block}.dwconv.SIG"] = stage.blocks[0].conv_dw.sigma.detach().flip(0)
    return state


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


class Zenodo(BaseHTTPRequestHandler):
    """Serves one file and its record; the first answer may end early, as a lost connection does."""

    content, name = b"", ""
    cut_after: int | None = None
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if "/api/" in self.path:
            digest = hashlib.md5(self.content).hexdigest()
            record = {"files": [{"key": self.name, "size": len(self.content), "checksum": f"md5:{digest}"}]}
            body, status = json.dumps(record).encode(), 200
        else:
            wanted = self.headers.get("Range")
            self.ranges.append(wanted)
            start = int(wanted[6:-1]) if wanted else 0
            body, status = self.content[start:], 206 if wanted else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if "/api/" not in self.path and type(self).cut_after is not None:
            body, type(self).cut_after = body[: type(self).cut_after], None
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def zenodo(monkeypatch, tmp_path):
    """A stand-in for Zenodo on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Zenodo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "ZENODO", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    Zenodo.ranges.clear()
    Zenodo.cut_after = None
    yield Zenodo
    server.shutdown()


def test_a_download_that_was_cut_off_is_resumed_and_checked(zenodo, tmp_path) -> None:
    release = RELEASES[0]
    zenodo.name, zenodo.content, zenodo.cut_after = release.file, os.urandom(300_000), 100_000
    with pytest.raises(ValueError, match=r"cannot download .*100000 of 300000 bytes.*the next try continues"):
        download.fetch(release, tmp_path)
    path = download.fetch(release, tmp_path)
    assert path.read_bytes() == zenodo.content
    assert zenodo.ranges == [None, "bytes=100000-"]
    assert download.fetch(release, tmp_path) == path and len(zenodo.ranges) == 2, "what is there is not fetched again"
    assert {f.name for f in tmp_path.iterdir() if f.is_file()} == {release.file, f"{release.file}.lock"}


def test_a_damaged_download_is_thrown_away(zenodo, tmp_path) -> None:
    release = RELEASES[0]
    zenodo.name, zenodo.content = release.file, b"right"
    (tmp_path / f"{release.file}.part").write_bytes(b"wrong")
    with pytest.raises(ValueError, match="arrived damaged"):
        download.fetch(release, tmp_path)
    assert download.fetch(release, tmp_path).read_bytes() == b"right"


def test_pretrained_fetches_converts_and_loads(zenodo) -> None:
    sizes = dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    source = timm.create_model("convnext_tiny_dcls_gaussian", **sizes).eval()
    file = io.BytesIO()
    torch.save({"model": released_names(source)}, file)
    zenodo.name, zenodo.content = "convnext_dcls_gauss_tiny_1k_224_ema.pth", file.getvalue()
    x = torch.randn(1, 3, 64, 64)
    for name in ("convnext_tiny_dcls_gaussian", "convnext_tiny_dcls_gaussian.released"):
        model = timm.create_model(name, pretrained=True, **sizes).eval()
        assert torch.equal(model(x), source(x))
    fewer = timm.create_model("convnext_tiny_dcls_gaussian", pretrained=True, num_classes=3, in_chans=1, **sizes)
    assert fewer.head.fc.out_features == 3
    assert torch.equal(fewer.stages[2].blocks[0].conv_dw.positions, source.stages[2].blocks[0].conv_dw.positions)
    assert timm.models.is_model_pretrained("convnext_tiny_dcls_gaussian")


def test_every_release_belongs_to_a_registered_model() -> None:
    assert len(RELEASES) == 12 and len({release.file for release in RELEASES}) == 12
    for release in RELEASES:
        assert timm.is_model(release.model) and release.url.startswith(
            f"https://zenodo.org/records/{release.record}/files/"
        )
    assert set(VERSIONS) == set(dcls.INTERPOLATIONS)
