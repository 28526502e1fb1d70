import json
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import REPOSITORY

from dcls.errors import UserError
from training import run_lock
from training.run_lock import FILE


def hold(folder, code: str = "print('held', flush=True); import time; time.sleep(60)") -> subprocess.Popen:
    """A process that holds the folder; it is there when it has said so."""
    program = (
        f"import pathlib\nfrom training.run_lock import run_lock\nwith run_lock(pathlib.Path({str(folder)!r})): {code}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_living_holder_is_named(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    process = hold(folder)
    try:
        with pytest.raises(UserError) as error, run_lock.run_lock(folder):
            pass
        assert f"checkpoint.name: {folder} is in use by process {process.pid} on " in str(error.value)
        assert "SLURM job 77, since 20" in str(error.value)
    finally:
        process.kill()
        process.wait()


def test_a_dead_holder_does_not_block(tmp_path) -> None:
    process = hold(tmp_path)
    process.kill()
    process.wait()
    assert (tmp_path / FILE).exists()
    start = time.monotonic()
    with run_lock.run_lock(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["process"] == os.getpid()
    assert time.monotonic() - start < 5 and list(tmp_path.iterdir()) == []


def test_another_process_with_the_number_of_the_dead_one_does_not_block(tmp_path) -> None:
    (tmp_path / FILE).write_text(json.dumps(run_lock._self() | {"started": "1"}))
    with run_lock.run_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    "content",
    [json.dumps({"host": "elsewhere", "machine": "x", "process": 1}).encode(), b"", b"[1, 2]", b'{"host": "\xe5'],
)
def test_a_silent_holder_elsewhere_is_taken_over_and_a_living_one_is_not(tmp_path, monkeypatch, content) -> None:
    monkeypatch.setattr(run_lock, "SILENCE_SECONDS", 3.0)
    path = tmp_path / FILE
    path.write_bytes(content)
    beat = threading.Timer(1.5, os.utime, [path])
    beat.start()
    with pytest.raises(UserError, match="in use"), run_lock.run_lock(tmp_path):
        pass
    beat.join()
    with run_lock.run_lock(tmp_path):
        assert json.loads(path.read_text())["process"] == os.getpid()


def test_the_holder_shows_that_it_lives(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.05)
    with run_lock.run_lock(tmp_path):
        before = (tmp_path / FILE).stat().st_mtime_ns
        time.sleep(0.5)
        assert (tmp_path / FILE).stat().st_mtime_ns > before


def test_of_many_that_find_a_dead_holder_one_gets_the_folder(tmp_path) -> None:
    process = hold(tmp_path)
    process.kill()
    process.wait()
    code = (
        "import pathlib, sys, time\nfrom training.run_lock import run_lock\n"
        f"with run_lock(pathlib.Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(8)"
    )
    rivals = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    outcomes = [rival.communicate(timeout=100) for rival in rivals]
    assert sorted(out for out, _ in outcomes) == [b"", b"", b"", b"held\n"], outcomes
    assert all(b"is in use by process" in error for out, error in outcomes if not out)


def test_a_folder_that_was_never_used_is_not_left(tmp_path) -> None:
    with pytest.raises(UserError, match="wrong"), run_lock.run_lock(tmp_path / "new"):
        raise UserError("wrong")
    assert not (tmp_path / "new").exists()
