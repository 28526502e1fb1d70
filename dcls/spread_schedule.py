"""Spreads that shrink during training instead of being learned, as networks with learned delays use them."""

from typing import Any

import torch
from torch import nn

from dcls.optim import position_owners


class SpreadSchedule:
    """Set sigma of a whole model, from ``initial`` down to ``final`` by an equal factor at every step.

    A wide footprint lets a position feel distant grid points, a narrow one is close to a single delay. Sigma is frozen
    (``requires_grad=False``), with all its rows.

    Examples:
        >>> layer = dcls.Dcls1d(2, 4, kernel_count=1, dilated_kernel_size=25, padding="causal")
        >>> schedule = dcls.SpreadSchedule(layer, initial=12, final=0.23, steps=30)
        >>> for epoch in range(100):
        ...     output = layer(torch.randn(1, 2, 60))  # and train
        ...     schedule.step()
        >>> round(layer.sigma.mean().item(), 2)
        0.23

    Args:
        model: Any module with DCLS layers whose interpolation has a spread.
        initial: Sigma at the start, in pixels; the spread itself is ``spread_floor + sigma``.
        final: Sigma after ``steps`` steps and from then on.
        steps: How often ``step()`` is called until then, usually the number of epochs or a part of it.

    Raises:
        ValueError: a number is not positive, or there is no spread in the model.
    """

    def __init__(self, model: nn.Module, initial: float, final: float = 0.23, *, steps: int) -> None:
        if not (initial > 0 and final > 0 and steps > 0):
            raise ValueError(
                f"initial, final and steps must be positive, got {initial}, {final} and {steps}; for spreads that do "
                "not change, set layer.sigma and call layer.sigma.requires_grad_(False)"
            )
        self.owners = [owner for owner in position_owners(model).values() if owner.sigma is not None]
        if not self.owners:
            raise ValueError(f"{type(model).__name__} has no DCLS layer with a spread")
        self.initial, self.final, self.steps = initial, final, steps
        self.steps_taken = 0
        for owner in self.owners:
            assert owner.sigma is not None
            owner.sigma.requires_grad_(False)
        self._set()

    @property
    def sigma(self) -> float:
        """The present value, in pixels."""
        done = min(self.steps_taken / self.steps, 1.0)
        return float(self.initial * (self.final / self.initial) ** done)

    def step(self) -> None:
        """Go on by one step, after each epoch."""
        self.steps_taken += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to continue."""
        return {"steps_taken": self.steps_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a ``state_dict`` was taken."""
        self.steps_taken = state["steps_taken"]
        self._set()

    @torch.no_grad()
    def _set(self) -> None:
        for owner in self.owners:
            assert owner.sigma is not None
            owner.sigma[: len(owner.positions)] = self.sigma
