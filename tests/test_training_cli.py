import re
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY

from dcls.errors import UserError
from training.cli import cli_errors


def test_a_mistake_that_the_first_process_does_not_see_is_told_by_another(monkeypatch, capsys) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("training.cli._MAIN_PROCESS_SECONDS", 0.0)
    with pytest.raises(SystemExit), cli_errors():
        raise UserError("only here", on_every_rank=True)
    assert capsys.readouterr().err == "error: only here\n"


@pytest.mark.parametrize(
    "error, message",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "error: memory is full; lower training.micro_batch_size and"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "error: memory is full; "),
        (MemoryError(), "error: memory is full; lower"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "error: a loader process is killed by signal: Killed, as happens when memory is full; lower data.num_workers"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "error: a loader process exited unexpectedly"),
    ],
)  # fmt: skip
def test_full_memory_is_one_line(capsys, error, message) -> None:
    with pytest.raises(SystemExit) as stop, cli_errors("; continue"):
        raise error
    printed = capsys.readouterr().err
    assert stop.value.code == 1 and printed.startswith(message) and printed.endswith("; continue\n")
    assert printed.count("\n") == 1


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"), cli_errors():
        raise RuntimeError("a bug")


def test_a_killed_loader_process_is_one_line(tiny_config, image_folder) -> None:
    config = tiny_config(data=f"{{dir: {image_folder}, image_size: 32, num_workers: 1}}")
    code = (
        "import os, signal, sys, train\n"
        "from training.data.dataset import ImageSamples\n"
        "ImageSamples._read = lambda self, index: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "--config", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    end = "(is killed by signal: Killed|exited unexpectedly)"  # whichever torch notices first
    assert re.match(
        f"error: a loader process {end}, as happens when memory is full; lower data.num_workers", result.stderr
    )
