"""The page: all exhibits and tables in one HTML file that needs nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from analysis.colors import BACKGROUNDS, INKS, themes
from analysis.curves import curve_exhibits
from analysis.exhibit import Exhibit
from analysis.facts import difference_table, machine_table, outcome_table
from analysis.learned import look_at_models
from analysis.mass import mass_exhibits
from analysis.movement import movement_exhibits
from analysis.reach import reach_exhibits
from analysis.run_data import RunData
from analysis.run_groups import RunGroup, group_runs

MARK = '<meta name="generator" content="scripts/report.py of DCLS">'
"""By this a report is known from other files."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, a paragraph, and figures."""

    key: str
    title: str
    text: str
    exhibits: list[Exhibit]


def render(runs: Sequence[RunData]) -> str:
    """Return the report of these runs as HTML."""
    groups = group_runs(runs)
    learned = look_at_models(runs, groups)
    sections = [
        Section("curves", "Curves", "", curve_exhibits(groups)),
        Section("movement", "How elements moved", _of_the_first(groups, "positions"), movement_exhibits(groups)),
        Section(
            "mass",
            "Where the mass of the kernels is",
            _of_the_first(groups, "weights"),
            mass_exhibits(learned.described),
        ),
        Section("reach", "Receptive field", _of_the_first(groups, "weights"), reach_exhibits(learned.fields)),
    ]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        mark=MARK,
        title=" and ".join(group.name for group in groups) if len(groups) < 4 else f"{len(runs)} runs",
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        backgrounds=BACKGROUNDS,
        inks=INKS,
        sections=[section for section in sections if section.exhibits],
        problems=learned.problems,
        runs=runs,
        outcome=outcome_table(runs),
        machines=machine_table(runs),
        differences=difference_table(runs),
        configurations=[
            (run.name, yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)) for run in runs if run.config
        ],
        kernels=learned.kernels,
        data=_json({"figures": _figures(sections), "kernels": learned.kernels, "themes": themes(), "inks": INKS}),
        style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(_TEMPLATES / "report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def _of_the_first(groups: Sequence[RunGroup], kept: str) -> str:
    several = any(len(group.runs) > 1 for group in groups)
    return f"Of runs that differ in their seed only, the first that kept its {kept} is shown." if several else ""


def _figures(sections: Sequence[Section]) -> dict[str, Any]:
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    return {exhibit.key: _without_template(json.loads(exhibit.figure.to_json())) for exhibit in exhibits}


def _without_template(figure: dict[str, Any]) -> dict[str, Any]:
    """Leave out the template, which the page chooses by light and dark."""
    figure["layout"].pop("template", None)
    return figure


def _json(values: Any) -> str:
    """Write values so that nothing in them ends the script element they are in."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
