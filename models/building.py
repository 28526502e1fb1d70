"""Build a model by its name, with messages for what timm would raise deep inside."""

import difflib
import re
import traceback
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import timm
from timm.layers import trunc_normal_
from timm.models import load_model_config_from_hf, parse_model_name
from timm.models._hub import load_model_config_from_path
from torch import nn

from dcls.conv import DclsNd
from dcls.conversion import Conversion, convert
from dcls.errors import UserError

_error = partial(UserError, on_every_rank=True)
_MAX_NUMBER = 10**7
_KEYS = ("num_classes", "drop_rate", "drop_path_rate", "dcls")
"""Options that have a key of their own in the configuration."""


def create_model(name: str, *, dcls: Mapping[str, Any] | None = None, **options: Any) -> nn.Module:
    """Build as ``timm.create_model`` does; options that are None are left to the model's defaults.

    Args:
        name: timm's, of an architecture.
        dcls: Convert the model, with these arguments of ``dcls.convert``; pretrained weights are fitted.
        options: Arguments of ``timm.create_model`` and of the constructor.

    Raises:
        UserError: no such architecture, an option it does not take or refuses, or no pretrained weights. Its key is
            that of the configuration: model.name, model.pretrained, model.drop_path_rate or model.options.
    """
    for key, value in {**options, "dcls": dcls}.items():
        if any(abs(number) > _MAX_NUMBER for number in _numbers(value)):
            raise _error(f"{name} cannot be built: {value!r:.80} is too large", key=_key_of(key))
    if not timm.is_model(name) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else None
        raise _error(f"no architecture {name!r} in this project or timm", hint, key="model.name")
    if options.get("pretrained") and timm.is_model(name) and not timm.models.is_model_pretrained(name):
        problem = f"there are no pretrained weights for {name}"
        raise _error(problem, "give a checkpoint instead", key="model.pretrained")
    model = _build(name, options)
    if dcls is not None:
        convert_model(model, dcls, is_trained=bool(options.get("pretrained")))
    return model


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, **options)
    except UserError as error:
        raise error.replace(on_every_rank=True, key=error.key or "model.options") from error.__cause__
    except NotImplementedError as error:
        raise _error(f"{name} cannot be built: {error}", key="model.options") from error
    except (OSError, RuntimeError) as error:  # no connection, no disk space, weights that do not fit
        if timm.is_model(name):
            if not options.get("pretrained"):
                raise _error(f"{name} cannot be built: {reason_of(error)}", key="model.options") from error
            raise _error(f"cannot load the weights of {name}: {error}", key="model.pretrained") from error
        raise _error(f"cannot read {name}: {error}", key="model.name") from error
    except (TypeError, ValueError, AssertionError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        if options.get("pretrained") and isinstance(error, ValueError):
            raise _error(str(error), key="model.pretrained") from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            if unknown.group(1) == "drop_path_rate":
                raise _error(
                    f"{name} has no stochastic depth", "set it to null", key=_key_of("drop_path_rate")
                ) from error
            raise _error(f"{name} takes no such option", key=_key_of(unknown.group(1))) from error
        raise _error(f"{name} cannot be built: {reason_of(error)}", key="model.options") from error


def convert_model(model: nn.Module, arguments: Mapping[str, Any], *, is_trained: bool) -> Conversion:
    """Put DCLS layers into a model, in place.

    Args:
        model: Any model.
        arguments: Of ``dcls.convert``; lists in place of tuples. ``weight_std`` may stand beside them: the standard
            deviation of new weights, which are drawn from a truncated normal distribution.
        is_trained: Whether its weights are worth something, so that new layers start with kernels near to them.

    Raises:
        UserError: nothing can be converted, or an argument is wrong. Its key is model.dcls.ARGUMENT.
    """
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()
    }
    std = values.pop("weight_std", None)
    draw = None if std is None else partial(_draw_weights, std)
    try:
        return convert(model, **values, weights="fit" if is_trained else draw)
    except UserError:  # too large
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split("\n")[:3])
        otherwise = "dilated_kernel_size" if "can be replaced" in text else "match"
        argument = next((key for key in values if re.search(rf"\b{key}\b", text)), otherwise)
        raise _error(text, key=f"model.dcls.{argument}") from error


def _draw_weights(std: float, layer: DclsNd) -> None:
    trunc_normal_(layer.weight, std=std)


@lru_cache
def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """Return the architecture and the constructor's options that a name means: hf-hub:... and local-dir:... have some.

    Raises:
        UserError: nothing is there.
    """
    source, place = parse_model_name(name)
    if source is None:
        return name, {}
    load = load_model_config_from_hf if source == "hf-hub" else load_model_config_from_path
    try:
        _, architecture, options = load(place)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise _error(f"cannot read {name}: {reason_of(error)}", key="model.name") from error
    return architecture, dict(options or {})


def _key_of(option: str) -> str:
    return f"model.{option}" if option in _KEYS else f"model.options.{option}"


def _numbers(value: Any) -> list[float]:
    """Return all numbers in an option."""
    if isinstance(value, Mapping):
        return [number for inner in value.values() for number in _numbers(inner)]
    if isinstance(value, list | tuple):
        return [number for inner in value for number in _numbers(inner)]
    return [value] if isinstance(value, int | float) else []


def reason_of(error: BaseException) -> str:
    """Return the first line of an error, with its kind where it needs that, or what was asserted."""
    line = (str(error).strip().splitlines() or [""])[0]
    if not line and isinstance(error, AssertionError):
        return traceback.extract_tb(error.__traceback__)[-1].line or "AssertionError"
    is_clear = line and not isinstance(error, LookupError | ArithmeticError)
    return line if is_clear else f"{type(error).__name__} {line}".strip()
