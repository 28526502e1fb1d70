#!/usr/bin/env python3
"""The rows of the tables: list them, train them with several seeds, and collect finished runs into the table.

    scripts/reproduce.py list
    scripts/reproduce.py launch 'convnext_tiny*' --seeds 0 1 2 --launcher slurm --nodes 4 --dry-run
    scripts/reproduce.py launch 'comparison/cifar10_*' --seeds 0 1 2 --at-once 2
    scripts/reproduce.py collect output

A launch can be repeated at any time: finished runs are left alone, interrupted ones continue where they stopped.
"""

import argparse
import importlib
import shlex
from pathlib import Path
from types import ModuleType

import _checkout  # noqa: F401

from dcls.errors import UserError
from reproduction import local, slurm
from reproduction.cluster import load_cluster
from reproduction.collect import collect
from reproduction.overview import overview, results_table, studies_table
from reproduction.plot import plot_table
from reproduction.rows import all_rows, find_rows
from reproduction.runs import RowRun, check_overrides, plan_runs
from reproduction.studies import TABLE as STUDIES
from reproduction.study_plot import study_plots
from reproduction.study_runs import RUNS_FILE, read_collection
from reproduction.table import Table
from training.cli import cli_errors
from training.extras import require_package

RUNS = Path("output")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_list(commands)
    _add_launch(commands)
    _add_collect(commands)
    options = parser.parse_args()
    with cli_errors("; the same command continues"):
        options.run(options)


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("list", help="rows, configurations, parameters, published numbers; studies")
    parser.add_argument("--results", action="store_true", help="published and own accuracy, and the command of each")
    parser.set_defaults(run=lambda options: print(results_table(all_rows()) if options.results else _everything()))


def _everything() -> str:
    return f"{overview(all_rows())}\n\n{studies_table()}"


def _add_launch(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("launch", help="train rows with several seeds")
    parser.add_argument(
        "rows", nargs="+", metavar="ROW", help="such as imagenet/convnext_tiny, or a pattern: 'spreads/embedded_*'"
    )
    parser.add_argument("--seeds", nargs="+", type=_seed, default=[0], metavar="N")
    parser.add_argument("--launcher", choices=("local", "torchrun", "slurm", "submitit"), default="local")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="FOLDER", help="where runs are kept [%(default)s]")
    parser.add_argument("--set", nargs="+", default=[], metavar="section.key=value", help="for all runs, see train.py")
    parser.add_argument("--at-once", type=_positive, default=1, metavar="N", help="local, torchrun: runs side by side")
    parser.add_argument("--processes", type=_positive, metavar="N", help="processes on a node, by default one a GPU")
    parser.add_argument("--cluster", type=Path, default=Path("reproduction/cluster.yaml"), help="settings for SLURM")
    parser.add_argument(
        "--nodes", type=_positive, metavar="N", help="slurm, submitit: nodes of a run, by default the file's"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and run nothing")
    parser.set_defaults(run=launch)


def _add_collect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("collect", help="from finished runs to the table")
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of the runs")
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="ROW", help="by default every row of every table")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write tables, every epoch and plots into FOLDER/TABLE"
    )
    parser.set_defaults(run=lambda options: collect_runs(options.runs, options.rows, options.out))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def launch(options: argparse.Namespace) -> None:
    """Train what is not finished."""
    check_overrides(options.set)
    runs = plan_runs(find_rows(options.rows), options.seeds, options.runs.resolve())
    pending = [run for run in runs if not run.is_finished]
    for run in runs:
        if run.is_finished:
            print(f"{run.row.table}/{run.name}: finished, in {run.folder}")
    if pending:
        _launch_pending(pending, options)


def _launch_pending(pending: list[RowRun], options: argparse.Namespace) -> None:
    if options.launcher in ("slurm", "submitit"):
        cluster = load_cluster(options.cluster, nodes=options.nodes, processes_per_node=options.processes)
        launcher = slurm if options.launcher == "slurm" else _submitit_launcher()
        launcher.submit(pending, cluster, options.set, options.runs, dry_run=options.dry_run)
        return
    processes = local.processes_of_a_run(options.launcher, options.processes)
    if options.dry_run:
        for run in pending:
            print(shlex.join(local.command(run, processes, options.set)))
    else:
        local.train_all(pending, options.at_once, processes, options.set)


def _submitit_launcher() -> ModuleType:
    require_package("submitit", "slurm", "--launcher submitit")
    return importlib.import_module("reproduction.submitit_launcher")


def collect_runs(folder: Path, patterns: list[str], out: Path | None) -> None:
    """Print the tables that the runs in a folder fill, and write those of which a run is finished."""
    tables = collect(folder, find_rows(patterns))
    for table in tables:
        print(table.markdown())
    if out is None:
        return
    finished = [table for table in tables if table.has_results]
    if not finished:
        raise UserError("no run of these rows is finished, so there is nothing to write")
    for table in finished:
        _write_table(table, folder, out)


def _write_table(table: Table, folder: Path, out: Path) -> None:
    if table.name != STUDIES:
        table.write(out / table.name)
        plot_table(table, out / table.name)
        return
    collection = out / STUDIES / folder.resolve().name  # results of other machines have folders of their own
    table.write(collection)
    for plot in study_plots(read_collection(collection / RUNS_FILE)):
        plot.write(collection)


if __name__ == "__main__":
    main()
