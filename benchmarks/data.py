"""Training images per second and core: timm's pipeline and this project's, on folders and shards, at two sizes.

    python -m benchmarks.data --images DIR > benchmarks/results/data.md

DIR holds JPEG files in a folder a class. They are packed as ImageNet's archive of training images, and
scripts/prepare_imagenet.py makes folders and shards of it, once as they are and once with a shorter side of at most 320
pixels. On each, scripts/benchmark_data.py measures both recipes.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

REPOSITORY = Path(__file__).parent.parent
RECIPES = ("convnext_tiny_dcls_gaussian", "convformer_s18_dcls_gaussian")
LAYOUTS: dict[str, tuple[list[str], list[str]]] = {  # name -> how it is made, how it is opened
    "folders": ([], []),
    "shards": (["--shards"], ["data.dataset=wds/imagenet"]),
}
SIZES: dict[str, list[str]] = {"as they are": [], "at most 320": ["--max-size", "320"]}
Measured = dict[tuple[str, str, str], dict[str, Any]]


def write_training_archive(images: Path, archive: Path) -> None:
    """Pack a folder of classes as ImageNet's archive of training images: a tar of a tar for each class."""
    with tarfile.open(archive, "w") as outer:
        for folder in sorted(path for path in images.iterdir() if path.is_dir()):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for number, file in enumerate(sorted(folder.iterdir())):
                    tar.add(file.resolve(), f"{folder.name}_{number}.JPEG")
            entry = tarfile.TarInfo(f"{folder.name}.tar")
            entry.size = inner.tell()
            outer.addfile(entry, io.BytesIO(inner.getvalue()))


def run_script(name: str, *arguments: str | Path) -> str:
    """Run a script of this project, and return what it printed."""
    command = [sys.executable, str(REPOSITORY / "scripts" / name), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(images: Path, work: Path, settings: Sequence[str]) -> Measured:
    """Return what scripts/benchmark_data.py says of each recipe, layout and size.

    Args:
        work: An empty folder for archives, folders and shards.
        settings: Further arguments for scripts/benchmark_data.py.
    """
    write_training_archive(images, work / "ILSVRC2012_img_train.tar")
    measured = {}
    for layout, (made, opened) in LAYOUTS.items():
        for size, limit in SIZES.items():
            out = work / f"{layout}, {size}"
            run_script(
                "prepare_imagenet.py",
                out,
                "--archives",
                work,
                "--split",
                "train",
                "--no-expect-imagenet",
                *made,
                *limit,
            )
            for recipe in RECIPES:
                config = REPOSITORY / "configs" / "imagenet" / f"{recipe}.yaml"
                printed = run_script("benchmark_data.py", "--config", config, f"data.dir={out}", *opened, *settings)
                measured[recipe, layout, size] = json.loads(printed.splitlines()[-1])
    return measured


def rates(measured: Measured) -> str:
    """Return a table of images a second and core."""
    return _table(
        [
            {
                "recipe": recipe,
                "files": f"{layout}, {size}",
                "timm": f"{numbers['timm_images_per_second_per_core']:.0f}",
                "this project": f"{numbers['images_per_second_per_core']:.0f}",
                "faster": f"{numbers['ratio']:.2f}x",
                "than timm with a prefetcher": f"{numbers['ratio_with_prefetcher']:.2f}x",
            }
            for (recipe, layout, size), numbers in measured.items()
        ]
    )


def steps(measured: Measured) -> str:
    """Return a table of milliseconds an image by step, timm / this project."""
    rows = []
    for (recipe, layout, size), numbers in measured.items():
        timm, ours = numbers["milliseconds_by_step"].values()
        times = {step: f"{timm[step]:.2f} / {ours[step]:.2f}" for step in timm}
        rows.append({"recipe": recipe, "files": f"{layout}, {size}"} | times)
    return _table(rows)


def _table(rows: Sequence[dict[str, str]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folders of JPEG files, one a class")
    parser.add_argument("--batches", default="15", help="of 64 images, for each pipeline (default: %(default)s)")
    options = parser.parse_args()
    if not options.images.is_dir():
        parser.error(f"--images: {options.images} is no folder")
    with tempfile.TemporaryDirectory() as work:
        measured = measure(options.images, Path(work), ["--batches", options.batches])
    environment = next(iter(measured.values()))["environment"]
    print(f"{environment}; one core, medians of {options.batches} batches\n")
    print(f"Images a second and core\n\n{rates(measured)}\n")
    print(f"Milliseconds an image, timm / this project\n\n{steps(measured)}")


if __name__ == "__main__":
    main()
