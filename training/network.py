"""From the section ``model`` to a network, with messages for what timm would raise deep inside."""

import difflib
from typing import Any

import timm
from torch import nn

import models  # noqa: F401  registers this project's architectures in timm
from training.checkpoint import load_weights, read_weights
from training.config import ModelConfig
from training.errors import UserError


def create_network(name: str, **options: Any) -> nn.Module:
    """``timm.create_model``, with options that are None left to the network's defaults.

    Raises:
        UserError: no such architecture, an option it does not take or refuses, or no pretrained weights.
    """
    if not timm.is_model(name) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"model.name: no architecture {name!r} in this project or timm{hint}")
    if options.get("pretrained") and timm.is_model(name) and not timm.models.is_model_pretrained(name):
        raise UserError(f"model.pretrained: there are no pretrained weights for {name}; give a checkpoint instead")
    try:
        return timm.create_model(name, **options)
    except (OSError, RuntimeError) as error:  # no connection, no disk space, weights that do not fit
        if not options.get("pretrained"):
            raise
        raise UserError(f"model.pretrained: cannot load the weights of {name}: {error}") from error
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"model.options: {name} cannot be built with {options}: {error}") from error


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


def describe_network(config: ModelConfig, num_classes: int, image: dict[str, Any]) -> dict[str, Any]:
    """What is needed to build the network again and to prepare its images; JSON, kept beside saved weights."""
    return {
        "name": config.name,
        "num_classes": num_classes,
        "options": dict(config.options),
        "preprocessing": {key: list(v) if isinstance(v, tuple) else v for key, v in image.items()},
    }
