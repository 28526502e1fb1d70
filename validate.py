#!/usr/bin/env python3
"""Evaluate networks on a folder of images: checkpoints, folders of runs, released files, timm's pretrained weights.

Networks are named, or picked by a wildcard in quotes ('convnext_tiny*'); a folder of runs stands for the last weights
of each. Several come out as one table.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from torch import nn

from training.complexity import count_multiply_adds, count_parameters
from training.config import DataConfig
from training.data import class_names, evaluation_loader, open_dataset, preprocessing
from training.distributed import Processes, join_processes, leave_processes
from training.errors import ConfigError, UserError, errors_for_people
from training.evaluation import Numerics, evaluate
from training.network import check_input_size
from validation.candidates import Candidate, list_candidates
from validation.imagenet import add_real_labels, outputs_of
from validation.table import FORMATS, Figures, markdown, readable, write_results

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
        candidates = list_candidates(options.model, options.checkpoint, options.pretrained)
        results, failures = evaluate_all(candidates, options, processes)
        if processes.is_first:
            show(results)
        leave_processes()
        if failures:
            raise ConfigError(f"{len(failures)} of {len(candidates)} were not evaluated: {'; '.join(failures)}")


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
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="timm names or wildcards; this project's checkpoints and released ones tell theirs",
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="FILE", help=".pt, .pth or .safetensors, or folders of runs"
    )
    weights.add_argument("--pretrained", action="store_true", help="timm's weights of these names")
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction, default=True, help="averaged weights if any")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="of the network's constructor"
    )
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the class folders, or a folder with val/")
    parser.add_argument("--dataset", default="", help="as data.dataset of train.py, e.g. torch/cifar10")
    parser.add_argument("--download", action="store_true", help="of torch/... data sets that are missing in DIR")
    parser.add_argument("--split", help="folder or split; by default val/ if it is there, else DIR itself")
    parser.add_argument(
        "--real-labels", action="store_true", help="ImageNet's validation set also by the labels of ImageNet-ReaL"
    )
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
    parser.add_argument(
        "--results", nargs="+", type=Path, default=[], metavar="FILE", help=f"write the table: {', '.join(FORMATS)}"
    )
    options = parser.parse_args(arguments)
    if not options.model and not options.checkpoint:
        parser.error("give --model NAME, --checkpoint FILE or both")
    for path in options.results:
        if path.suffix not in FORMATS:
            parser.error(f"--results: {path} should end in {', '.join(FORMATS)}")
    return options


@dataclass(frozen=True)
class Task:
    """A network and the images that it will see, which fit each other.

    Attributes:
        model, weights: What the network is, and where its weights are from.
        network: On its device.
        data: What the command line says of the images.
        dataset: The images.
        image: How they are prepared, see ``training.data.preprocessing``.
        outputs: See ``validation.imagenet.outputs_of``.
    """

    model: str
    weights: str
    network: nn.Module
    data: DataConfig
    dataset: Any
    image: dict[str, Any]
    outputs: list[int] | None


def evaluate_all(
    candidates: Sequence[Candidate], options: argparse.Namespace, processes: Processes
) -> tuple[list[Figures], list[str]]:
    """Figures of all networks; of those that cannot be loaded or do not fit the images, why, if they are not alone."""
    results: list[Figures] = []
    failures = []
    for candidate in candidates:
        try:
            task = prepare(candidate, options, processes)
        except UserError as error:
            if len(candidates) == 1:
                raise
            reason = error.one_line()
            failures.append(reason if str(candidate) in reason else f"{candidate}: {reason}")
            continue
        results.append(score(task, options, processes))
        if processes.is_first:
            for path in options.results:
                write_results(path, results)
    return results, failures


def prepare(candidate: Candidate, options: argparse.Namespace, processes: Processes) -> Task:
    """Load the network and open the images.

    Raises:
        UserError: one of them cannot be had, or they do not fit each other.
    """
    with processes.first_process_first() if candidate.pretrained else nullcontext():
        model, network, image_defaults = candidate.load(options.ema, **dict(map(parse_option, options.option)))
    data = image_configuration(options, image_defaults)
    image = preprocessing(data, network, use_test_size=True)
    check_input_size(network, image["input_size"])
    with processes.first_process_first():
        dataset = open_dataset(data, data.val_split, is_training=False, batch_size=options.batch_size, seed=0)
    classes = class_names(dataset)
    outputs = outputs_of(classes, network)
    if options.real_labels:
        add_real_labels(dataset, classes)
    return Task(model, candidate.weights, network, data, dataset, image, outputs)


def parse_option(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE, with the value in YAML."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--option: expected KEY=VALUE, got {text!r}")
    return key, yaml.safe_load(value)


def image_configuration(options: argparse.Namespace, defaults: dict[str, Any]) -> DataConfig:
    """The command line's values, checked as those of a configuration file; preprocessing falls back to ``defaults``.

    Raises:
        UserError: one is out of range.
    """
    has_val = not options.dataset and (Path(options.data_dir) / "val").is_dir()
    given = {"image_size": options.image_size, "crop_pct": options.crop_pct, "interpolation": options.interpolation}
    given |= {"mean": options.mean, "std": options.std}
    wanted = {"image_size": defaults.get("input_size", [None])[-1], **defaults}
    try:
        return DataConfig(
            dir=options.data_dir,
            dataset=options.dataset,
            download=options.download,
            val_split=options.split or ("val" if has_val or options.dataset else "."),
            num_workers=options.workers,
            val_batch_size=options.batch_size,
            **{key: wanted.get(key) if value is None else value for key, value in given.items()},
        )
    except ValidationError as error:
        flags = {"num_workers": "workers", "val_batch_size": "batch-size"}
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise UserError(f"--{flags.get(key, key.replace('_', '-'))}: {first['msg']}, got {first['input']}") from None


def score(task: Task, options: argparse.Namespace, processes: Processes) -> Figures:
    """Evaluate: scores, size and cost, by name.

    Raises:
        UserError: an image cannot be read.
    """
    numerics = Numerics(processes.device, options.precision, options.channels_last)
    network = task.network.to(device=processes.device, memory_format=numerics.memory_format)
    loader = evaluation_loader(task.dataset, task.data, task.image, processes)
    show_progress = processes.is_first and sys.stderr.isatty()
    scores = evaluate(network, loader, processes, numerics, outputs=task.outputs, show_progress=show_progress)
    return {
        "model": task.model,
        "weights": task.weights,
        "data": str(Path(task.data.dir) / task.data.val_split),
        "num_classes": len(task.outputs or range(network.num_classes)),
        "image_size": task.image["input_size"][-1],
        **{name: value for name, value in asdict(scores).items() if value is not None},
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(network, task.image["input_size"]),
    }


def show(results: Sequence[Figures]) -> None:
    """Print a table for people, and one JSON line a network for programs."""
    if len(results) == 1:
        for name, value in readable(results[0]).items():
            print(f"{name:<14} {value}")
    elif results:
        print(markdown(results))
    for figures in results:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
