"""How long a folder of 1.28 million images takes to open, and how much its loader processes grow in an epoch.

    python -m benchmarks.folder_index

makes such a folder of links to small JPEG files (80 MB of names), and removes it in the end.
"""

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from timm.data import ImageDataset
from torch.utils.data import DataLoader

from training.data.dataset import ImageSamples
from training.data.readers import FolderReader
from training.processes.loader_workers import initialize_worker
from training.run_folder import describe_environment

_LINKS = 50_000  # to one file; ext4 takes 65,000
_SAMPLES = 200_000
_BATCH = 500


def make_folder(folder: Path, classes: int, images: int) -> None:
    """Write a folder of classes as ImageNet's, with links to small JPEG files for images.

    Args:
        images: In all classes together.
    """
    generator = random.Random(0)
    originals = folder.with_name(f"{folder.name}_originals")
    originals.mkdir(parents=True)
    for index in range(classes):
        name = f"n{1440000 + 7919 * index:08d}"
        (folder / name).mkdir(parents=True)
        original = originals / f"{index * (images // classes) // _LINKS}.JPEG"
        if not original.exists():
            Image.new("RGB", (16, 16)).save(original)
        for number in generator.sample(range(60 * images // classes), images // classes):
            os.link(original, folder / name / f"{name}_{number}.JPEG")


def private_megabytes(process: int | None) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def opening_seconds(folder: Path) -> tuple[float, float]:
    """Open a folder in a new process; return the seconds on the clock and on the processor."""
    code = (
        "import sys, time; from pathlib import Path; from training.data.readers import FolderReader\n"
        "start = time.perf_counter(), time.process_time(); FolderReader(Path(sys.argv[1]))\n"
        "print(time.perf_counter() - start[0], time.process_time() - start[1])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    clock, processor = map(float, result.stdout.split())
    return clock, processor


def _small(image: Image.Image) -> torch.Tensor:
    return torch.zeros(1)


def worker_megabytes(folder: Path, samples: int, workers: int) -> list[tuple[int, float, float]]:
    """Read images in random order with loader processes.

    Returns:
        Rows of images read, private MB of this process, and of the largest loader process.
    """
    source = ImageSamples(ImageDataset(str(folder), reader=FolderReader(folder)), _small, seed=0)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:samples]
    loader = DataLoader(
        source,
        _BATCH,
        sampler=[(0, index) for index in order.tolist()],
        num_workers=workers,
        worker_init_fn=initialize_worker,
    )
    rows = []
    for batch, _ in enumerate(loader, start=1):
        if batch * _BATCH in (_BATCH, 10_000, 50_000, 100_000, 150_000, 190_000):
            largest = max(private_megabytes(process.pid) for process in multiprocessing.active_children())
            rows.append((batch * _BATCH, private_megabytes(os.getpid()), largest))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_000)
    parser.add_argument("--samples", type=int, default=_SAMPLES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = f"{temporary}/cache"
        folder = Path(temporary) / "train"
        make_folder(folder, 1000, options.images)
        time.sleep(3)  # an index is not kept of a folder that has just changed
        print(f"{describe_environment()}\n")
        print("| opening | seconds | of the processor |\n|---|---|---|")
        for opening in ("first", "second", "third"):
            clock, processor = opening_seconds(folder)
            print(f"| {opening} | {clock:.2f} | {processor:.2f} |", flush=True)
        print("\n| images read | private MB of the main process | of the largest loader process |\n|---|---|---|")
        for count, main_process, largest in worker_megabytes(folder, options.samples, options.workers):
            print(f"| {count:,} | {main_process:.1f} | {largest:.1f} |", flush=True)


if __name__ == "__main__":
    main()
