import argparse
import errno
import os
import pathlib
import pickle
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import safetensors.torch
import timm
import torch
from released_files import tiny_reference
from safetensors.torch import save_file
from small_model import DESCRIPTION, SMALL, assert_equal_weights, small_model
from torch import nn

from dcls.checkpoints import load_exactly, read_description, read_weights
from dcls.checkpoints.reading import BETTER_WEIGHTS, has_worse_average, open_safely
from dcls.errors import UserError
from models.released import recognize
from training.checkpoints.checkpoint import read_checkpoint, save_checkpoint, save_weights


@pytest.fixture
def model() -> nn.Module:
    return small_model()


@pytest.mark.parametrize("layout", ["ours", "safetensors", "plain", "legacy", "timm", "parallel"])
def test_every_layout_of_weights_is_read(model, layout, tmp_path) -> None:
    path = tmp_path / ("weights.safetensors" if layout == "safetensors" else "weights.pt")
    state = model.to(memory_format=torch.channels_last).state_dict()
    if layout == "ours":
        save_checkpoint(path, {"state_dict": state, "description": DESCRIPTION.to_dict()})
        assert read_description(path) == DESCRIPTION
    elif layout == "safetensors":
        save_weights(path, model, DESCRIPTION)
        assert read_description(path) == DESCRIPTION
    elif layout == "plain":
        torch.save(state, path)
        assert read_description(path) is None
    elif layout == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
        assert read_description(path) is None
    elif layout == "timm":
        torch.save({"state_dict": state, "epoch": 3, "arch": "x", "metric": 1.0}, path)
        assert read_description(path) is None
    else:
        torch.save({"module." + name: tensor for name, tensor in state.items()}, path)
    assert_equal_weights(read_weights(path), model)


def test_averaged_weights_are_taken_where_there_are_any(model, tmp_path) -> None:
    averaged = timm.create_model("convnext_atto_dcls_gaussian", **SMALL)
    save_checkpoint(tmp_path / "a.pt", {"state_dict": model.state_dict(), "state_dict_ema": averaged.state_dict()})
    assert_equal_weights(read_weights(tmp_path / "a.pt"), averaged)
    assert_equal_weights(read_weights(tmp_path / "a.pt", use_ema=False), model)
    assert not has_worse_average(tmp_path / "a.pt")


def test_the_better_weights_are_read_where_a_file_says_which(model, tmp_path) -> None:
    averaged = small_model()
    both = {"state_dict": model.state_dict(), "state_dict_ema": averaged.state_dict()}
    for better, expected in (("state_dict", model), ("state_dict_ema", averaged)):
        save_checkpoint(tmp_path / "a.pt", both | {BETTER_WEIGHTS: better})
        assert has_worse_average(tmp_path / "a.pt") == (expected is model)
        assert_equal_weights(read_weights(tmp_path / "a.pt"), expected)
        assert_equal_weights(read_weights(tmp_path / "a.pt", use_ema=True), averaged)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-code-ran",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, "hostile.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Hostile()))
    for read in (read_weights, read_checkpoint, read_description):
        for name, message in (("hostile.pt", r"asks to run code.*\(\w+.mkdir\)"), ("raw.pt", "is no checkpoint")):
            with pytest.raises(UserError, match=f"{name} {message}") as error:
                read(name)
            assert "\n" not in str(error.value)
    assert not Path("hostile-code-ran").exists()


