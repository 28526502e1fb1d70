#!/usr/bin/env python3
"""Turn a released checkpoint into this project's format, or list all known releases.

    scripts/convert_checkpoint.py convnext_dcls_gauss_tiny_1k_224_ema.pth convnext_tiny_dcls_gauss.safetensors
    scripts/convert_checkpoint.py --list

The layout is told from the file's keys and shapes. The result knows its network and preprocessing, and is what
validate.py and train.py (model.initial_checkpoint) take.
"""

import argparse
from pathlib import Path

from timm.data import resolve_model_data_config

from models.released import RELEASES, load_released, read_released, recognise
from reproduction.markdown import markdown_table
from training.checkpoint import save_weights
from training.config import ModelConfig
from training.errors import UserError, errors_for_people
from training.network import create_network, describe_network


def main() -> None:
    """Command line of the script."""
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
    with errors_for_people():
        print(convert(options.source, options.target))


def list_releases() -> str:
    """Every release with the network it belongs to, as a Markdown table."""
    return markdown_table(
        [
            {"file": r.file, "record": str(r.record), "network": r.model, "claimed": r.claimed, "source": r.source}
            for r in RELEASES
        ]
    )


def convert(source: Path, target: Path) -> str:
    """Write the file in this project's format; returns what was recognised.

    Raises:
        UserError: the file cannot be read, or its layout is unknown.
    """
    try:
        layout = recognise(read_released(source))
        options = {key: value for key, value in layout.options.items() if key != "num_classes"}
        network = create_network(layout.model, num_classes=layout.num_classes, **options)
        load_released(network, source)
    except ValueError as error:
        raise UserError(str(error)) from None
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    config = ModelConfig(name=layout.model, options=options)
    save_weights(target, network, describe_network(config, layout.num_classes, resolve_model_data_config(network)))
    return f"{source}: {layout}\nwritten: {target}"


if __name__ == "__main__":
    main()
