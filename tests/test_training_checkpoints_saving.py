import os
import time

import pytest
import torch

from dcls.errors import UserError
from training.checkpoints import saving
from training.checkpoints.checkpoint import read_checkpoint
from training.checkpoints.saving import KEPT, CheckpointSaver, link
from training.run_folder import saved_states


def content(updates: int) -> dict:
    return {"updates": updates, "tensors": {"weight": torch.full((3,), float(updates))}, "list": [torch.ones(1)]}


def test_what_is_saved_is_a_copy(tmp_path) -> None:
    saver, state = CheckpointSaver(tmp_path), content(1)
    saver.save(state)
    state["tensors"]["weight"].fill_(-1)
    saver.wait()
    assert torch.equal(read_checkpoint(tmp_path / "last.pt")["tensors"]["weight"], torch.ones(3))


def test_the_last_few_are_kept_and_the_best_is_a_link(tmp_path) -> None:
    saver = CheckpointSaver(tmp_path)
    for updates in range(1, 7):
        saver.save(content(updates), is_best=updates == 2)
    saver.wait()
    assert [int(path.stem) for path in saved_states(tmp_path)] == [6, 5, 4][:KEPT]
    assert read_checkpoint(tmp_path / "best.pt")["updates"] == 2
    assert (tmp_path / "last.pt").samefile(saved_states(tmp_path)[0])
    assert not list(tmp_path.rglob("*.partial"))


def test_training_goes_on_while_the_disk_is_slow(tmp_path, monkeypatch) -> None:
    save_checkpoint = saving.save_checkpoint
    monkeypatch.setattr(saving, "save_checkpoint", lambda *args: (time.sleep(1.0), save_checkpoint(*args)))
    saver, start = CheckpointSaver(tmp_path), time.monotonic()
    saver.save(content(1))
    assert time.monotonic() - start < 0.5
    saver.wait()
    assert (tmp_path / "last.pt").exists()


def test_a_disk_that_refuses_is_told_by_the_next_save(tmp_path, monkeypatch) -> None:
    saver = CheckpointSaver(tmp_path)
    saver.save(content(1))
    saver.wait()
    before = (tmp_path / "last.pt").read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    saver.save(content(2))
    with pytest.raises(UserError, match=r"cannot write .*2\.pt: .*No space left.*; the one written before is kept"):
        saver.save(content(3))
    monkeypatch.undo()
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_disk_without_links_gets_copies(tmp_path, monkeypatch) -> None:
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    (tmp_path / "a").write_text("content")
    monkeypatch.setattr(os, "link", refuse)
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"
