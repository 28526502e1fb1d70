#!/usr/bin/env python3
"""Evaluate a checkpoint, or pretrained timm weights, on a folder of images."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from torch import nn

from models.released import recognise
from training.checkpoint import load_weights, read_description, read_weights
from training.complexity import count_multiply_adds, count_parameters
from training.config import DataConfig
from training.data import check_outputs, evaluation_loader, open_dataset, preprocessing
from training.distributed import Processes, join_processes, leave_processes
from training.errors import UserError, errors_for_people
from training.evaluation import Numerics, Scores, evaluate
from training.network import check_input_size, create_network, rebuild_network

FLAGS = {
    "data.dir": "--data-dir",
    "data.dataset": "--dataset",
    "data.train_split, data.val_split": "--split",
    "data.download=true": "--download",
    "data.image_size": "--image-size",
    "model.name": "--model",
    "model.pretrained": "--pretrained",
    "model.options": "--option",
    "training.device": "--device",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of validate.py."""
    options = parse_arguments(arguments)
    with errors_for_people(), keys_as_flags():
        processes = join_processes(options.device)
        name, network, image_defaults = load_network(options)
        scores, input_size = score(network, image_defaults, options, processes)
        if processes.is_first:
            weights = options.checkpoint or ("pretrained" if options.pretrained else "random")
            show({"model": name, "weights": weights, **figures_of(network, scores, input_size)})
        leave_processes()


@contextmanager
def keys_as_flags() -> Iterator[None]:
    """Let errors name the flag where they name the configuration key of train.py."""
    try:
        yield
    except UserError as error:
        text = error.one_line()
        for key, flag in FLAGS.items():
            text = text.replace(key, flag)
        raise type(error)(text) from error


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; preprocessing that is not given comes from the checkpoint or the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", metavar="NAME", help="timm name; this project's checkpoints and released ones tell")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="FILE", help=".pt, .pth or .safetensors")
    weights.add_argument("--pretrained", action="store_true", help="timm's weights of this name")
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction, default=True, help="averaged weights if any")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="of the network's constructor"
    )
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the class folders, or a folder with val/")
    parser.add_argument("--dataset", default="", help="as data.dataset of train.py, e.g. torch/cifar10")
    parser.add_argument("--download", action="store_true", help="of torch/... data sets that are missing in DIR")
    parser.add_argument("--split", help="folder or split; by default val/ if it is there, else DIR itself")
    parser.add_argument("--image-size", type=int, metavar="PIXELS")
    parser.add_argument("--crop-pct", type=float, metavar="FRACTION")
    parser.add_argument("--interpolation", choices=["bilinear", "bicubic", "nearest"])
    parser.add_argument("--mean", type=float, nargs=3)
    parser.add_argument("--std", type=float, nargs=3)
    parser.add_argument("--batch-size", type=int, default=128, help="per process [%(default)s]")
    parser.add_argument("--workers", type=int, help="loader processes; by default one a core, at most 8")
    parser.add_argument("--device", help="cuda or cpu; by default a GPU where there is one")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    if not options.model and not options.checkpoint:
        parser.error("give --model NAME, --checkpoint FILE or both")
    return options


def load_network(options: argparse.Namespace) -> tuple[str, nn.Module, dict[str, Any]]:
    """Name and network with its weights, and the preprocessing its checkpoint names (empty for the network's own).

    Raises:
        UserError: the network is unknown, or the checkpoint unreadable or of another network.
    """
    known = read_description(options.checkpoint) if options.checkpoint else None
    arguments = dict(parse_option(text) for text in options.option)
    if known is None:
        if not options.model:
            options.model, sizes = recognise_network(options.checkpoint)
            arguments = sizes | arguments
        network = create_network(options.model, pretrained=options.pretrained, **arguments)
    else:
        if options.model and options.model != known["name"]:
            raise UserError(f"{options.checkpoint} holds weights of {known['name']}, not of {options.model}")
        network = rebuild_network(known, **arguments)
    if options.checkpoint:
        load_weights(network, read_weights(options.checkpoint, use_ema=options.ema), options.checkpoint)
    return options.model or known["name"], network, known["preprocessing"] if known else {}


def recognise_network(checkpoint: str) -> tuple[str, dict[str, Any]]:
    """The network that a released file belongs to, and the options that give it the file's shapes.

    Raises:
        UserError: it is none of the released layouts.
    """
    weights = read_weights(checkpoint)
    try:
        layout = recognise(weights)
    except ValueError as error:
        raise UserError(f"{checkpoint} does not say which network it belongs to; add --model NAME ({error})") from None
    return layout.model, layout.options


def parse_option(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE, with the value in YAML."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--option: expected KEY=VALUE, got {text!r}")
    return key, yaml.safe_load(value)


def score(
    network: nn.Module, image_defaults: dict[str, Any], options: argparse.Namespace, processes: Processes
) -> tuple[Scores, tuple[int, int, int]]:
    """Evaluate; also returns the input size (C, H, W)."""
    has_val = not options.dataset and (Path(options.data_dir) / "val").is_dir()
    data = image_configuration(
        dir=options.data_dir,
        dataset=options.dataset,
        download=options.download,
        val_split=options.split or ("val" if has_val or options.dataset else "."),
        image_size=image_defaults.get("input_size", [None])[-1] if options.image_size is None else options.image_size,
        crop_pct=image_defaults.get("crop_pct") if options.crop_pct is None else options.crop_pct,
        interpolation=options.interpolation or image_defaults.get("interpolation"),
        mean=options.mean or image_defaults.get("mean"),
        std=options.std or image_defaults.get("std"),
        num_workers=options.workers,
        val_batch_size=options.batch_size,
    )
    image = preprocessing(data, network, use_test_size=True)
    check_input_size(network, image["input_size"])
    with processes.first_process_first():
        dataset = open_dataset(data, data.val_split, is_training=False, batch_size=options.batch_size, seed=0)
    check_outputs(dataset, network.num_classes)
    numerics = Numerics(processes.device, options.precision, options.channels_last)
    network.to(device=processes.device, memory_format=numerics.memory_format)
    loader = evaluation_loader(dataset, data, image, processes)
    show_progress = processes.is_first and sys.stderr.isatty()
    return evaluate(network, loader, processes, numerics, show_progress=show_progress), image["input_size"]


def image_configuration(**values: Any) -> DataConfig:
    """The values of the command line, checked as those of a configuration file.

    Raises:
        UserError: one is out of range.
    """
    try:
        return DataConfig(**values)
    except ValidationError as error:
        flags = {"num_workers": "workers", "val_batch_size": "batch-size"}
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise UserError(f"--{flags.get(key, key.replace('_', '-'))}: {first['msg']}, got {first['input']}") from None


def figures_of(network: nn.Module, scores: Scores, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """Scores, size and cost of a network, by name."""
    return {
        "image_size": input_size[-1],
        **asdict(scores),
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(network, input_size),
    }


def show(figures: dict[str, Any]) -> None:
    """Print a table for people, and one JSON line for programs."""
    readable = {
        "model": figures["model"],
        "weights": figures["weights"],
        "top-1": f"{figures['top1']:.2f} %",
        "top-5": f"{figures['top5']:.2f} %",
        "loss": f"{figures['loss']:.4f}",
        "images": f"{figures['num_images']} of {figures['image_size']}x{figures['image_size']} pixels",
        "parameters": f"{figures['parameters'] / 1e6:.4g} M",
        "multiply-adds": f"{figures['multiply_adds'] / 1e9:.3g} G",
        "images/s": f"{figures['images_per_second']:.0f}",
    }
    for name, value in readable.items():
        print(f"{name:<14} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
