"""All that the page shows of the models of runs, each of which is loaded once and not kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.kernel_views import MOST_NUMBERS, kernel_views
from analysis.mass import Layers
from analysis.reach import MeasuredField, measure_field
from analysis.run_data import RunData
from analysis.run_groups import RunGroup
from dcls.diagnostics import describe_model


@dataclass
class Learned:
    """What runs have learned.

    Attributes:
        kernels: Of every run with DCLS layers, plain values for JSON.
        layers: Diagnostics of every DCLS layer, by the name of the run, of the first run of each group.
        fields: Receptive fields of the first runs.
        problems: Why others are missing, a sentence each.
    """

    kernels: list[dict[str, Any]] = field(default_factory=list)
    layers: list[tuple[str, Layers]] = field(default_factory=list)
    fields: list[MeasuredField] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def look_at_models(runs: Sequence[RunData], groups: Sequence[RunGroup]) -> Learned:
    """Load the model of one run after the other, and take from it what is shown."""
    learned, with_weights = Learned(), [run for run in runs if run.weights is not None]
    first_names = {group.first.name for group in groups}
    for run in with_weights:
        _look(run, run.name in first_names, MOST_NUMBERS // len(with_weights), learned)
    return learned


def _look(run: RunData, is_first: bool, most_numbers: int, learned: Learned) -> None:
    model = run.load_model()
    assert model is not None and run.weights is not None
    view = kernel_views(model, run.positions, most_numbers)
    if view:
        learned.kernels.append({"run": run.name, "weights": run.weights.name, **view})
    if is_first:
        learned.layers.append((run.name, describe_model(model)))
        try:
            learned.fields.append(measure_field(run, model))
        except (ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            learned.problems.append(f"The receptive field of {run.name} was not measured: {reason}.")
