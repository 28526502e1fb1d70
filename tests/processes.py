"""Running the scripts as a user does, in processes of their own.

Importing torch and timm takes most of the time of a short run. A process that has imported them is therefore started
once, by the standard library's "forkserver", and every run of a script is a fork of it.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from conftest import REPOSITORY
from torch.distributed.elastic.multiprocessing.errors import record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["train", "validate", "reproduction.plot"])
_TIMEOUT = 500  # seconds


def run_script(
    script: str | Path, *arguments: str | Path, processes: int = 1, **environment: str
) -> subprocess.CompletedProcess:
    """Run a script of the repository's root, under torchrun for more than one process."""
    command = [str(REPOSITORY / script), *map(str, arguments)]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    run = _be_script if processes == 1 else partial(_be_torchrun, processes)
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = _FORKS.Process(target=_fork, args=(run, command, variables, out.name, err.name, os.getcwd()))
        process.start()
        process.join(_TIMEOUT)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, _TIMEOUT)
        return subprocess.CompletedProcess(command, process.exitcode, *(Path(f.name).read_text() for f in (out, err)))


def _fork(
    run: Callable[[list[str]], None], command: list[str], variables: dict[str, str], out: str, err: str, folder: str
) -> None:
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    multiprocessing.set_start_method(None, force=True)  # the system's own, for what the script starts
    torch.set_num_threads(1)
    run(command)


def _be_script(command: list[str]) -> None:
    """Behave as ``python script arguments`` does, from the file of the script to what runs at its exit."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # a fork has the handlers of its launcher
        signal.signal(number, signal.SIG_DFL)
    sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def _be_torchrun(processes: int, command: list[str]) -> None:
    """Behave as ``torchrun --standalone`` does; its processes are forks, too."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=str(uuid.uuid4()), rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", start_method="fork", max_restarts=0,
    )  # fmt: skip
    record(elastic_launch(config, _be_script))(command)


def table_rows(printed: str) -> list[list[str]]:
    """The cells of the first Markdown table in what a script printed, without its head."""
    lines = printed[printed.index("|") :].partition("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:]]
