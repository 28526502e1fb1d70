"""Released checkpoints: recognized, converted, equal to the reference; hostile and wrong files refused."""

import ast
from pathlib import Path

import pytest
import timm
import torch
from conftest import REPOSITORY
from released_files import released_names, tiny_reference

import dcls
from dcls.checkpoints import read_weights
from models.loading import load_weights
from models.released import recognize, to_model

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
    layout = recognize(read_weights(file))
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
def test_full_size_layouts_are_recognized_and_fit(layout) -> None:
    shared: dict[tuple, torch.Tensor] = {}
    state = {}
    for name, (shape, dtype) in shapes_of(layout).items():
        value = torch.zeros(shape, dtype=dtype)
        if name.endswith((".P", ".SIG")):  # a stage's layers have the same values
            value = shared.setdefault((name.rpartition(".")[2], shape), value)
        state[name] = value
    found = recognize(state)
    assert found.model == KEYS[layout]
    model = timm.create_model(found.model)
    converted = to_model(state, model)
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    assert all(converted[name].shape == tensor.shape for name, tensor in expected.items())


def test_a_resnet_with_unshared_positions_equals_the_reference(tmp_path) -> None:
    theirs, state = tiny_reference()
    torch.save(
        {"state_dict": {k: torch.zeros_like(v) for k, v in state.items()}, "state_dict_ema": state},
        tmp_path / "r.pth.tar",
    )
    layout = recognize(read_weights(tmp_path / "r.pth.tar"))
    assert (layout.model, layout.depths) == ("resnet50_dcls_bilinear_unnormalized", (1, 1, 1, 1))
    ours = timm.create_model(layout.model, num_classes=layout.num_classes, **layout.options).eval()
    load_weights(ours, read_weights(tmp_path / "r.pth.tar"), "r.pth.tar")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_aliases_of_shared_positions_must_be_equal() -> None:
    model = timm.create_model("convnext_tiny_dcls_gaussian", depths=(2, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=3)
    assert isinstance(model.stages[0].blocks[1].conv_dw, dcls.Dcls2d)
    state = released_names(model)
    assert to_model(state, model).keys() == model.state_dict().keys()
    state["stages.0.1.dwconv.P"] = state["stages.0.1.dwconv.P"] + 1
    with pytest.raises(ValueError, match=r"stages\.0\.1\.dwconv\.P differs"):
        to_model(state, model)
