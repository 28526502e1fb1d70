"""Run the campaigns and print their table."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from evaluation.markdown import markdown_table
from faults import config, damage, hostile, images, kills
from faults.campaign import Tally
from training.run_folder import describe_environment

# name -> campaign, trials in the small version, trials in the full one
CAMPAIGNS: dict[str, tuple[Callable[[Path, int], Tally], int, int]] = {
    "kills": (kills.random_kills, 3, 60),
    "kills_with_workers": (partial(kills.random_kills, workers=1), 0, 40),
    "kills_under_torchrun": (kills.kills_of_real_processes, 0, 20),
    "lost_ranks": (kills.lost_ranks, 0, 10),
    "writing": (kills.kills_while_writing, 4, 1000),
    "signals": (kills.signals, 4, 40),
    "bits": (damage.flipped_bits, 4, 200),
    "truncations": (damage.truncations, 2, 40),
    "tables": (damage.damaged_tables, 2, 60),
    "files": (damage.damaged_files, 4, 200),
    "disks": (damage.full_disks, 2, 40),
    "read_only": (damage.read_only_disks, 2, 40),
    "images": (images.mutated_images, 280, 10_000),
    "hostile": (hostile.hostile_files, 11, 44),
    "values": (config.wrong_values, 40, 1000),
    "twice": (damage.two_at_once, 1, 10),
}


def main() -> None:
    """Command line of the campaigns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="as many trials as in faults/results.md")
    parser.add_argument("--only", nargs="+", choices=CAMPAIGNS, default=list(CAMPAIGNS), metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)  # runs are forks of this process
    tallies = []
    for name in options.only:
        campaign, small, full = CAMPAIGNS[name]
        trials = full if options.full else small
        if trials:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                tallies.append(campaign(Path(folder), trials))
            print(f"{name}: {tallies[-1].tried} trials in {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(f"{describe_environment()}\n")
    print(markdown_table([_row(tally) for tally in tallies]))
    for tally in tallies:
        print(*(f"\n{tally.name}: {line}" for line in [*tally.notes, *tally.wrong]), sep="")
    sys.exit(any(tally.wrong for tally in tallies))


def _row(tally: Tally) -> dict[str, str]:
    counts = {"tried": tally.tried, "right": tally.right, "wrong": len(tally.wrong)}
    return {"campaign": tally.name} | {key: str(value) for key, value in counts.items()}


if __name__ == "__main__":
    main()
