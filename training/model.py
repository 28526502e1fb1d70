"""From the section ``model`` to a model, with messages for what timm would raise deep inside."""

import copy
import difflib
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from pydantic import BaseModel, Field, ValidationError, field_validator
from torch import Tensor, nn

import models  # noqa: F401  registers this project's architectures in timm
from dcls.errors import UserError
from models.released import recognise
from training.checkpoint import load_weights, read_description, read_weights
from training.config import ModelConfig

_error = partial(UserError, on_every_rank=True)


def create_model(name: str, **options: Any) -> nn.Module:
    """``timm.create_model``, with options that are None left to the model's defaults.

    Raises:
        UserError: no such architecture, an option it does not take or refuses, or no pretrained weights.
    """
    if not timm.is_model(name) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else None
        raise _error(f"no architecture {name!r} in this project or timm", hint, key="model.name")
    if options.get("pretrained") and timm.is_model(name) and not timm.models.is_model_pretrained(name):
        raise _error(f"there are no pretrained weights for {name}", "give a checkpoint instead", key="model.pretrained")
    try:
        return timm.create_model(name, **options)
    except (OSError, RuntimeError) as error:  # no connection, no disk space, weights that do not fit
        if timm.is_model(name):
            if not options.get("pretrained"):
                raise
            raise _error(f"cannot load the weights of {name}: {error}", key="model.pretrained") from error
        raise _error(f"cannot read {name}: {error}", key="model.name") from error
    except (TypeError, ValueError, AssertionError, LookupError, AttributeError) as error:
        if options.get("pretrained") and isinstance(error, ValueError):
            raise _error(str(error), key="model.pretrained") from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            raise _error(f"{name} takes no such option", key=f"model.options.{unknown.group(1)}") from error
        reason = f"{type(error).__name__} {error}" if isinstance(error, LookupError) else error
        raise _error(f"{name} cannot be built: {reason}", key="model.options") from error


def make_model(config: ModelConfig, num_classes: int) -> nn.Module:
    """The model to train, with its initial weights.

    Raises:
        UserError: see ``create_model`` and ``training.checkpoint.load_weights``.
    """
    model = create_model(
        config.name,
        pretrained=config.pretrained,
        num_classes=num_classes,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        **config.options,
    )
    if config.initial_checkpoint:
        load_weights(model, read_weights(config.initial_checkpoint), config.initial_checkpoint)
    return model


def meta_copy(model: nn.Module) -> nn.Module:
    """The model in eval mode on the meta device, where shapes are known and nothing is computed."""
    return copy.deepcopy(model).to("meta").eval()


@torch.no_grad()
def check_input_size(model: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Try one image (C, H, W), without computing anything.

    Raises:
        UserError: the model cannot take RGB images of this size.
    """
    if input_size[0] != 3:
        shape = "x".join(map(str, input_size))
        raise _error(f"{type(model).__name__} takes inputs of {shape}, and images have 3 channels", key="model.name")
    try:
        meta_copy(model)(torch.empty(1, *input_size, device="meta"))
    except NotImplementedError:  # an operator without meta tensors: nothing was learned
        return
    except (RuntimeError, AssertionError, ValueError) as error:
        size = "x".join(map(str, input_size[1:]))
        reason = str(error).strip().splitlines()[0]
        raise _error(
            f"{type(model).__name__} cannot take RGB images of {size}: {reason}", key="data.image_size"
        ) from error


def describe_model(config: ModelConfig, num_classes: int, image: dict[str, Any]) -> dict[str, Any]:
    """What is needed to build the model again and to prepare its images; JSON, kept beside saved weights."""
    return {
        "name": config.name,
        "num_classes": num_classes,
        "options": dict(config.options),
        "preprocessing": {key: list(v) if isinstance(v, tuple) else v for key, v in image.items()},
    }


def rebuild_model(description: dict[str, Any], **changes: Any) -> nn.Module:
    """The model that ``describe_model`` described, with fresh weights.

    Args:
        changes: Arguments of ``create_model`` that win over the description's.

    Raises:
        UserError: see ``create_model``.
    """
    known = {"num_classes": description["num_classes"]} if "num_classes" in description else {}
    return create_model(description["name"], **{**known, **description["options"], **changes})


def load_model(
    checkpoint: str | Path, name: str | None = None, *, use_ema: bool = True, **changes: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a file in eval mode, with its (averaged) weights, and its description.

    The description is the file's own, or what its keys and shapes tell of a released file. It has no "preprocessing"
    where that is the model's own.

    Args:
        checkpoint: A file of this project, a released one, or with ``name`` any state dict.
        name: The architecture, where the file does not tell.
        use_ema: Take averaged weights if the file has them.
        changes: Arguments of ``create_model`` that win over the description's.

    Raises:
        UserError: the file is missing, unreadable or of another model, or nobody knows its model.
    """
    weights, known = read_weights(checkpoint, use_ema=use_ema), read_description(checkpoint)
    if known is None:
        known = {"name": name, "options": {}} if name else _describe_released(weights, checkpoint)
    else:
        _check_description(known, checkpoint)
        if name not in (None, known["name"]):
            raise UserError(f"{checkpoint} holds weights of {known['name']}, not of {name}")
    model = rebuild_model(known, **changes)
    load_weights(model, weights, checkpoint)
    return model.eval(), known


class _Description(BaseModel):
    """What a file may say of its model: an architecture and its sizes, not where to fetch something from."""

    name: Annotated[str, Field(pattern=r"^[\w.]+$")]
    num_classes: int
    options: dict[str, Any]
    preprocessing: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _only_build(cls, options: dict[str, Any]) -> dict[str, Any]:
        fetching = [key for key in options if key.startswith(("pretrained", "checkpoint_path", "cache_dir"))]
        if fetching:
            raise ValueError(f"{fetching[0]} would fetch weights from elsewhere")
        return options


def _check_description(known: Any, checkpoint: str | Path) -> None:
    try:
        _Description.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{checkpoint} describes its model in a way that is not accepted: {place}: {first['msg']}"
        ) from None


def _describe_released(weights: dict[str, Tensor], checkpoint: str | Path) -> dict[str, Any]:
    try:
        layout = recognise(weights)
    except ValueError as error:
        raise UserError(
            f"{checkpoint} does not say which model it belongs to; validate.py takes the name by --model ({error})"
        ) from None
    return {"name": layout.model, "num_classes": layout.num_classes, "options": layout.options}
