"""All that the page shows of the models of runs, of which one is in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from analysis.kernel_views import MOST_NUMBERS, all_finite, kernel_views
from analysis.mass import DescribedRun
from analysis.reach import MeasuredField, measure_field
from analysis.run_data import RunData
from analysis.run_groups import RunGroup
from dcls.diagnostics import describe_model


@dataclass
class Learned:
    """What runs have learned.

    Attributes:
        kernels: Of every run with DCLS layers, plain values for JSON.
        described: The DCLS layers of the first run of each group that has weights.
        fields: Receptive fields of the same runs.
        problems: What is not shown, and why, a sentence each.
    """

    kernels: list[dict[str, Any]] = field(default_factory=list)
    described: list[DescribedRun] = field(default_factory=list)
    fields: list[MeasuredField] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def look_at_models(runs: Sequence[RunData], groups: Sequence[RunGroup]) -> Learned:
    """Load the model of one run after the other, and take from it what is shown."""
    learned = Learned()
    firsts = [group.first_with("weights") for group in groups]
    group_of_first = {run.name: index for index, run in enumerate(firsts) if run is not None}
    with_weights = [run for run in runs if run.weights is not None]
    for run in with_weights:
        _look(run, group_of_first.get(run.name), MOST_NUMBERS // len(with_weights), learned)
    return learned


def _look(run: RunData, group: int | None, most_numbers: int, learned: Learned) -> None:
    """Load one model, which is forgotten on return.

    Args:
        group: Index of the run's group, or None unless the run is the one to show of it.
    """
    model = run.load_model()
    assert model is not None
    _look_at_kernels(run, model, most_numbers, learned)
    if group is not None:
        learned.described.append(DescribedRun(run.name, group, describe_model(model)))
        _look_at_field(run, model, group, learned)


def _look_at_kernels(run: RunData, model: nn.Module, most_numbers: int, learned: Learned) -> None:
    view = kernel_views(model, run.positions, most_numbers)
    if not view:
        return
    assert run.weights is not None
    learned.kernels.append({"run": run.name, "weights": run.weights.name, **view})
    if not run.positions:
        learned.problems.append(
            f"How the elements of {run.name} moved is not shown: there are no positions of earlier epochs."
        )
    if not all_finite(model):
        learned.problems.append(
            f"{run.name} has weights, positions or spreads that are not finite. Kernels with such values are not drawn."
        )


def _look_at_field(run: RunData, model: nn.Module, group: int, learned: Learned) -> None:
    try:
        learned.fields.append(measure_field(run, model, group))
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        learned.problems.append(f"The receptive field of {run.name} was not measured: {reason}.")
