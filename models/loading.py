"""From a checkpoint to its model: this project's files, the authors' released ones, or any state dict."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timm.data import resolve_model_data_config
from torch import Tensor, nn

import dcls
from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.checkpoints.loading import check_fit, load_exactly
from dcls.checkpoints.reading import read_description, read_weights
from dcls.errors import UserError

from .building import create_model
from .released.upstream import recognize, to_model
from .trial import build_on_meta, machine_memory


def load_model(
    checkpoint: str | Path, name: str | None = None, *, use_ema: bool | None = None, **changes: Any
) -> tuple[nn.Module, ModelDescription]:
    """Build the model of a file, in eval mode and with the file's weights.

    Args:
        checkpoint: A file of this project, a released one, or with ``name`` any state dict.
        name: The architecture, where the file does not tell.
        use_ema: Take averaged weights if the file has them; by default, unless it says that they are the worse.
        changes: Arguments of ``create_model`` that win over the description's.

    Returns:
        The model, and its description: the file's own, or what its keys and shapes tell of a released file.

    Raises:
        UserError: the file is missing, unreadable or of another model, or nobody knows its model.
    """
    weights, description = read_weights(checkpoint, use_ema=use_ema), read_description(checkpoint)
    if description is None:
        description = ModelDescription(name) if name else _describe_released(weights, checkpoint)
    elif name not in (None, description.name):
        raise UserError(f"{checkpoint} holds weights of {description.name}, not of {name}")
    options = {**description.options, **changes}
    if description.num_classes is not None:
        options.setdefault("num_classes", description.num_classes)
    try:
        described = build_on_meta(description.name, max_bytes=machine_memory(), **options)
        if described is not None:
            check_fit(described, _converted(weights, described, checkpoint), checkpoint)
        model = create_model(description.name, **options)
    except UserError as error:
        if error.key is None or changes or name is not None:
            raise
        raise error.replace(problem=f"{checkpoint} describes a model that cannot be: {error}", key=None) from None
    load_weights(model, weights, checkpoint)
    return model.eval(), description


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit the model exactly; those of a released file are converted first.

    Args:
        origin: Where they are from, for messages.

    Raises:
        UserError: names or shapes differ, or it is a released file of another model.
    """
    load_exactly(model, _converted(weights, model, origin), origin)


def _converted(weights: dict[str, Tensor], model: nn.Module, origin: str | Path) -> dict[str, Tensor]:
    """Bring the weights of a released file into the model's names and shapes; others stay as they are."""
    try:
        return to_model(weights, model)
    except UserError as error:
        raise error.replace(origin=str(origin)) from None


def is_converted(checkpoint: str | Path) -> bool:
    """Whether a file says that its model was converted to DCLS layers.

    Raises:
        UserError: the file cannot be read.
    """
    description = read_description(checkpoint)
    return description is not None and description.options.get("dcls") is not None


def load_initial_weights(model: nn.Module, checkpoint: str | Path) -> list[str]:
    """Load weights to start from: all must fit but the head, which stays as it is where the file has other classes.

    Returns:
        What is worth saying of them.

    Raises:
        UserError: the file cannot be read, or is of a model that differs in more than its head.
    """
    weights, description = read_weights(checkpoint), read_description(checkpoint)
    notes = []
    if description is not None:
        _check_same_layers(model, description, checkpoint)
    own = model.state_dict()
    converted = _converted(weights, model, checkpoint)
    head = [
        name for name in _head_names(model, own) if name in converted and _has_other_rows(converted[name], own[name])
    ]
    if head:
        before = len(converted[head[0]])
        notes.append(
            f"{checkpoint} has {before} classes, this model {len(own[head[0]])}: its head starts from random weights"
        )
    load_exactly(model, {**converted, **{name: own[name] for name in head}}, checkpoint)
    return notes


def _head_names(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return the names of the classifier's weights."""
    classifiers = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    prefixes = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    return [name for name in names if name.rpartition(".")[0] in prefixes]


def _has_other_rows(theirs: Tensor, own: Tensor) -> bool:
    return theirs.ndim > 0 and theirs.shape[1:] == own.shape[1:] and len(theirs) != len(own)


def _check_same_layers(model: nn.Module, description: ModelDescription, checkpoint: str | Path) -> None:
    """Refuse weights of DCLS layers whose kernels are others although all shapes are the same.

    Raises:
        UserError: a layer has another dilated_kernel_size or interpolation in the file's model.
    """
    options = {"num_classes": description.num_classes, **description.options}
    described = build_on_meta(description.name, max_bytes=machine_memory(), **options)
    if described is None:
        return
    theirs = dict(described.named_modules())
    for name, layer in model.named_modules():
        other = theirs.get(name)
        if not isinstance(layer, dcls.DclsNd) or not isinstance(other, dcls.DclsNd):
            continue
        for attribute in ("dilated_kernel_size", "interpolation"):
            if getattr(layer, attribute) != getattr(other, attribute):
                raise UserError(
                    f"{checkpoint} was trained with {attribute} {getattr(other, attribute)!r} ({name}), this model has "
                    f"{getattr(layer, attribute)!r}, and its positions would mean something else",
                    f"set model.options.{attribute} as it was",
                )


def own_preprocessing(model: nn.Module, *, use_test_size: bool = False) -> Preprocessing:
    """Return how images are prepared according to the model's own configuration.

    Args:
        use_test_size: Prefer the size and crop that timm evaluates the model's pretrained weights with, where they
            differ from those of its training.
    """
    return Preprocessing.from_dict(resolve_model_data_config(model, use_test_size=use_test_size))


def _describe_released(weights: dict[str, Tensor], checkpoint: str | Path) -> ModelDescription:
    try:
        upstream = recognize(weights)
    except UserError as error:
        raise UserError(
            f"{checkpoint} does not say which model it belongs to", f"validate.py takes the name by --model ({error})"
        ) from None
    return ModelDescription(upstream.model, upstream.num_classes, upstream.options)
