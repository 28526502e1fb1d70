"""Weights & Biases: the same run after every restart; whatever goes wrong there, the training goes on."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401  wandb.Image of a figure takes for granted that it is imported
import numpy as np
import wandb
from torch import nn

import dcls
from dcls.diagnostics import describe_model
from dcls.errors import UserError
from training.config import Config
from training.loop import UpdateSummary

OUTAGE_SECONDS = 60


class WandbLogger:
    """A run on Weights & Biases, or beside the run's other files where it is offline.

    Args:
        folder: The run's folder; holds the id under which a continued run is found again.
        config: Of the whole run.

    Raises:
        UserError: it is to be online, and there is no valid key.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self._warned = False
        id_file = folder / "wandb_id"
        if not id_file.exists():
            id_file.write_text(uuid.uuid4().hex[:8])
        settings = config.logging
        arguments: dict[str, Any] = dict(
            project=settings.wandb_project,
            entity=settings.wandb_entity,
            group=settings.wandb_group,
            name=folder.name,
            id=id_file.read_text(),
            resume="allow",
            dir=folder,
            config=config.model_dump(),
            settings=wandb.Settings(init_timeout=OUTAGE_SECONDS),
        )
        try:
            assert settings.wandb != "off"
            self._run = wandb.init(mode=settings.wandb, **arguments)
        except wandb.errors.CommError as error:
            self._warn(f"is not to be reached ({_first_line(error)}); the run is logged offline, see `wandb sync`")
            wandb.teardown()  # or the id would count as in use
            self._run = wandb.init(mode="offline", **arguments)
        except wandb.Error as error:
            raise UserError(
                f"cannot start the run: {_first_line(error)}", "offline needs no connection", key="logging.wandb"
            ) from error

    def update(self, step: UpdateSummary) -> None:
        """Loss, gradient norm and the learning rate of every parameter group, after an optimizer step."""
        values = asdict(step)
        rates = {f"learning_rate/{name}": rate for name, rate in values.pop("learning_rates").items()}
        self._log(values | rates, step.update)

    def epoch(self, row: dict[str, Any], model: nn.Module, update: int) -> None:
        """Log what an epoch has measured; of models with DCLS layers what they have learned, too."""
        numbers = {
            f"diagnostics/{name}/{key}": value
            for name, layer in describe_model(model).items()
            for key, value in asdict(layer).items()
            if value is not None
        }
        with self._outages_ignored():
            self._log(row | numbers | _pictures(model), update)

    def finish(self) -> None:
        """Send the rest and end the run."""
        with self._outages_ignored():
            self._run.finish()

    def _log(self, values: dict[str, Any], update: int) -> None:
        with self._outages_ignored():
            self._run.log(values, step=update)

    @contextmanager
    def _outages_ignored(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is, the weights are worth more than their curves
            self._warn(f"failed ({_first_line(error)}); the training goes on without")

    def _warn(self, text: str) -> None:
        if not self._warned:
            print(f"warning: Weights & Biases {text}", flush=True)
        self._warned = True


def _pictures(model: nn.Module) -> dict[str, Any]:
    """Histograms of all positions and spreads, by set, and learned kernels."""
    owners = dcls.position_owners(model)
    if not owners:
        return {}
    found: dict[str, Any] = {"positions": wandb.Image(dcls.plot.positions(model))}
    with suppress(ValueError):  # there is no kernel in two axes
        found["kernels"] = wandb.Image(dcls.plot.strongest_kernels(model))
    for name, owner in owners.items():
        for kind, parameter in (("positions", owner.positions), ("sigma", owner.sigma)):
            if parameter is not None:
                values = parameter.detach().float().cpu().numpy()
                found[f"{kind}/{name}"] = wandb.Histogram(np_histogram=np.histogram(values, bins=64))
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(". ")
