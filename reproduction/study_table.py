"""What the rows of a study reached, as ``reproduce.py collect`` left it below results/studies."""

import statistics
from pathlib import Path

from evaluation.markdown import markdown_table
from reproduction.comparison import Comparison, compare_by_seed, mean_and_deviation
from reproduction.power import power_statement
from reproduction.results import RESULTS
from reproduction.runs import recipe_note
from reproduction.studies import SETTINGS, TABLE, Study, all_studies
from reproduction.study_runs import Runs, StudyRun, read_runs

NOT_MEASURED = "not measured yet"


def study_table(name: str, results: Path = RESULTS) -> str:
    """Return the table of a study as Markdown: budget, every row that has been measured, and the power."""
    study, runs = all_studies()[name], read_runs(results)
    parts, missing = [], []
    for setting in study.facts.settings:
        if study.measured(setting, runs):
            parts += _measured(study, setting, runs)
        else:
            missing.append(f"{SETTINGS[setting].title} (`configs/studies/{setting}.yaml`)")
    if missing:
        parts.append(f"{NOT_MEASURED.capitalize()}: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _measured(study: Study, setting: str, runs: Runs) -> list[str]:
    row = next(row for row in study.rows() if row.config_name == setting)
    epochs, batch = row.config.schedule.total_epochs, row.config.training.batch_size
    measured = study.measured(setting, runs)
    others = [facts.label for name, facts in study.facts.variants.items() if name not in measured]
    missing = [f"{NOT_MEASURED.capitalize()}: {'; '.join(others)}."] if others else []
    facts = SETTINGS[setting]
    heading = (
        f"**{facts.title[0].upper()}{facts.title[1:]}**, {epochs} epochs with batch size {batch}; top-1 (%) on "
        f"{facts.validation_images:,} held-out images after the last epoch:"
    )
    lines = [_line(study, setting, name, runs) for name in measured]
    return [heading, markdown_table(lines), *missing, *_power(study, setting, runs), _provenance(study, setting, runs)]


def _provenance(study: Study, setting: str, runs: Runs) -> str:
    """Name the files that say with what, where and when the runs were trained."""
    rows = [runs[study.row_name(setting, name)].values() for name in study.measured(setting, runs)]
    collections = sorted({run.collection for row in rows for run in row})
    return f"Machine, versions and date: {', '.join(f'`results/{TABLE}/{name}/{TABLE}.md`' for name in collections)}."


def _line(study: Study, setting: str, variant: str, runs: Runs) -> dict[str, str]:
    facts, row = study.facts.variants[variant], study.row_name(setting, variant)
    found = runs[row]
    seeds = ", ".join(map(str, sorted(found))) + recipe_note(run.changed_keys for run in found.values())
    speeds = [run.images_per_second for run in found.values()]
    over = {
        name: "" if variant == name else str(compare(study, setting, runs, variant, name))
        for name in (study.facts.baseline, study.facts.reference)
    }
    return {
        "row": facts.title,
        "kernel": facts.kernel,
        "top-1": mean_and_deviation([run.top1 for run in found.values()], ".1f"),
        "over dense": over[study.facts.baseline],
        f"over {study.facts.variants[study.facts.reference].title}": over[study.facts.reference],
        "parameters": f"{facts.parameters:,}",
        "moved (px): median, max": _movement(list(found.values())),
        "images/s": f"{statistics.median(speeds):.0f}",
        "seeds": seeds,
    }


def _movement(runs: list[StudyRun]) -> str:
    """Say how far elements moved, in pixels: the mean over seeds of the median, and the farthest of all runs."""
    last = [run.epochs[-1] for run in runs if "moved_median" in run.epochs[-1]]
    if not last:
        return ""
    median, most = statistics.mean(e["moved_median"] for e in last), max(e["moved_most"] for e in last)
    return f"{median:.2f}, {most:.1f}"


def compare(study: Study, setting: str, runs: Runs, variant: str, other: str) -> Comparison:
    """Compare two variants by the seeds that both have."""
    ours, theirs = (runs.get(study.row_name(setting, name), {}) for name in (variant, other))
    return compare_by_seed(ours, theirs, flips_signs=study.facts.bimodal)


def _power(study: Study, setting: str, runs: Runs) -> list[str]:
    """Say what comparisons with the dense row and with the DCLS row could have shown."""
    if study.facts.bimodal:
        return []
    others = dict.fromkeys((study.facts.baseline, study.facts.reference))
    return [text for name in others if (text := _power_over(study, setting, runs, name))]


def _power_over(study: Study, setting: str, runs: Runs, name: str) -> str:
    """Say it of one of the two rows."""
    comparisons = [compare(study, setting, runs, variant, name) for variant in study.facts.variants if variant != name]
    distinct = {tuple(found.differences): found for found in comparisons}.values()  # some rows are one network
    spreads = [(found.deviation, len(found.differences)) for found in distinct if found.deviation]
    return power_statement(spreads, f"the {study.facts.variants[name].title} row")
