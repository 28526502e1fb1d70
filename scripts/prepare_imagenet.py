#!/usr/bin/env python3
"""From ImageNet's official archives to folders of images, or to shards; and the check of what came out.

    scripts/prepare_imagenet.py OUT --archives DIR                            # OUT/train and OUT/val, a folder a class
    scripts/prepare_imagenet.py OUT --archives DIR --max-size 320 --verify    # smaller images, each decoded once
    scripts/prepare_imagenet.py OUT --archives DIR --shards                   # for data.dataset=wds/imagenet
    scripts/prepare_imagenet.py OUT --verify                                  # looks through what is there already

DIR holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz. After an interruption, the
same command continues.
"""

import argparse
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import _checkout  # noqa: F401

from training.cli import cli_errors
from training.data.preparation.prepare import Preparation, prepare
from training.data.preparation.size_limit import SizeLimit
from training.data.preparation.verification import verify
from training.processes.cores import usable_cores
from training.processes.stop_signals import STOP_SIGNALS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the prepared images")
    parser.add_argument("--archives", type=Path, metavar="DIR", help="folder of the official archives")
    parser.add_argument("--split", choices=("train", "val"), help="prepare or verify this one alone")
    parser.add_argument("--shards", action="store_true", help="write tar archives with an index, not folders")
    parser.add_argument(
        "--images-per-shard", type=_whole(1, 10**6), default=5000, help="images in a shard (default: %(default)s)"
    )
    parser.add_argument(
        "--max-size",
        type=_whole(16, 8192),
        help="make images smaller whose shorter side has more pixels, with Pillow's Lanczos filter",
    )
    parser.add_argument(
        "--quality", type=_whole(1, 100), default=95, help="JPEG quality of these (default: %(default)s)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="decode every image once; list those that are broken, CMYK or no JPEG"
    )
    parser.add_argument(
        "--expect-imagenet",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="refuse other numbers than ImageNet's 1,281,167 and 50,000 images of 1,000 classes (default: refuse)",
    )
    parser.add_argument(
        "--workers", type=_whole(1, 1024), default=usable_cores(), help="processes (default: the cores)"
    )
    options = parser.parse_args(arguments)
    if options.archives is None and not options.verify:
        parser.error("give --archives to prepare images, --verify to look through those in OUT, or both")
    splits = (options.split,) if options.split else ("train", "val")
    with cli_errors("; what is finished is kept, and the same command continues"), _ended_as_by_ctrl_c():
        if options.archives is not None:
            prepare(
                Preparation(
                    archives=options.archives,
                    out=options.out,
                    splits=splits,
                    images_per_shard=options.images_per_shard if options.shards else None,
                    limit=SizeLimit(options.max_size, options.quality),
                    workers=options.workers,
                    expect_imagenet=options.expect_imagenet,
                )
            )
        if options.verify:
            verify(options.out, splits, options.workers, options.expect_imagenet)


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Within the block, treat signals that end a process or a cluster's job as Ctrl-C."""
    previous = {number: signal.signal(number, signal.default_int_handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of a whole number within limits, for argparse."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return number


if __name__ == "__main__":
    main()
