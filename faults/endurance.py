"""A run of very many short epochs: do memory and open files stay flat?

python -m faults.endurance --minutes 60
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from faults.tiny import REPOSITORY, write_config
from training.run_folder import describe_environment

INTERVAL = 2.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Look:
    """The training process and its loader processes at one moment."""

    epochs: int
    megabytes: float
    files: int


def processes_of(process: int) -> list[int]:
    """Return a process and all those that it has started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(inner for child in children for inner in processes_of(int(child)))]


def look(process: int, metrics: Path) -> Look:
    """Count what all processes of a run hold."""
    pages = files = 0
    for each in processes_of(process):
        pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        files += len(os.listdir(f"/proc/{each}/fd"))
    epochs = metrics.read_text().count("\n") - 1 if metrics.exists() else 0
    return Look(epochs, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files)


def endure(folder: Path, minutes: float) -> list[Look]:
    """Train with 2 workers until the time is up."""
    config = write_config(folder, workers=2)
    command = [sys.executable, "train.py", "--config", str(config), "checkpoint.name=long", "schedule.epochs=1000000"]
    looks: list[Look] = []
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end and process.poll() is None:
            time.sleep(INTERVAL)
            try:
                looks.append(look(process.pid, folder / "runs" / "long" / "metrics.csv"))
            except OSError:  # a process ended in between
                continue
    finally:
        process.terminate()
        process.wait(timeout=60)
    return looks


def main() -> None:
    """Print what the run held after a tenth of its time, in the middle and at its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        looks = endure(Path(folder), options.minutes)
    print(f"{describe_environment()}\n")
    print("| epochs | memory of all processes, MB | open files |\n|---|---|---|")
    for place in (len(looks) // 10, len(looks) // 2, len(looks) - 1):
        seen = looks[place]
        print(f"| {seen.epochs} | {seen.megabytes:.1f} | {seen.files} |")


if __name__ == "__main__":
    main()
