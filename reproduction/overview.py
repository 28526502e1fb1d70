"""What can be reproduced, what was published for it, and what came out here."""

from collections.abc import Sequence

from evaluation.markdown import markdown_table
from reproduction.power import power_statement
from reproduction.results import read_scores
from reproduction.row import Row
from reproduction.studies import all_studies


def overview(rows: Sequence[Row]) -> str:
    """Return every row with its size, length and published number, as Markdown."""
    return markdown_table(
        [
            {
                "row": row.full_name,
                "what": row.title,
                "configuration": str(row.config_file),
                "parameters": f"{row.facts.parameters:,}",
                "epochs": str(row.config.schedule.total_epochs),
                "published top-1": row.published_top1,
                "source": row.facts.source or "n/a",
            }
            for row in rows
        ]
    )


def studies_table() -> str:
    """Return every study with its question and what its rows are called, as Markdown."""
    return markdown_table(
        [
            {
                "study": name,
                "question": study.facts.question,
                "rows": f"{name}/SETTING_VARIANT",
                "settings": ", ".join(study.facts.settings),
                "variants": ", ".join(study.facts.variants),
            }
            for name, study in all_studies().items()
        ]
    )


def results_table(rows: Sequence[Row]) -> str:
    """Return what the paper says, what came out here, and the command of every row, as Markdown."""
    return markdown_table(
        [
            {
                "row": row.title,
                "published top-1": row.published_top1,
                "top-1 here": top1_here(row),
                "command": f"`{row.command}`",
            }
            for row in rows
        ]
    )


def power_of(table: str) -> str:
    """Say which difference to their baselines the rows of a table could have shown."""
    scores = read_scores(table).values()
    spreads = [(score.over_baseline_deviation, score.pairs) for score in scores]
    return power_statement([(deviation, pairs) for deviation, pairs in spreads if deviation], "the dense row")


def top1_here(row: Row) -> str:
    """Return the accuracy in % that finished runs of the row reached, if there are any."""
    score = read_scores(row.table).get(row.name)
    return "not trained yet" if score is None else str(score)


def config_header(row: Row) -> str:
    """Return the comment that the row's configuration begins with: what it is, how to run it, what to expect."""
    return f"# Row:     {row.title}.\n# Run:     {row.command}\n# Expect:  {_expectation(row)}\n"


def _expectation(row: Row) -> str:
    """Return what is known of the row's accuracy, here and elsewhere."""
    facts, here = row.facts, f"top-1 here: {top1_here(row)}"
    if facts.source is None:
        return f"{here} (results/{row.table})"
    published = "top-1 not published" if facts.published_top1 is None else f"{row.published_top1} % top-1"
    source = "" if facts.source == "n/a" else f" ({facts.source})"
    return f"{published}{source}; {here}"
