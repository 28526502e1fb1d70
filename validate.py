#!/usr/bin/env python3
"""Evaluate models on images or sounds: checkpoints, folders of runs, released files, timm's pretrained weights.

Models are named, or picked by a wildcard in quotes ('convnext_tiny*'); a folder of runs means the last weights
of each. Several come out as one table.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dcls.checkpoints.reading import has_worse_average
from dcls.errors import UserError
from evaluation.audio.clip_set import ClipSet, open_clips, source_of
from evaluation.audio.clips import is_audio
from evaluation.image_set import ImageSet, open_images
from evaluation.model_specs import LoadedModel, ModelSpec, list_model_specs
from evaluation.table import FORMATS, Metrics, markdown, readable, write_results
from training.cli import cli_errors
from training.config import DataConfig
from training.config_file import INVALID_YAML
from training.data.splits import is_image_folder, split_path
from training.flops import describe_size
from training.precision import Precision
from training.processes.distributed import DistributedContext, destroy_distributed, init_distributed

FLAGS = {
    "data.dir": "--data-dir",
    "data.dataset": "--dataset",
    "data.val_split": "--split",
    "data.image_column": "--image-column",
    "data.label_column": "--label-column",
    "data.image_size": "--image-size",
    "data.crop_pct": "--crop-pct",
    "data.resize_interpolation": "--resize-interpolation",
    "data.mean": "--mean",
    "data.std": "--std",
    "data.exif_orientation": "--exif-orientation",
    "data.background": "--background",
    "data.num_workers": "--workers",
    "data.val_batch_size": "--batch-size",
    "model.name": "--model",
    "model.num_classes": "--option num_classes",
    "model.pretrained": "--pretrained",
    "model.options": "--option",
    "training.device": "--device",
}
"""Configuration key of train.py -> flag that sets the same here."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of validate.py."""
    options = parse_arguments(arguments)
    with cli_errors(), keys_as_flags():
        distributed = init_distributed(options.device)
        specs = list_model_specs(options.model, options.checkpoint, options.pretrained)
        constructor_options = dict(map(parse_option, options.option))
        data = open_data(options, distributed)
        for path in options.results:
            path.parent.mkdir(parents=True, exist_ok=True)
        results, failures = evaluate_all(specs, constructor_options, data, options, distributed)
        if distributed.is_main:
            show(results)
        destroy_distributed(distributed)
        if failures:
            problem = f"{len(failures)} of {len(specs)} were not evaluated: {'; '.join(failures)}"
            raise UserError(problem, on_every_rank=True)


@contextmanager
def keys_as_flags() -> Iterator[None]:
    """Let errors name the flag where they name the configuration key of train.py."""
    try:
        yield
    except UserError as error:
        raise error.replace(key=flag_of(error.key)) from error


