"""Wrong values: of every key, by file and by command line."""

import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from faults.campaign import Tally
from training.config import Config
from training.config_file import load_config, valid_keys
from training.data.batches import plan_batches
from training.data.training_transform import TrainingTransform
from training.objective import make_mixup
from training.processes.distributed import init_distributed
from training.trial import try_out

_SECONDS = 30.0
_RIGHT = {
    "model.name": "convnext_atto_dcls_gaussian",
    "model.options.dims": "[8, 8, 16, 16]",
    "model.options.depths": "[1, 1, 1, 1]",
    "model.options.dilated_kernel_size": "5",
    "model.options.kernel_count": "3",
    "data.dir": "/images",
    "data.image_size": "32",
    "training.device": "cpu",
}
_RIGHT_CONVERTED = {
    **{
        key: value
        for key, value in _RIGHT.items()
        if key not in ("model.options.dilated_kernel_size", "model.options.kernel_count")
    },
    "model.name": "convnext_atto",
    "model.dcls.dilated_kernel_size": "5",
    "model.dcls.kernel_count": "3",
}
_OPTIONS = [
    *("depths", "dims", "dilated_kernel_size", "kernel_count", "interpolation", "in_chans", "output_stride"),
    *("patch_size", "features_only", "act_layer", "norm_layer", "ls_init_value", "head_init_scale", "kernel_sizes"),
    *("global_pool", "conv_mlp", "stem_type", "pretrained", "num_classes", "speed"),
]
_OPTIMIZER_OPTIONS = ["betas", "eps", "amsgrad", "capturable", "foreach", "fused", "maximize", "lr", "params", "speed"]
_VALUES = [
    *("null", "''", "text", "true", "no", "[]", "{}", "{a: 1}", "{1: [2]}", "[1]", "[0, 0, 0]", "[-1, 1, 1]", "[1, 1]"),
    *("[1, 1, 1, -1]", "[[[1]]]", "[null, text]", "0", "1", "-1", "2", "3", "7", "0.5", "-0.5", "1.5", "1e-30", "1e30"),
    *("1e400", "100000", "100000000000000000000", "9" * 5000, ".nan", "-.inf", "0x10", "1_000", "12:30:45", "~", "="),
    *("../../x", "/", ".", "a/../../b", '"a\\0b"', '"a\\nb"', "'" + "x" * 5000 + "'", "'\u202e\u0000'", "日本", "--x"),
    *("2020-13-45", "2020-01-01", "!!int abc", "!!float ''", "!!bool maybe", "!!binary aGk=", "!!timestamp x"),
    *("!!set {a}", "!!omap [a: 1]", "!!python/name:os.system", "!!python/object/apply:os.getcwd []", "!unknown 3"),
    *("[", "{", '"', "@", "%", "*a", "&a [*a]", "&a {b: *a}", "[" * 3000, "[" * 400 + "]" * 400, "? [1]", "- 1", "<<"),
    *("cosine", "adahessian", "fusedadam", "sgd", "vgg11", "resnet10t", "vit_tiny_patch16_224", "rand-mX", "cuda:77"),
    *("meta", "mps", "torch/", "hfds/", "wds/x", "local-dir:/nowhere", "train", "val", "5 minutes", "-5 s", "1e9 h"),
]


def wrong_values(folder: Path, trials: int) -> Tally:
    """Set one key to a value out of many; it is refused by a message that names it, or a run can begin with it."""
    tally = Tally("wrong values")
    keys = [
        *valid_keys(),
        *(f"model.options.{key}" for key in _OPTIONS),
        *(f"optimizer.options.{key}" for key in _OPTIMIZER_OPTIONS),
        *("model", "schedule", "nothing", "training.sead", "a.b.c", "base", "training.seed.x", "."),
    ]
    refused = 0
    for trial in range(trials):
        draw = random.Random(trial)
        key, value = keys[trial % len(keys)] if trials >= len(keys) else draw.choice(keys), draw.choice(_VALUES)
        by_file = draw.random() < 0.5
        start = time.monotonic()
        try:
            message = _try(folder, key, value, by_file)
            problem = None if message is None or _names(message, key) else f"is told as: {message}"
            refused += message is not None
        except Exception as error:  # what must not come out
            problem = f"ends in {type(error).__name__}: {error}"
        if problem is None and time.monotonic() - start > _SECONDS:
            problem = f"takes {time.monotonic() - start:.0f} s"
        how = "file" if by_file else "command line"
        tally.count(None if problem is None else f"trial {trial}: {key}={value:.60} by {how} {problem:.300}")
    tally.notes.append(f"{refused} of {trials} values were refused, with the others a run can begin")
    return tally


def _try(folder: Path, key: str, value: str, by_file: bool) -> str | None:
    """Return the message that a value ends in, or None where a run can begin with it."""
    file = folder / "run.yaml"
    basis = _RIGHT_CONVERTED if key.startswith("model.dcls.") else _RIGHT
    right = {name: text for name, text in basis.items() if not by_file or not f"{name}.".startswith(f"{key}.")}
    file.write_text(_nested(right | ({key: value} if by_file else {})), encoding="utf-8")
    try:
        _begin(load_config(file, [] if by_file else [f"{key}={value}"]))
    except UserError as error:
        return str(error)
    return None


def _nested(settings: dict[str, str]) -> str:
    """Return YAML text of settings by their keys."""
    groups: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        group = groups
        for parent in parents:
            group = group.setdefault(parent, {})
        group[leaf] = value
    return _lines(groups, "")


def _lines(group: dict[str, Any], indent: str) -> str:
    text = ""
    for key, value in group.items():
        inner = f" {value}\n" if isinstance(value, str) else f"\n{_lines(value, indent + '  ')}"
        text += f"{indent}'{key}':{inner}"
    return text


def _begin(config: Config) -> None:
    """Do what a run does before it opens its data, and prepare one image."""
    try_out(config, init_distributed(config.training.device).device)
    batches = plan_batches(config.training.batch_size, config.training.micro_batch_size, world_size=1)
    make_mixup(config.augmentation, 10, batches.micro_batch_size)
    preprocessing = Preprocessing((3, 32, 32), "bicubic", (0.5,) * 3, (0.5,) * 3, 0.9)
    image = Image.fromarray(np.zeros((40, 50, 3), dtype=np.uint8))
    TrainingTransform(config.augmentation, preprocessing)(image)


def _names(message: str, key: str) -> bool:
    """Whether a message names the key, or the file that is no YAML; a model may be told by an option it lacks."""
    last = next((part for part in reversed(key.split(".")) if part), key)
    if f"unknown key {key.partition('.')[0]}" in message or (key == "model.name" and "model.options." in message):
        return True
    return last in message or re.search(r"run\.yaml.* (not valid YAML|nested|more than)", message) is not None
