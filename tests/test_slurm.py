"""Training as SLURM jobs, on a real SLURM with two nodes: several nodes, requeueing, time limits, arrays, submitit."""

import csv
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from processes import run_script, table_rows
from safetensors.torch import load_file

ROW_EPOCHS = 24  # the first row still trains when the rows are launched again
ONE_ROW, ANOTHER = "studies/fashion_dense", "studies/fashion_gaussian"
BATCH_SIZE = 64
# The quickstart's model and data, two epochs, in micro-batches that one and two processes have in common.
QUICKSTART = [
    "--config=configs/quickstart.yaml", "schedule.epochs=1", "schedule.warmup_epochs=1", "data.num_workers=0",
    "training.device=cpu", f"training.batch_size={BATCH_SIZE}", "training.micro_batch_size=32",
]  # fmt: skip


def has_two_nodes() -> bool:
    if shutil.which("sinfo") is None:
        return False
    nodes = subprocess.run(["sinfo", "--noheader", "--format=%D"], capture_output=True, text=True, check=False)
    return nodes.returncode == 0 and sum(int(count) for count in nodes.stdout.split()) >= 2


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not has_two_nodes(), reason="no SLURM with two nodes is running"),
    pytest.mark.timeout(1200),  # several jobs one after the other, each of minutes
]