def flag_of(key: str | None) -> str | None:
    """Return the flag for a configuration key; anything else stays as it is."""
    if key is not None and key not in FLAGS and key.startswith("model."):
        return f"--option {key.removeprefix('model.').removeprefix('options.')}"
    return FLAGS.get(key, key) if key else None


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    add_data_arguments(parser.add_argument_group("data"))
    add_preprocessing_arguments(
        parser.add_argument_group("preprocessing of images", "by default that of the checkpoint or the model")
    )
    add_computation_arguments(parser.add_argument_group("computation"))
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


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is evaluated."""
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
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="averaged weights if any; by default, unless the checkpoint says that they are the worse",
    )
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the model's constructor")


def add_data_arguments(group: argparse._ArgumentGroup) -> None:
    """Add what it is evaluated on."""
    group.add_argument(
        "--data-dir",
        required=True,
        metavar="DIR",
        help="class folders of images or sounds, a folder with val/ or clips.csv, or a table of clips",
    )
    group.add_argument("--dataset", default="", help="as data.dataset of train.py, e.g. torch/cifar10")
    group.add_argument("--image-column", metavar="NAME", help="as data.image_column of train.py")
    group.add_argument("--label-column", metavar="NAME", help="as data.label_column of train.py")
    group.add_argument("--download", action="store_true", help="of torch/... data sets that are missing in DIR")
    group.add_argument("--split", help="folder, table or split; by default val/ if it is there, else DIR itself")
    group.add_argument(
        "--real-labels", action="store_true", help="ImageNet's validation set also by the labels of ImageNet-ReaL"
    )
    group.add_argument(
        "--classes-by-number",
        action="store_true",
        help="the data set's classes are those of the weights in the same order, whatever their names",
    )


def add_preprocessing_arguments(group: argparse._ArgumentGroup) -> None:
    """Add how images are prepared."""
    group.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help="side, or height and width")
    group.add_argument("--crop-pct", type=float, metavar="FRACTION")
    group.add_argument("--resize-interpolation", choices=["bilinear", "bicubic", "nearest"])
    group.add_argument("--mean", type=float, nargs=3)
    group.add_argument("--std", type=float, nargs=3)
    group.add_argument(
        "--exif-orientation",
        action=argparse.BooleanOptionalAction,
        help="turn images as their EXIF data says; by default as the weights were trained",
    )
    group.add_argument(
        "--background", type=int, nargs=3, metavar=("R", "G", "B"), help="behind transparent pixels, 0 to 255"
    )


def add_computation_arguments(group: argparse._ArgumentGroup) -> None:
    """Add how it is computed."""
    group.add_argument("--batch-size", type=int, default=128, help="per process [%(default)s]")
    group.add_argument("--workers", type=int, help="loader processes; by default one a core, at most 8")
    group.add_argument("--device", help="cuda or cpu; by default a GPU where there is one")
    group.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    group.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)


def parse_option(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE, with the value in YAML."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"expected KEY=VALUE, got {text!r}", key="--option", on_every_rank=True)
    try:
        return key, yaml.safe_load(value)
    except INVALID_YAML as error:
        raise UserError(f"{value!r:.80} is no YAML: {error}", key=f"--option {key}", on_every_rank=True) from None


def open_data(options: argparse.Namespace, distributed: DistributedContext) -> ImageSet | ClipSet:
    """Open the images, or the clips where there are sounds.

    Raises:
        UserError: they are missing, or an option is out of range or for the other kind.
    """
    data = data_configuration(options)
    if options.dataset or not is_audio(source_of(data)):
        return open_images(data, distributed, real_labels=options.real_labels, by_number=options.classes_by_number)
    for flag in ("real_labels", "classes_by_number"):
        if getattr(options, flag):
            problem = f"is for images, and {source_of(data)} holds sounds"
            raise UserError(problem, "remove it", key=f"--{flag.replace('_', '-')}", on_every_rank=True)
    return open_clips(data, distributed)


def data_configuration(options: argparse.Namespace) -> DataConfig:
    """Check the command line's values as those of a configuration file.

    Raises:
        UserError: one is out of range.
    """
    is_folder = is_image_folder(options.dataset)
    has_val = is_folder and split_path(options.data_dir, "val").exists()
    try:
        return DataConfig(
            dir=options.data_dir,
            dataset=options.dataset,
            download=options.download,
            train_split=".",  # nothing is trained on
            val_split=options.split or ("val" if has_val or not is_folder else "."),
            image_column=options.image_column,
            label_column=options.label_column,
            image_size=options.image_size[0] if len(options.image_size or ()) == 1 else options.image_size,
            crop_pct=options.crop_pct,
            resize_interpolation=options.resize_interpolation,
            mean=options.mean,
            std=options.std,
            exif_orientation=options.exif_orientation,
            background=options.background,
            num_workers=options.workers,
            val_batch_size=options.batch_size,
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = f"data.{first['loc'][0]}" if first["loc"] else None
        if first["type"] == "value_error":  # raised by the validators of training.config
            error = first["ctx"]["error"]
            raise error.replace(key=error.key or key) from None
        raise UserError(f"{first['msg']}, got {first['input']}", key=key, on_every_rank=True) from None


def evaluate_all(
    specs: Sequence[ModelSpec],
    constructor_options: dict[str, Any],
    data: ImageSet | ClipSet,
    options: argparse.Namespace,
    distributed: DistributedContext,
) -> tuple[list[Metrics], list[str]]:
    """Metrics of all models; of those that cannot be loaded or do not fit the data, why, if they are not alone."""
    results: list[Metrics] = []
    failures = []
    for spec in specs:
        loaded, reason = None, "another process cannot load it"
        try:
            with keys_as_flags():
                loaded = prepare(spec, data, use_ema=options.ema, **constructor_options)
        except UserError as error:
            if len(specs) == 1:
                raise error.replace(on_every_rank=True) from error
            reason = str(error)
        if distributed.any(loaded is None):
            failures.append(reason if str(spec) in reason else f"{spec}: {reason}")
            continue
        assert loaded is not None
        if distributed.is_main and options.ema is None and spec.checkpoint and has_worse_average(spec.checkpoint):
            print(f"{spec}: weights without averaging, which were the better ones (--ema: averaged)", file=sys.stderr)
        metrics = score(loaded, data, options, distributed)
        if not math.isfinite(metrics["loss"]):
            failures.append(f"{spec}: its loss is {metrics['loss']}, because of its weights or of --precision")
            continue
        results.append(metrics)
        if distributed.is_main:
            for path in options.results:
                write_results(path, results)
    return results, failures


def prepare(spec: ModelSpec, data: ImageSet | ClipSet, use_ema: bool | None, **constructor_options: Any) -> LoadedModel:
    """Load a model and see whether it fits the data; processes do not wait for each other here.

    The command line's preprocessing comes first, then that of the file, then the model's own.

    Raises:
        UserError: it cannot be loaded, or does not fit.
    """
    model, description = spec.load(use_ema, **constructor_options)
    preprocessing, outputs = data.fit(model, description)
    return LoadedModel(description.name, spec.weights, model, preprocessing, outputs)


def score(
    loaded: LoadedModel, data: ImageSet | ClipSet, options: argparse.Namespace, distributed: DistributedContext
) -> Metrics:
    """Evaluate: scores, size and cost, by name.

    Raises:
        UserError: an image or clip cannot be read.
    """
    precision = Precision(distributed.device, options.precision, options.channels_last)
    precision.place(loaded.model)
    show_progress = distributed.is_main and sys.stderr.isatty()
    return {
        "model": loaded.name,
        "weights": loaded.weights,
        **data.evaluate(loaded, distributed, precision, show_progress=show_progress),
        "multiply_adds": None,  # where an operator cannot be counted
        **describe_size(loaded.model, loaded.preprocessing.input_size),
    }


def show(results: Sequence[Metrics]) -> None:
    """Print a table for people, and one JSON line a model for programs."""
    if len(results) == 1:
        for name, value in readable(results[0]).items():
            print(f"{name:<14} {value}")
    elif results:
        print(markdown(results))
    for metrics in results:
        print(json.dumps(metrics))


if __name__ == "__main__":
    main()
