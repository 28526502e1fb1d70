"""From a checkpoint to its model: this project's files, the authors' released ones, or any state dict."""

from pathlib import Path
from typing import Any

from timm.data import resolve_model_data_config
from torch import Tensor, nn

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.checkpoints.loading import load_exactly
from dcls.checkpoints.reading import read_description, read_weights
from dcls.errors import UserError

from .building import create_model
from .released.upstream import recognise, to_model


def load_model(
    checkpoint: str | Path, name: str | None = None, *, use_ema: bool = True, **changes: Any
) -> tuple[nn.Module, ModelDescription]:
    """Build the model of a file, in eval mode and with the file's weights.

    Args:
        checkpoint: A file of this project, a released one, or with ``name`` any state dict.
        name: The architecture, where the file does not tell.
        use_ema: Take averaged weights if the file has them.
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
    sizes = {} if description.num_classes is None else {"num_classes": description.num_classes}
    model = create_model(description.name, **{**sizes, **description.options, **changes})
    load_weights(model, weights, checkpoint)
    return model.eval(), description


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit the model exactly; those of a released file are converted first.

    Args:
        origin: Where they are from, for messages.

    Raises:
        UserError: names or shapes differ, or it is a released file of another model.
    """
    try:
        converted = to_model(weights, model)
    except UserError as error:
        raise error.replace(origin=str(origin)) from None
    load_exactly(model, converted, origin)


def own_preprocessing(model: nn.Module, *, use_test_size: bool = False) -> Preprocessing:
    """Return how images are prepared according to the model's own configuration.

    Args:
        use_test_size: Prefer the size and crop that timm evaluates the model's pretrained weights with, where they
            differ from those of its training.
    """
    return Preprocessing.from_dict(resolve_model_data_config(model, use_test_size=use_test_size))


def _describe_released(weights: dict[str, Tensor], checkpoint: str | Path) -> ModelDescription:
    try:
        upstream = recognise(weights)
    except UserError as error:
        raise UserError(
            f"{checkpoint} does not say which model it belongs to", f"validate.py takes the name by --model ({error})"
        ) from None
    return ModelDescription(upstream.model, upstream.num_classes, upstream.options)
