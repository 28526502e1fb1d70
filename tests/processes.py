"""Running the scripts as a user does, in processes of their own.

Importing torch and timm takes most of the time of a short run. A process that has imported them is therefore started
once, by the standard library's "forkserver", and every run of a script is a fork of it.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from conftest import REPOSITORY

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["train", "validate", "reproduction.plot"])
_TIMEOUT = 500  # seconds


def run_script(
    script: str | Path, *arguments: str | Path, processes: int = 1, **environment: str
) -> subprocess.CompletedProcess:
    """Run a script of the repository's root, under torchrun for more than one process."""
    command = [str(REPOSITORY / script), *map(str, arguments)]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    if processes == 1:
        return _run_fork(command, variables)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*torchrun, *command], capture_output=True, text=True, timeout=_TIMEOUT, env=variables)


def _run_fork(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = _FORKS.Process(target=_be_script, args=(command, variables, out.name, err.name, os.getcwd()))
        process.start()
        process.join(_TIMEOUT)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, _TIMEOUT)
        return subprocess.CompletedProcess(command, process.exitcode, *(Path(f.name).read_text() for f in (out, err)))


def _be_script(command: list[str], variables: dict[str, str], out: str, err: str, folder: str) -> None:
    """Behave as ``python script arguments`` does, from the file of the script to what runs at its exit."""
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
    multiprocessing.set_start_method(None, force=True)  # the system's own, for what the script starts
    torch.set_num_threads(1)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def table_rows(printed: str) -> list[list[str]]:
    """The cells of the first Markdown table in what a script printed, without its head."""
    lines = printed[printed.index("|") :].partition("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:]]
