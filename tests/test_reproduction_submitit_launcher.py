"""What submitit is given; jobs that it runs are in test_slurm.py."""

import pytest
from finished_runs import ROWS

from reproduction.cluster import Cluster
from reproduction.rows import find_rows
from reproduction.runs import plan_runs

launcher = pytest.importorskip("reproduction.submitit_launcher", exc_type=ImportError)


def test_a_dry_run_prints_and_leaves_nothing(tmp_path, capsys) -> None:
    runs = plan_runs(find_rows(ROWS[:1]), [0, 1], tmp_path / "runs")
    launcher.submit(runs, Cluster(nodes=2, processes_per_node=4), ["training.seed=3"], tmp_path, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "submitit, 2 nodes of 4 processes, {}"
    assert lines[1:] == [" ".join(["train.py", *run.arguments(["training.seed=3"])]) for run in runs]
    assert list(tmp_path.iterdir()) == []


def test_a_job_whose_time_was_up_is_the_same_job_again() -> None:
    job = launcher.TrainingJob(("--config=a.yaml",), 4)
    assert job.checkpoint().function is job


def test_a_node_runs_its_part_of_torchrun(monkeypatch, tmp_path) -> None:
    (tmp_path / "node.sh").write_text(f'echo "$PROCESSES_PER_NODE" "$@" > {tmp_path / "called"}')
    monkeypatch.setattr(launcher, "NODE_SCRIPT", str(tmp_path / "node.sh"))
    launcher.TrainingJob(("--config=a.yaml", "training.seed=1"), 4)()
    assert (tmp_path / "called").read_text() == "4 --config=a.yaml training.seed=1\n"