def call(*command: str | Path, **environment: str) -> str:
    result = subprocess.run(
        [*map(str, command)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable} | environment,
        check=False,
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def submit(folder: Path, *arguments: str, **options: str) -> str:
    """A job of two nodes with a process each."""
    given = {"nodes": "2", "cpus-per-task": "1", "time": "20", "output": str(folder / "job-%j.log")} | options
    flags = [f"--{name}={value}" for name, value in given.items()]
    job = call("sbatch", "--parsable", *flags, "scripts/train.sbatch", *arguments, PROCESSES_PER_NODE="1")
    return job.strip()


def facts(job: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S*)", call("scontrol", "show", "job", job)))


def wait(until: Callable[[], object], what: str, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(1)


def wait_for_end(*jobs: str) -> None:
    """Until all are completed. A requeued job gets 20 minutes, and not the two of waiting meant for a failed node."""

    def ended(job: str) -> bool:
        now = facts(job)
        if now["JobState"] == "PENDING" and now["Reason"] == "BeginTime":
            time.sleep(3)  # nodes take a job for revoked that starts in the very second in which it was requeued
            call("scontrol", "update", f"jobid={job}", "StartTime=now", "TimeLimit=20")
        assert now["JobState"] not in {"FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"}, now
        return now["JobState"] == "COMPLETED"

    for job in jobs:
        wait(lambda job=job: ended(job), f"job {job}")


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    """Folder of the quickstart's model, trained by one process."""
    folder = tmp_path_factory.mktemp("one")
    result = run_script("train.py", *QUICKSTART, f"checkpoint.dir={folder}", "checkpoint.name=one")
    assert result.returncode == 0, result.stderr
    return folder / "one"


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory) -> Path:
    """Folder of the same, trained on two nodes and left alone."""
    folder = tmp_path_factory.mktemp("two")
    wait_for_end(submit(folder, *QUICKSTART, f"checkpoint.dir={folder}", "checkpoint.name=two"))
    return folder / "two"


def assert_same_bits(first: Path, second: Path) -> None:
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_two_nodes_end_with_the_weights_of_one_process(one_process, two_nodes) -> None:
    assert '"processes": 2' in (two_nodes / "environment.json").read_text()
    assert_same_weights(two_nodes, one_process)


def test_a_requeue_in_the_middle_of_an_epoch_ends_in_the_same_bits(two_nodes, tmp_path) -> None:
    options = [f"checkpoint.dir={tmp_path}", "checkpoint.name=requeued", "checkpoint.every=10 updates"]
    job = submit(tmp_path, *QUICKSTART, *options)
    wait((tmp_path / "requeued" / "last.pt").exists, "the tenth update")
    call("scontrol", "requeue", job)
    wait_for_end(job)
    assert facts(job)["Restarts"] == "1"
    assert re.search(r"continuing with epoch \d+, after \d+ of its updates", (tmp_path / f"job-{job}.log").read_text())
    assert_same_bits(tmp_path / "requeued", two_nodes)


def epochs_of_two_minutes(run: Path) -> int:
    """How many epochs train for two minutes and more on this machine, at the speed of a finished run."""
    with (run / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    updates_per_epoch = int(last["updates"]) / (int(last["epoch"]) + 1)
    seconds = updates_per_epoch * BATCH_SIZE / float(last["train_images_per_second"])
    return math.ceil(120 / seconds)


def test_a_time_limit_that_strikes_ends_in_the_same_bits(two_nodes, tmp_path) -> None:
    # Too long for its two minutes, at the end of which SLURM may signal a minute early.
    epochs = epochs_of_two_minutes(two_nodes)
    run = [*QUICKSTART, f"checkpoint.dir={tmp_path}", f"schedule.epochs={epochs - 1}"]
    job = submit(
        tmp_path, *run, "checkpoint.name=limited", "checkpoint.every=null", time="2", signal="B:USR1@20"
    )  # fmt: skip
    wait_for_end(job)
    wait_for_end(submit(tmp_path, *run, "checkpoint.name=alone"))
    assert int(facts(job)["Restarts"]) >= 1
    log = (tmp_path / f"job-{job}.log").read_text()
    assert "time is nearly up: back into the queue" in log
    assert re.search(r"stopped by SIGTERM after update \d+", log)
    assert re.search(r"continuing with epoch \d+", log)
    lines = (tmp_path / "limited" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(epoch) for epoch in range(epochs)]
    assert_same_bits(tmp_path / "limited", tmp_path / "alone")


@pytest.fixture
def launch(image_folder: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Launch small rows with two seeds on two nodes each, on images of blobs; returns the jobs' ids."""
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text('{nodes: 2, processes_per_node: 1, sbatch: {cpus-per-task: 1, time: "0:20:00"}}')
    overrides = [
        "data.dataset=''", f"data.dir={image_folder}", "data.num_workers=0", "data.image_size=32", "training.device=cpu",
        "training.batch_size=12", "schedule.warmup_epochs=0", f"schedule.epochs={ROW_EPOCHS}", "model.options.dims=[8, 8, 8, 8]",
        "model.options.depths=[1, 1, 1, 1]",
    ]  # fmt: skip

    def run(*rows: str, launcher: str) -> list[str]:
        result = run_script(
            "scripts/reproduce.py", "launch", *rows, "--seeds", "0", "1", "--runs", tmp_path / "runs", "--launcher",
            launcher, "--cluster", cluster, "--set", *overrides,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return re.findall(r": job (\d+_\d+)", result.stdout)

    return run


@pytest.mark.parametrize("launcher", ["slurm", "submitit"])
def test_an_array_trains_rows_with_seeds_and_is_requeued(launch, launcher, tmp_path) -> None:
    jobs = launch(ONE_ROW, ANOTHER, launcher=launcher)
    assert len(jobs) == 4
    assert launch(ONE_ROW, ANOTHER, launcher=launcher) == jobs, "what is queued is not queued again"
    first = tmp_path / "runs" / "studies" / "fashion_dense-seed0"
    wait((first / "last.pt").exists, "the first epoch")
    call("scontrol", "requeue", jobs[0])
    wait_for_end(*jobs)
    assert facts(jobs[0])["Restarts"] == "1"
    metrics = (first / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in metrics[1:]] == [str(epoch) for epoch in range(ROW_EPOCHS)]
    assert launch(ONE_ROW, ANOTHER, launcher=launcher) == [], "what is finished is not run again"
    table = run_script("scripts/reproduce.py", "collect", tmp_path / "runs", "--rows", ONE_ROW, ANOTHER).stdout
    assert [row[3].partition(" (with another")[0] for row in table_rows(table)] == ["0, 1"] * 2
