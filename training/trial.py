"""What can be known of a configuration before any data is opened: its model and its optimizer are tried out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dcls.errors import UserError
from models.building import reason_of
from models.trial import machine_memory, try_model
from training.config import Config, DataConfig, ModelConfig, OptimizerConfig
from training.model import sides_of
from training.optimization import make_optimizer

_NUM_CLASSES = 10
"""Of the trial, where the data set decides."""
_OPTION = "model.options."
_DCLS, _DCLS_REQUIRED = "model.dcls.", ("dilated_kernel_size", "kernel_count")
_OPTIMIZER_KEYS = ("betas", "eps", "momentum", "weight_decay")


def try_out(config: Config, device: torch.device) -> None:
    """Build and call the model on the meta device, and let the optimizer step a tiny model on the run's.

    Raises:
        UserError: one of them cannot be. Its key is one that was set: that without which it could be, if there is one.
    """
    _try_model(config, device)
    _try_optimizer(config.optimizer, device)


def input_size_of(config: DataConfig) -> tuple[int, int, int] | None:
    """Return (channels, height, width) as configured; None for the model's own."""
    return None if config.image_size is None else (3, *sides_of(config.image_size))


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory of a device."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else machine_memory()


def _try_model(config: Config, device: torch.device) -> None:
    model: Any = None

    def attempt(settings: dict[str, Any]) -> None:
        nonlocal model
        own = {key: settings[f"model.{key}"] for key in ("drop_rate", "drop_path_rate") if f"model.{key}" in settings}
        options = {key.removeprefix(_OPTION): value for key, value in settings.items() if key.startswith(_OPTION)}
        dcls = {key.removeprefix(_DCLS): value for key, value in settings.items() if key.startswith(_DCLS)}
        model = try_model(
            config.model.name,
            config.model.num_classes or _NUM_CLASSES,
            settings.get("data.image_size"),
            max_bytes=memory_of(device),
            dcls=dcls if dcls.keys() >= set(_DCLS_REQUIRED) else None,
            **own,
            **options,
        )

    settings = {f"{_OPTION}{key}": value for key, value in config.model.options.items()}
    settings["data.image_size"] = input_size_of(config.data)
    settings["model.drop_rate"], settings["model.drop_path_rate"] = config.model.drop_rate, config.model.drop_path_rate
    if config.model.dcls is not None:
        settings |= {f"{_DCLS}{key}": value for key, value in config.model.dcls.model_dump().items()}
    try:
        _blame(attempt, settings, "model.name" if not config.model.options else "model.options")
    except UserError as error:
        raise _stochastic_depth(error, config.model) from None
    if model is not None and config.training.gradient_checkpointing:
        try:
            model.set_grad_checkpointing()
        except (AttributeError, AssertionError, NotImplementedError, TypeError):
            raise UserError(
                f"{config.model.name} cannot recompute its activations",
                "set it to false",
                key="training.gradient_checkpointing",
                on_every_rank=True,
            ) from None


def _stochastic_depth(error: UserError, config: ModelConfig) -> UserError:
    """Blame the model's name for stochastic depth that it does not have and that was not asked for."""
    if error.key != "model.drop_path_rate" or "drop_path_rate" in config.model_fields_set:
        return error
    return error.replace(key="model.name", fix="set model.drop_path_rate=null")


def _try_optimizer(config: OptimizerConfig, device: torch.device) -> None:
    defaults = {key: field.get_default() for key, field in OptimizerConfig.model_fields.items()}

    def attempt(settings: dict[str, Any]) -> None:
        changes: dict[str, Any] = {key: settings.get(f"optimizer.{key}", defaults[key]) for key in _OPTIMIZER_KEYS}
        prefix = "optimizer.options."
        options = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
        _step_tiny_model(
            config.model_copy(update={**changes, "options": options, "layer_decay": None, "lr": defaults["lr"]}), device
        )

    settings = {f"optimizer.options.{key}": value for key, value in config.options.items()}
    settings |= {
        f"optimizer.{key}": getattr(config, key) for key in _OPTIMIZER_KEYS if getattr(config, key) != defaults[key]
    }
    _blame(attempt, settings, "optimizer.name")


def _step_tiny_model(config: OptimizerConfig, device: torch.device) -> None:
    """Take two steps.

    Raises:
        UserError: the optimizer cannot be built, cannot step, or gives numbers that are not finite.
    """
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Linear(4, 3)).to(device)
    try:
        optimizer = make_optimizer(config, model)
        for _ in range(2):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 0.01)
            optimizer.step()
    except UserError:
        raise
    except Exception as error:  # whatever an optimizer raises
        raise UserError(f"{config.name} cannot be used: {reason_of(error)}", on_every_rank=True) from error
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise UserError(f"{config.name} gives weights that are not finite with these options", on_every_rank=True)


def _blame(attempt: Callable[[dict[str, Any]], None], settings: dict[str, Any], otherwise: str) -> None:
    """Make an attempt; if it fails, find the setting without which it would not.

    Args:
        attempt: Called with settings by their keys; a missing one has its default.
        otherwise: The key to name where no single setting is to blame.

    Raises:
        UserError: the attempt fails.
    """
    try:
        return attempt(settings)
    except UserError as error:
        failure = error
    if failure.key in settings or failure.key in ("model.name", "optimizer.name"):
        raise failure.replace(on_every_rank=True) from None
    for key in settings:
        try:
            attempt({other: value for other, value in settings.items() if other != key})
        except UserError:
            continue
        raise failure.replace(key=key, on_every_rank=True) from None
    raise failure.replace(key=otherwise, on_every_rank=True) from None
