"""What the rows of a study reached, as ``reproduce.py collect`` left it below results/studies."""

import csv
import statistics
from collections import Counter
from pathlib import Path

from dcls.errors import UserError
from evaluation.markdown import markdown_table
from reproduction.collect import Comparison
from reproduction.power import power_statement
from reproduction.results import RESULTS
from reproduction.studies import SETTINGS, TABLE, Study, all_studies
from training.metrics import counted_weights

NOT_MEASURED = "not measured yet"
Runs = dict[str, dict[int, dict[str, float]]]
"""Name of a row -> seed -> what its last epoch reached."""


def read_runs(results: Path = RESULTS) -> Runs:
    """Read the last epoch of every finished run of the studies, of all folders below results/studies.

    Runs of different machines and times are collected into a folder each.

    Raises:
        UserError: a run is in two folders.
    """
    found, origins = Runs(), dict[tuple[str, int], Path]()
    for file in sorted((results / TABLE).glob(f"*/{TABLE}-runs.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines):
                numbers = {key: float(value) for key, value in line.items() if key != "row" and value}
                row, seed = line["row"], int(numbers["seed"])
                first = origins.setdefault((row, seed), file.parent)
                if first != file.parent:
                    raise UserError(
                        f"{row} with seed {seed} is in both {first} and {file.parent}", "remove one of them"
                    )
                found.setdefault(row, {})[seed] = numbers  # epochs are in order
    return found


def top1_by_seed(runs: Runs, row: str) -> dict[int, float]:
    """Return the accuracy of a row's runs in %."""
    return {seed: numbers[f"{counted_weights(numbers)}_top1"] for seed, numbers in runs.get(row, {}).items()}


def compare(runs: Runs, row: str, other: str) -> Comparison:
    """Compare two rows by the seeds that both have."""
    ours, theirs = top1_by_seed(runs, row), top1_by_seed(runs, other)
    return Comparison([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def study_table(name: str, results: Path = RESULTS) -> str:
    """Return the table of a study as Markdown: budget, every row of what has been measured, and the power."""
    study, runs = all_studies()[name], read_runs(results)
    parts, missing = [], []
    for setting in study.facts.settings:
        if any(runs.get(study.row_name(setting, variant)) for variant in study.facts.variants):
            parts += _measured(study, setting, runs)
        else:
            missing.append(f"{SETTINGS[setting]} (`configs/studies/{setting}.yaml`)")
    if missing:
        parts.append(f"{NOT_MEASURED.capitalize()}: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _measured(study: Study, setting: str, runs: Runs) -> list[str]:
    row = next(row for row in study.rows() if row.config_name == setting)
    epochs, batch = row.config.schedule.total_epochs, row.config.training.batch_size
    lines = [_line(study, setting, variant, runs) for variant in study.facts.variants]
    data = SETTINGS[setting][0].upper() + SETTINGS[setting][1:]
    heading = f"**{data}**, {epochs} epochs in batches of {batch}; top-1 in % after the last:"
    return [heading, markdown_table(lines), *_power(study, setting, runs)]


def _line(study: Study, setting: str, variant: str, runs: Runs) -> dict[str, str]:
    facts, row = study.facts.variants[variant], study.row_name(setting, variant)
    top1 = top1_by_seed(runs, row)
    speeds = [numbers["train_images_per_second"] for numbers in runs.get(row, {}).values()]
    baseline, reference = study.facts.baseline, study.facts.reference
    over = {
        name: "" if variant == name else str(compare(runs, row, study.row_name(setting, name)))
        for name in (baseline, reference)
    }
    return {
        "row": facts.title,
        "kernel": facts.kernel,
        "parameters": f"{facts.parameters:,}",
        "seeds": ", ".join(map(str, sorted(top1))),
        "top-1": _spread(list(top1.values())),
        "images/s": f"{statistics.median(speeds):.0f}" if speeds else "",
        "over dense": over[baseline],
        f"over {study.facts.variants[reference].title}": over[reference],
    }


def _spread(values: list[float]) -> str:
    if not values:
        return NOT_MEASURED
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def _power(study: Study, setting: str, runs: Runs) -> list[str]:
    """Say what the comparisons with most seeds could have shown, where there are any with two seeds."""
    baseline = study.row_name(setting, study.facts.baseline)
    rows = [study.row_name(setting, name) for name in study.facts.variants if name != study.facts.baseline]
    comparisons = [found for row in rows if (found := compare(runs, row, baseline)).deviation is not None]
    if not comparisons:
        return []
    ((pairs, _),) = Counter(len(found.differences) for found in comparisons).most_common(1)
    chosen = [found.deviation or 0.0 for found in comparisons if len(found.differences) == pairs]
    return [power_statement(chosen, pairs)]
