"""Which models the command line stands for."""

from pathlib import Path

import pytest

from dcls.errors import UserError
from evaluation.model_specs import ModelSpec, list_model_specs


def test_names_wildcards_files_and_folders_become_model_specs(tmp_path) -> None:
    names = [spec.model for spec in list_model_specs(["resnet18", "convnext_tiny_dcls_*"], [], False)]
    kinds = ("audio", "bilinear_unnormalized", "gaussian", "triangle")
    assert names == ["resnet18", *[f"convnext_tiny_dcls_{kind}" for kind in kinds]]
    tagged = list_model_specs(["convnext_tiny_dcls_*"], [], True)
    assert [c.model for c in tagged] == [f"convnext_tiny_dcls_{kind}.released" for kind in kinds[:3]]
    for name in ("small/b-seed0", "small/a-seed1", "small/unfinished"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("small/b-seed0/model.safetensors", "small/a-seed1/model.safetensors", "small/unfinished/last.pt"):
        (tmp_path / name).touch()
    (tmp_path / "small/b-seed0/best.pt").touch()
    runs = [tmp_path / "small" / name / "model.safetensors" for name in ("a-seed1", "b-seed0")]
    assert list_model_specs([], [str(tmp_path)], False) == [ModelSpec(None, run) for run in runs]
    (tmp_path / "files").mkdir()
    for name in ("b.pth.tar", "a.pt", "README.md"):
        (tmp_path / "files" / name).touch()
    files = list_model_specs(["resnet18"], [str(tmp_path / "files"), "x.pth"], False)
    found = [tmp_path / "files" / "a.pt", tmp_path / "files" / "b.pth.tar", Path("x.pth")]
    assert files == [ModelSpec("resnet18", file) for file in found]
    with pytest.raises(UserError, match="unfinished holds no finished run; name .*last.pt to evaluate one that is not"):
        list_model_specs([], [str(tmp_path / "small/unfinished")], False)


def test_what_stands_for_no_model_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no model fits 'resnetty"):
        list_model_specs(["resnetty*"], [], False)
    with pytest.raises(UserError, match="no model with pretrained weights fits 'convnext_atto_dcls"):
        list_model_specs(["convnext_atto_dcls*"], [], True)
    with pytest.raises(UserError, match="holds no finished run .model.safetensors. and no file of weights"):
        list_model_specs([], [str(tmp_path)], False)
    for models in (["resnet18", "resnet34"], ["resnet*"]):
        with pytest.raises(UserError, match="give one name, to which all of the files belong"):
            list_model_specs(models, ["a.pth"], False)
