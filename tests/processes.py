"""Running the scripts as a user does."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY


def run_script(
    script: str, *arguments: str | Path, processes: int = 1, **environment: str
) -> subprocess.CompletedProcess:
    """Run a script of the repository's root, under torchrun for more than one process."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [str(REPOSITORY / script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment
    )


def table_rows(printed: str) -> list[list[str]]:
    """The cells of the first Markdown table in what a script printed, without its head."""
    lines = printed[printed.index("|") :].partition("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:]]
