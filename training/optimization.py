"""From the sections ``optimizer`` and ``schedule`` to timm's optimizers and schedulers, DCLS in its own groups."""

import difflib
from functools import partial
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

import dcls
from dcls.errors import UserError
from training.config import OptimizerConfig, ScheduleConfig


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """Build a timm optimizer over groups without weight decay on 1-D parameters, positions and spreads.

    Raises:
        UserError: timm has no such optimizer, or it does not take one of the options.
    """
    known = [str(name) for name in list_optimizers()]
    if config.name.lower() not in known:
        near = difflib.get_close_matches(config.name.lower(), known, n=3) or ["adamw", "lamb", "sgd"]
        raise UserError(
            f"timm knows no {config.name!r}, but {', '.join(near)} and others", key="optimizer.name", on_every_rank=True
        )
    options: dict[str, Any] = {"betas": config.betas and tuple(config.betas), "eps": config.eps, **config.options}
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=config.name,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            param_group_fn=partial(parameter_groups, config),
            **{key: value for key, value in options.items() if value is not None},
        )
    except TypeError as error:
        raise UserError(
            f"{config.name} cannot be built: {error}", key="optimizer.options", on_every_rank=True
        ) from None
    if config.clamp_positions:
        dcls.register_clamp_hook(optimizer, model)
    return optimizer


def parameter_groups(config: OptimizerConfig, model: Any) -> list[dict[str, Any]]:
    """timm's groups (weight decay, layer decay), with positions and spreads split off; each has a name."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    if config.layer_decay is None:
        groups = param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=exempt)
    else:
        groups = param_groups_layer_decay(
            model, config.weight_decay, no_weight_decay_list=exempt, layer_decay=config.layer_decay
        )
    groups = dcls.param_groups(
        model, groups, lr_scale=config.positions_lr_scale, spreads_lr_scale=config.spreads_lr_scale
    )
    names = dcls.position_names(model)
    positions = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    return [{**group, "name": _group_name(group, positions)} for group in groups]


def _group_name(group: dict[str, Any], positions: set[int]) -> str:
    """Name a group by what is in it, and its part of the learning rate where layers differ."""
    kind = "weights" if group["weight_decay"] else "no_decay"
    if id(group["params"][0]) in positions:
        kind = "positions"
    return f"{kind}_x{group['lr_scale']:.3g}" if "lr_scale" in group else kind


def make_scheduler(config: ScheduleConfig, optimizer: Optimizer, updates_per_epoch: int) -> Scheduler:
    """Build a timm scheduler."""
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched=config.name,
        num_epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_prefix=config.warmup_prefix,
        warmup_lr=config.warmup_lr,
        min_lr=config.min_lr,
        cooldown_epochs=config.cooldown_epochs,
        decay_epochs=config.decay_epochs,
        decay_milestones=config.decay_milestones,
        decay_rate=config.decay_rate,
        step_on_epochs=not config.per_update,
        updates_per_epoch=updates_per_epoch,
    )
    assert scheduler is not None and epochs == config.total_epochs
    return scheduler
