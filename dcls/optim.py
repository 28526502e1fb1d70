"""What an optimizer must know of DCLS: parameter groups, and a step hook that keeps positions inside the kernel."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dcls.positions import PositionOwner


def position_owners(model: nn.Module) -> dict[str, PositionOwner]:
    """Name -> every module that holds a set of positions: layers on their own and ``SharedPositions``."""
    owners = ((name, m) for name, m in model.named_modules() if isinstance(m, PositionOwner))
    return {name: owner for name, owner in owners if owner.owns_positions}


def position_names(model: nn.Module) -> set[str]:
    """Full names of the positions and spreads among ``model.named_parameters()``, parametrized ones included."""
    return {
        f"{owner_name}.{name}".lstrip(".")
        for owner_name, owner in position_owners(model).items()
        for name, _ in owner.position_parameters()
    }


def param_groups(
    model: nn.Module,
    groups: Iterable[dict[str, Any]] | None = None,
    *,
    weight_decay: float = 0.0,
    lr_scale: float = 5.0,
    spreads_lr_scale: float | None = None,
    lr: float | None = None,
) -> list[dict[str, Any]]:
    """Split positions and spreads off into parameter groups without weight decay and with their own learning rate.

    Args:
        model: Any model, with or without DCLS layers.
        groups: Parameter groups to start from, such as timm's ``param_groups_layer_decay(model)``. By default one
            with ``weight_decay`` and one without for biases and other 1-D parameters.
        weight_decay: For the default groups only.
        lr_scale: Learning rate of positions and spreads over that of the other parameters. It multiplies the
            ``lr_scale`` of the group a parameter comes from, so it adds to layer decay.
        spreads_lr_scale: The same for spreads, which are then in groups of their own; by default ``lr_scale``.
        lr: The key ``lr_scale`` is honored by timm's schedulers only. Without one, give the optimizer's learning rate
            here: the groups then carry ``lr`` itself.

    Returns:
        Groups that hold each parameter of ``groups`` exactly once.
    """
    positions, spreads = _positions_and_spreads(model)
    if spreads_lr_scale is None:
        kinds = [(positions | spreads, lr_scale)]
    else:
        kinds = [(positions, lr_scale), (spreads, spreads_lr_scale)]
    result = []
    for group in _default_groups(model, weight_decay) if groups is None else groups:
        parameters = list(group["params"])
        rest = [p for p in parameters if id(p) not in positions | spreads]
        scale = group.get("lr_scale", 1.0)
        if rest:
            result.append({**group, "params": rest} | _learning_rate(lr, scale))
        for kind, kind_scale in kinds:
            moved = [p for p in parameters if id(p) in kind]
            if moved:
                result.append(
                    {**group, "params": moved, "weight_decay": 0.0, "lr_scale": scale * kind_scale}
                    | _learning_rate(lr, scale * kind_scale)
                )
    return result


class NoWeightDecay:
    """A model's ``no_weight_decay()``, which timm's optimizers call: what its class names, positions and spreads."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self) -> set[str]:
        """Return names of parameters."""
        of_class: Any = getattr(type(self.model), "no_weight_decay", None)
        return position_names(self.model) | (set(of_class(self.model)) if of_class else set())


def clamp_positions(model: nn.Module) -> None:
    """Move every position that left its kernel back to the border, in place."""
    for owner in position_owners(model).values():
        owner.clamp_positions()


def register_clamp_hook(optimizer: Optimizer, model: nn.Module) -> RemovableHandle:
    """Clamp the positions of ``model`` after every step of ``optimizer``, as the first paper's training does."""
    return optimizer.register_step_post_hook(lambda *_: clamp_positions(model))


def _positions_and_spreads(model: nn.Module) -> tuple[set[int], set[int]]:
    """Return the ids of the parameters of positions, and of those of spreads."""
    found: tuple[set[int], set[int]] = set(), set()
    for owner in position_owners(model).values():
        for name, parameter in owner.position_parameters():
            found["sigma" in name.split(".")].add(id(parameter))
    return found


def _default_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _learning_rate(lr: float | None, scale: float) -> dict[str, float]:
    return {} if lr is None else {"lr": lr * scale}
