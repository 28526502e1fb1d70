"""From the section ``model`` to a network, with messages for what timm would raise deep inside."""

import copy
import difflib
import re
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import models  # noqa: F401  registers this project's architectures in timm
from training.checkpoint import load_weights, read_description, read_weights
from training.config import ModelConfig
from training.errors import ConfigError, UserError


def create_network(name: str, **options: Any) -> nn.Module:
    """``timm.create_model``, with options that are None left to the network's defaults.

    Raises:
        ConfigError: no such architecture, an option it does not take or refuses, or no pretrained weights.
    """
    if not timm.is_model(name) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"model.name: no architecture {name!r} in this project or timm{hint}")
    if options.get("pretrained") and timm.is_model(name) and not timm.models.is_model_pretrained(name):
        raise ConfigError(f"model.pretrained: there are no pretrained weights for {name}; give a checkpoint instead")
    try:
        return timm.create_model(name, **options)
    except (OSError, RuntimeError) as error:  # no connection, no disk space, weights that do not fit
        if not options.get("pretrained"):
            raise
        raise ConfigError(f"model.pretrained: cannot load the weights of {name}: {error}") from error
    except (TypeError, ValueError, AssertionError) as error:
        if options.get("pretrained") and isinstance(error, ValueError):
            raise ConfigError(f"model.pretrained: {error}") from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            raise ConfigError(f"model.options.{unknown.group(1)}: {name} takes no such option") from error
        raise ConfigError(f"model.options: {name} cannot be built: {error}") from error


def make_network(config: ModelConfig, num_classes: int) -> nn.Module:
    """The network to train, with its initial weights.

    Raises:
        UserError: see ``create_network`` and ``training.checkpoint.load_weights``.
    """
    network = create_network(
        config.name,
        pretrained=config.pretrained,
        num_classes=num_classes,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        **config.options,
    )
    if config.initial_checkpoint:
        load_weights(network, read_weights(config.initial_checkpoint), config.initial_checkpoint)
    return network


def meta_copy(network: nn.Module) -> nn.Module:
    """The network in eval mode on the meta device, where shapes are known and nothing is computed."""
    return copy.deepcopy(network).to("meta").eval()


@torch.no_grad()
def check_input_size(network: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Try one image (C, H, W), without computing anything.

    Raises:
        ConfigError: the network cannot take images of this size.
    """
    try:
        meta_copy(network)(torch.empty(1, *input_size, device="meta"))
    except NotImplementedError:  # an operator without meta tensors: nothing was learned
        return
    except (RuntimeError, AssertionError, ValueError) as error:
        size = "x".join(map(str, input_size[1:]))
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"data.image_size: {type(network).__name__} cannot take {size} images: {reason}") from error


def describe_network(config: ModelConfig, num_classes: int, image: dict[str, Any]) -> dict[str, Any]:
    """What is needed to build the network again and to prepare its images; JSON, kept beside saved weights."""
    return {
        "name": config.name,
        "num_classes": num_classes,
        "options": dict(config.options),
        "preprocessing": {key: list(v) if isinstance(v, tuple) else v for key, v in image.items()},
    }


def rebuild_network(description: dict[str, Any], **changes: Any) -> nn.Module:
    """The network that ``describe_network`` described, with fresh weights.

    Args:
        changes: Arguments of ``create_network`` that win over the description's.

    Raises:
        ConfigError: see ``create_network``.
    """
    arguments = {"num_classes": description["num_classes"], **description["options"], **changes}
    return create_network(description["name"], **arguments)


def load_described(checkpoint: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint of this project in eval mode, with its (averaged) weights, and its description.

    Raises:
        UserError: the file is missing or not of this project.
    """
    known = read_description(checkpoint)
    if known is None:
        raise UserError(
            f"{checkpoint} does not say which network it belongs to; scripts/convert_checkpoint.py turns released "
            "files into ones that do"
        )
    network = rebuild_network(known)
    load_weights(network, read_weights(checkpoint), checkpoint)
    return network.eval(), known
