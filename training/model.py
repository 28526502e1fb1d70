"""From the sections ``model`` and ``data`` to a model, and to how its images are prepared."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from models.building import convert_model, create_model, reason_of, resolve
from models.loading import is_converted, load_initial_weights, own_preprocessing
from models.trial import BoundedTensors, is_about_meta, machine_memory
from training.config import DataConfig, ModelConfig


def make_model(config: ModelConfig, num_classes: int, say: Callable[[str], object] = print) -> nn.Module:
    """Build the model to train, with its initial weights.

    Args:
        say: Called with what is worth knowing of the weights.

    Raises:
        UserError: see ``models.building.create_model``, ``convert_model`` and ``models.loading.load_initial_weights``.
    """
    model = create_model(
        config.name,
        pretrained=config.pretrained,
        num_classes=num_classes,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        **config.options,
    )
    starts_converted = False
    if config.initial_checkpoint:
        with _blaming_initial_checkpoint():
            starts_converted = is_converted(config.initial_checkpoint)
        if config.dcls is not None and starts_converted:
            convert_model(model, config.dcls.model_dump(), is_trained=False)
        with _blaming_initial_checkpoint():
            notes = load_initial_weights(model, config.initial_checkpoint)
        for note in notes:
            say(f"model.initial_checkpoint: {note}")
    if config.dcls is not None and not starts_converted:
        is_trained = config.pretrained or config.initial_checkpoint is not None
        say(f"model.dcls: {convert_model(model, config.dcls.model_dump(), is_trained=is_trained)}")
    return model


@contextmanager
def _blaming_initial_checkpoint() -> Iterator[None]:
    """Name the key of what is wrong with the file."""
    try:
        yield
    except UserError as error:
        raise error.replace(key="model.initial_checkpoint", on_every_rank=True) from None


def choose_preprocessing(
    config: DataConfig, model: nn.Module, stored: Preprocessing | None = None, *, use_test_size: bool = False
) -> Preprocessing:
    """Choose how images are prepared: as configured, else as stored with the weights, else as the model's own.

    Args:
        stored: From the checkpoint of the weights, if it has it.
        use_test_size: See ``models.loading.own_preprocessing``.

    Raises:
        UserError: the model cannot take RGB images of this size.
    """
    configured: dict[str, Any] = {
        "input_size": config.image_size and (3, *sides_of(config.image_size)),
        "interpolation": config.resize_interpolation,
        "mean": config.mean and tuple(config.mean),
        "std": config.std and tuple(config.std),
        "crop_pct": config.crop_pct,
        "exif_orientation": config.exif_orientation,
        "background": config.background and tuple(config.background),
    }
    preprocessing = replace(
        stored or own_preprocessing(model, use_test_size=use_test_size),
        **{key: value for key, value in configured.items() if value is not None},
    )
    check_input_size(model, preprocessing.input_size)
    return preprocessing


def sides_of(image_size: int | list[int]) -> tuple[int, int]:
    """Return height and width."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


@torch.no_grad()
def check_input_size(model: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Try one image (C, H, W), without computing anything.

    Raises:
        UserError: the model cannot take RGB images of this size.
    """
    name = type(model).__name__
    if input_size[0] != 3:
        shape = "x".join(map(str, input_size))
        problem = f"{name} takes inputs of {shape}, and images have 3 channels"
        raise UserError(problem, key="model.name", on_every_rank=True)
    try:
        with BoundedTensors(machine_memory(), name):
            meta_copy(model)(torch.empty(1, *input_size, device="meta"))
    except UserError as error:  # a tensor larger than the memory
        raise error.replace(on_every_rank=True) from None
    except Exception as error:  # whatever a layer raises
        if is_about_meta(error):  # an operator without meta tensors: nothing was learned
            return
        size = "x".join(map(str, input_size[1:]))
        problem = f"{name} cannot take RGB images of {size}: {reason_of(error)}"
        raise UserError(problem, key="data.image_size", on_every_rank=True) from error


def meta_copy(model: nn.Module) -> nn.Module:
    """Return the model in eval mode on the meta device, where shapes are known and nothing is computed."""
    return copy.deepcopy(model).to("meta").eval()


def describe_model(
    config: ModelConfig, num_classes: int, preprocessing: Preprocessing, classes: Sequence[str] | None = None
) -> ModelDescription:
    """Say what is needed to build the model again, to prepare its images and to name its outputs."""
    names = tuple(classes) if classes is not None and len(set(classes)) == num_classes else None
    architecture, options = resolve(config.name)
    own = {key: value for key, value in options.items() if key not in ModelConfig.model_fields}
    converted = {} if config.dcls is None else {"dcls": config.dcls.model_dump()}
    return ModelDescription(architecture, num_classes, {**own, **config.options, **converted}, preprocessing, names)
