"""Warnings about elements that do not learn well, each with the key that helps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dcls.conv import DclsNd
from dcls.diagnostics import (
    LayerDiagnostics,
    describe_elements,
    share_at_border,
    share_at_floor,
    share_at_rest,
    share_coinciding,
)
from dcls.interpolation import get_interpolation
from dcls.optim import position_owners
from dcls.positions import PositionOwner
from training.config import Config
from training.position_history import Elements, current_elements, first_elements
from training.state import TrainState

MORE_AT_BORDER = 0.1
"""On top of the share at the beginning: "half_normal" draws a sixth of the delays at their limit."""
MUCH_AT_FLOOR = 0.5
MORE_COINCIDING = 0.1
"""A tenth of the elements more than at the beginning. Those drawn from N(0, 0.5), as in the papers, coincide from the
start: in 2-D 81 % of 10 elements, 94 % of 26 and 96 % of 34 (measured); in the quickstart, which is healthy, 68 to 77 %
do at its end. Where less than a fifth was apart at the beginning, half of that is the bound in place of a tenth."""
MUCH_AT_REST, EPOCHS_TO_MOVE = 0.5, 3
"""The learning rate may begin at 0. A mean would hide that most elements rest where a few move far."""
_MOST_NAMES = 3


@dataclass
class _Beginning:
    """What a set of positions began with, and the lowest share of its spreads at the floor since then."""

    positions: np.ndarray
    at_border: float
    coinciding: float
    lowest_at_floor: float


class PositionWarnings:
    """Look at the elements of a run's kernels after each epoch; each kind of trouble is reported once.

    Args:
        config: Of the run; what helps depends on it.
        folder: The run's folder, which knows the positions from before training where the run is continued.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._told: set[str] = set()
        self._first_epoch = 0
        self._beginnings: dict[str, _Beginning] = {}

    def begin(self, state: TrainState) -> None:
        """Take the oldest positions that are known as those of the beginning."""
        elements, self._first_epoch = current_elements(state.model), state.epoch
        first = first_elements(self._folder)
        if first is not None and _shapes(first[1]) == _shapes(elements):
            self._first_epoch, elements = first
        owners = position_owners(state.model)
        self._beginnings = {name: _beginning(owner, *elements[name]) for name, owner in owners.items()}

    def epoch(self, state: TrainState) -> Iterator[str]:
        """Yield what is new after an epoch, a line for each kind of trouble."""
        found: dict[str, dict[str, float]] = {}
        elements = current_elements(state.model)  # rounded as those of the beginning are
        for name, owner in position_owners(state.model).items():
            if layers := _layers_of(owner, state.model):
                now = describe_elements(owner)
                if not _is_trained(owner, "sigma"):
                    now = replace(now, at_floor=None)  # whoever chose them knows
                for kind, value in self._troubles(name, owner, now, elements[name][0], state):
                    found.setdefault(kind, {}).update(dict.fromkeys(layers, value))
                if now.at_floor is not None:
                    beginning = self._beginnings[name]
                    beginning.lowest_at_floor = min(beginning.lowest_at_floor, now.at_floor)
        for kind, values in found.items():
            if kind not in self._told:
                self._told.add(kind)
                yield self._sentence(kind, values, state.epoch)

    def _troubles(
        self, name: str, owner: PositionOwner, now: LayerDiagnostics, positions: np.ndarray, state: TrainState
    ) -> Iterator[tuple[str, float]]:
        """Yield kinds of trouble, with the share of elements or spreads that shows them."""
        beginning = self._beginnings[name]
        if now.outside_kernel > 0:
            yield "outside", now.outside_kernel
        if now.at_border > beginning.at_border + MORE_AT_BORDER:
            yield "border", now.at_border
        if now.coinciding > beginning.coinciding + min(MORE_COINCIDING, (1 - beginning.coinciding) / 2):
            yield "coinciding", now.coinciding
        if now.at_floor is not None and now.at_floor > MUCH_AT_FLOOR >= beginning.lowest_at_floor:
            yield "floor", now.at_floor
        if state.epoch - self._first_epoch >= EPOCHS_TO_MOVE and _may_move(owner, state):
            at_rest = share_at_rest(positions, beginning.positions)
            if at_rest > MUCH_AT_REST:
                yield "rest", at_rest

    def _sentence(self, kind: str, values: Mapping[str, float], epoch: int) -> str:
        names, most = _join(list(values)), max(values.values())
        percent = f"{100 * most:.0f} %" if most >= 0.01 else f"{100 * most:.1g} %"  # .1g of 9.6 is 1e+01
        options = "model.options" if self._config.model.dcls is None else "model.dcls"
        match kind:
            case "outside":
                return (
                    f"up to {percent} of the elements of {names} left the kernel; "
                    "set optimizer.clamp_positions=true to keep them inside, or lower optimizer.positions_lr_scale"
                )
            case "border":
                return (
                    f"up to {percent} of the elements of {names} are at the border of the kernel; "
                    f"a larger {options}.dilated_kernel_size gives them room, a lower optimizer.positions_lr_scale "
                    "keeps them closer"
                )
            case "coinciding":
                return (
                    f"up to {percent} of the elements of {names} are less than half a pixel from another one; "
                    f"{self._way_apart(options, epoch)}"
                )
            case "floor":
                return (
                    f"up to {percent} of the spreads of {names} are as small as they can be; "
                    "lower optimizer.spreads_lr_scale"
                )
        assert kind == "rest"
        return (
            f"up to {percent} of the elements of {names} have not moved since epoch {self._first_epoch}; "
            "raise optimizer.positions_lr_scale or, where they lie outside the feature map and get no gradient, "
            f"lower {options}.dilated_kernel_size"
        )

    def _way_apart(self, options: str, epoch: int) -> str:
        repels_from = self._config.optimizer.repulsion_start_epoch
        if repels_from is None or repels_from >= epoch:
            start = epoch if epoch < self._config.schedule.total_epochs else 0  # what has ended would not repel
            return f"set optimizer.repulsion_start_epoch={start} to push them apart"
        return f"lower {options}.kernel_count"


def _beginning(owner: PositionOwner, positions: np.ndarray, spread: np.ndarray | None) -> _Beginning:
    at_floor = 0.0
    if spread is not None:
        floor = get_interpolation(owner.interpolation).spread_floor
        at_floor = share_at_floor(torch.from_numpy(spread).float() - floor)
    places = torch.from_numpy(positions).float()
    at_border = share_at_border(places, owner.position_limits, owner.kernel_bounds)
    return _Beginning(positions, at_border, share_coinciding(places), at_floor)


def _layers_of(owner: PositionOwner, model: nn.Module) -> list[str]:
    """Return the names of the layers that use a set of positions."""
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, DclsNd))
    return [name for name, layer in layers if layer.position_owner is owner]


def _is_trained(owner: PositionOwner, kind: str) -> bool:
    parameters = [parameter for name, parameter in owner.position_parameters() if kind in name]
    return any(parameter.requires_grad for parameter in parameters)


def _may_move(owner: PositionOwner, state: TrainState) -> bool:
    """Whether nobody has frozen the positions, and their learning rate is not 0."""
    trained = {id(p) for name, p in owner.position_parameters() if "positions" in name and p.requires_grad}
    return any(
        id(parameter) in trained and group["lr"] > 0
        for group in state.optimizer.param_groups
        for parameter in group["params"]
    )


def _shapes(elements: Elements) -> dict[str, tuple[int, ...]]:
    return {name: positions.shape for name, (positions, _) in elements.items()}


def _join(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    layers = "layer" if more == 1 else "layers"
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more {layers}" if more > 0 else "")
