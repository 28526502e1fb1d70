#!/usr/bin/env python3
"""Turn a released checkpoint into this project's format, or list all known releases.

    scripts/convert_checkpoint.py convnext_dcls_gauss_tiny_1k_224_ema.pth convnext_tiny_dcls_gaussian.safetensors
    scripts/convert_checkpoint.py --list

The layout is recognized by the file's keys and shapes. The result knows its model and preprocessing, and is what
validate.py and train.py (model.initial_checkpoint) take.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import _checkout  # noqa: F401

from evaluation.markdown import markdown_table
from models.loading import load_model, own_preprocessing
from models.released import RELEASES
from training.checkpoints.checkpoint import save_weights
from training.cli import cli_errors


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, metavar="IN", help="file as released")
    parser.add_argument("target", nargs="?", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--list", action="store_true", help="all known releases, and nothing else")
    options = parser.parse_args()
    if options.list:
        print(list_releases())
        return
    if options.source is None or options.target is None or options.target.suffix != ".safetensors":
        parser.error("give IN and OUT.safetensors, or --list")
    with cli_errors():
        print(convert(options.source, options.target))


def list_releases() -> str:
    """Every release with the model it belongs to, as a Markdown table."""
    lines = [
        {"file": r.file, "record": str(r.record), "model": r.model, "reported": r.reported, "source": r.source}
        for r in RELEASES
    ]
    return markdown_table(lines)


def convert(source: Path, target: Path) -> str:
    """Write the file in this project's format; returns what was recognized.

    Raises:
        UserError: the file cannot be read, or its layout is unknown.
    """
    model, description = load_model(source)
    preprocessing = description.preprocessing or own_preprocessing(model)
    save_weights(target, model, replace(description, preprocessing=preprocessing))
    options = ", ".join(f"{key} {value}" for key, value in description.options.items())
    return f"{source}: {description.name}, {description.num_classes} classes, {options}\nwritten: {target}"


if __name__ == "__main__":
    main()