def test_damaged_missing_and_foreign_files_are_named(model, tmp_path) -> None:
    save_checkpoint(tmp_path / "cut.pt", {"state_dict": model.state_dict()})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:5000])
    save_weights(tmp_path / "cut.safetensors", model, DESCRIPTION)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:5000])
    (tmp_path / "empty.pt").touch()
    for name in ("cut.pt", "cut.safetensors", "empty.pt"):
        with pytest.raises(UserError, match=name):
            read_weights(tmp_path / name)
    (tmp_path / "letter.pt").write_text("# no weights here")
    with pytest.raises(UserError) as letter:
        read_weights(tmp_path / "letter.pt")
    assert (
        str(letter.value) == f"{tmp_path / 'letter.pt'} is no checkpoint, or it is damaged; write or download it again"
    )
    with pytest.raises(UserError, match="is a folder; name a file in it, such as .*best.pt"):
        read_weights(tmp_path)
    with pytest.raises(UserError, match="no checkpoint file"):
        read_weights(tmp_path / "nowhere.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list.pt"):
        read_weights(tmp_path / "list.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        read_checkpoint(tmp_path / "foreign.pt")
    save_file({"x": torch.ones(1)}, tmp_path / "foreign.safetensors")
    assert read_description(tmp_path / "foreign.safetensors") is None


@pytest.mark.parametrize(
    "weights, problem",
    [
        ({3: torch.ones(2)}, "3 is not the name of a tensor"),
        ({"weight": torch.ones(2, 3).to_sparse(), "bias": torch.ones(2)}, "weight is sparse"),
        ({"weight": torch.ones(2, 3, device="meta"), "bias": torch.ones(2)}, "weight has no values"),
        ({"weight": torch.ones(2, 3, dtype=torch.complex64), "bias": torch.ones(2)}, "weight is complex"),
        ({"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.ones(2)}, "weight as int8 where the model has float32"),
        ({"weight": torch.ones(2, 3, dtype=torch.bool), "bias": torch.ones(2)}, "weight as bool"),
        ({"weight": torch.full((2, 3), torch.nan), "bias": torch.ones(2)}, "infinite or not numbers, such as weight"),
        ({"weight": torch.full((2, 3), torch.inf), "bias": torch.ones(2)}, "infinite or not numbers, such as weight"),
        ({"weight": torch.ones(1).expand(2, 3), "bias": torch.ones(2)}, "fewer numbers than it says"),
        ({"weight": "ones", "bias": torch.ones(2)}, "holds no weights"),
    ],
)  # fmt: skip
def test_what_are_no_weights_is_refused_with_the_files_name(tmp_path, weights, problem) -> None:
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=rf"a\.pth.*{problem}") as error:
        load_exactly(nn.Linear(3, 2), read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert "\n" not in str(error.value)


def test_archives_and_headers_that_grow_are_refused(tmp_path) -> None:
    with ZipFile(tmp_path / "bomb.pt", "w", ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("bomb/data/0", bytes(10**8))
    with pytest.raises(UserError, match="bomb.pt is no checkpoint: it is a compressed archive"):
        read_weights(tmp_path / "bomb.pt")
    (tmp_path / "huge.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}" * 100)
    for read in (read_weights, read_description):
        with pytest.raises(UserError, match="huge.safetensors is no checkpoint.*header"):
            read(tmp_path / "huge.safetensors")
    (tmp_path / "deep.pt").write_bytes(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")
    with pytest.raises(UserError, match="deep.pt"):
        read_weights(tmp_path / "deep.pt")


class HostileOptions:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "args": HostileOptions()}, "hostile.pth.tar")
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
        recognize(read_weights(tmp_path / "other.safetensors"))
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot read .*: Input/output error"),
        (MemoryError(), "there is not enough memory to read .*, 0 MiB"),
    ],
)
def test_what_the_machine_lacks_is_not_told_as_damage(model, tmp_path, monkeypatch, suffix, error, message) -> None:
    def fail(*_, **__):
        raise error

    file = tmp_path / f"model.{suffix}"
    if suffix == "pt":
        torch.save(model.state_dict(), file)
        monkeypatch.setattr(torch, "load", fail)
    else:
        save_file(model.state_dict(), file)
        monkeypatch.setattr(safetensors.torch, "load_file", fail)
    with pytest.raises(UserError, match=message) as raised:
        open_safely(file)
    assert "damaged" not in str(raised.value)


def test_a_disk_that_fails_within_an_archive_is_not_told_as_damage(model, tmp_path, monkeypatch) -> None:
    torch.save(model.state_dict(), tmp_path / "model.pt")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("zipfile.ZipExtFile.read", fail)
    with pytest.raises(UserError, match="cannot read .*: Input/output error"):
        open_safely(tmp_path / "model.pt")
