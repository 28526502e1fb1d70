"""A run that is stopped, killed or damaged anywhere ends in the bits of the run that was left alone."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from conftest import REPOSITORY
from processes import run_script
from safetensors.torch import load_file

import train
from training.checkpoints.checkpoint import read_checkpoint
from training.metrics import MetricsLogger
from training.run_folder import saved_states

SCHEDULE = "{epochs: 3, warmup_epochs: 1}"
AUGMENTATION = "{mixup: 0.8, cutmix: 1.0}"


@pytest.fixture
def config(tiny_config) -> str:
    return str(tiny_config(schedule=SCHEDULE, augmentation=AUGMENTATION))


def run(config: str, name: str, *overrides: str) -> None:
    train.main(["--config", config, f"checkpoint.name={name}", "checkpoint.resume=auto", *overrides])


def table(folder: Path, *ignored: str) -> list[dict]:
    with (folder / "metrics.csv").open() as file:
        return [
            {
                key: value
                for key, value in row.items()
                if "per_second" not in key and key not in ("train_waiting", *ignored)
            }
            for row in csv.DictReader(file)
        ]


def updates(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "update"]


def assert_same_run(folder: Path, straight: Path) -> None:
    ours, theirs = load_file(folder / "model.safetensors"), load_file(straight / "model.safetensors")
    assert all(ours[name].equal(theirs[name]) for name in theirs) and ours.keys() == theirs.keys()
    assert table(folder) == table(straight)
    assert updates(folder) == updates(straight)
    last = [read_checkpoint(path / "last.pt") for path in (folder, straight)]
    for key in ("epoch", "updates", "best_top1", "scaler"):
        assert last[0][key] == last[1][key]
    states = [[tensor for state in run["optimizer"]["state"].values() for tensor in state.values()] for run in last]
    assert all(a.equal(b) for a, b in zip(*states, strict=True))


def stop_at(monkeypatch, update: int, number: int) -> None:
    """Send the signal while the update is reported, which is while a later one runs or after it."""
    original = MetricsLogger.update

    def report(self, step):
        original(self, step)
        if step.update == update:
            signal.raise_signal(number)

    monkeypatch.setattr(MetricsLogger, "update", report)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_in_the_middle_of_an_epoch_loses_nothing(config, tmp_path, monkeypatch, capsys, number) -> None:
    run(config, "straight")
    with monkeypatch.context() as patch:
        stop_at(patch, 4, number)
        with pytest.raises(SystemExit) as exit:
            run(config, "stopped")
    assert exit.value.code == 128 + number
    place = re.fullmatch(
        rf"stopped by {number.name} after update (\d+), in epoch 1, which is saved; "
        r"continue with checkpoint.resume=auto\n",
        capsys.readouterr().err,
    )
    done = int(place[1])
    assert done in (5, 6)
    run(config, "stopped")
    assert f"continuing with epoch 1, after {done - 3} of its updates" in capsys.readouterr().out
    assert_same_run(tmp_path / "output" / "stopped", tmp_path / "output" / "straight")


def test_a_signal_in_evaluation_loses_nothing(config, tmp_path, monkeypatch, capsys) -> None:
    run(config, "straight")
    with monkeypatch.context() as patch:
        evaluate = train.evaluate

        def interrupted(*args, **options):
            signal.raise_signal(signal.SIGTERM)
            return evaluate(*args, **options)

        patch.setattr(train, "evaluate", interrupted)
        with pytest.raises(SystemExit):
            run(config, "stopped")
    assert "after update 3, in epoch 0" in capsys.readouterr().err
    run(config, "stopped")
    assert_same_run(tmp_path / "output" / "stopped", tmp_path / "output" / "straight")


def test_a_killed_run_continues_from_the_last_update_that_was_saved(config, tmp_path, monkeypatch, capsys) -> None:
    run(config, "straight")

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        original = MetricsLogger.update

        def report(self, step):
            original(self, step)
            if step.update == 9:
                raise Killed

        patch.setattr(MetricsLogger, "update", report)
        with pytest.raises(Killed):
            run(config, "killed", "checkpoint.every=2 updates")
    time.sleep(1)  # what was being written in the background
    capsys.readouterr()
    run(config, "killed", "checkpoint.every=2 updates")
    assert "continuing with epoch 2, after 2 of its updates" in capsys.readouterr().out
    assert_same_run(tmp_path / "output" / "killed", tmp_path / "output" / "straight")


@pytest.mark.parametrize("processes", [1, 2])
def test_real_processes_with_workers_stop_within_seconds_and_continue(tiny_config, tmp_path, processes) -> None:
    model = "{name: resnet18, drop_path_rate: 0.1}"  # with batch norm, of which every process counts its own images
    config = tiny_config(schedule="{epochs: 2, warmup_epochs: 0}", augmentation=AUGMENTATION, model=model)
    arguments = ["--config", str(config), "checkpoint.resume=auto", "data.num_workers=1", "training.micro_batch_size=6"]
    arguments += ["checkpoint.every=null"]
    assert run_script("train.py", *arguments, "checkpoint.name=straight", processes=processes).returncode == 0
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    stopped = subprocess.Popen(
        [*start, str(REPOSITORY / "train.py"), *arguments, "checkpoint.name=stopped"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "update 1 " not in stopped.stdout.readline():
        pass
    stopped.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = stopped.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert errors.count("stopped by SIGTERM after update") == 1, errors
    assert stopped.returncode == (143 if processes == 1 else 1), errors
    folder, straight = tmp_path / "output" / "stopped", tmp_path / "output" / "straight"
    assert read_checkpoint(folder / "last.pt")["progress"] is not None
    assert not (folder / "lock.json").exists()
    assert run_script("train.py", *arguments, "checkpoint.name=stopped", processes=processes).returncode == 0
    assert_same_run(folder, straight)


def descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children] + [inner for child in children for inner in descendants(int(child))]


def test_nothing_outlives_a_killed_launcher(tiny_config, tmp_path) -> None:
    config = tiny_config(schedule="{epochs: 1000, warmup_epochs: 0}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    launcher = subprocess.Popen(
        [*command, "--config", str(config), "data.num_workers=1"], cwd=REPOSITORY, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while "update 4 " not in launcher.stdout.readline():
        pass
    processes = descendants(launcher.pid)
    assert len(processes) >= 4, "two of training, with a loader process each"
    launcher.kill()
    launcher.wait()
    end = time.monotonic() + 40
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]
    assert read_checkpoint(tmp_path / "output" / "tiny" / "last.pt")["updates"] > 0
    assert not (tmp_path / "output" / "tiny" / "lock.json").exists()


def flip_a_bit(path: Path, entry: str) -> None:
    with ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(entry))
    content = bytearray(path.read_bytes())
    extra = int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
    content[info.header_offset + 30 + len(info.filename) + extra + info.file_size // 2] ^= 4
    path.unlink()  # a state of its own, not the one that other names share
    path.write_bytes(content)


@pytest.mark.parametrize("entry", ["/data.pkl", "/data/0", "/data/21"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(config, tmp_path, capsys, entry) -> None:
    run(config, "damaged", "schedule.epochs=2")
    folder = tmp_path / "output" / "damaged"
    for path in (folder / "last.pt", saved_states(folder)[0]):
        flip_a_bit(path, entry)
    (folder / "metrics.csv").write_text("epoch,\n\n\0\0\0\0garbage")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\0\0\0\n\n{}\n[1]\nnothing\n")
    capsys.readouterr()
    run(config, "damaged")
    output = capsys.readouterr().out
    assert re.search(r"warning: .*last\.pt is damaged", output) and "continuing with epoch 2\n" in output
    # The schedule had two epochs less when the first were trained, so only what is recorded can be compared.
    assert [row["epoch"] for row in table(folder)] == ["0", "1", "2", "3"]
    assert [line["update"] for line in updates(folder)] == list(range(1, 13))


def test_best_alone_is_better_than_nothing(config, tmp_path, capsys) -> None:
    run(config, "bare", "schedule.epochs=1")
    folder = tmp_path / "output" / "bare"
    epoch = read_checkpoint(folder / "best.pt")["epoch"]
    (folder / "last.pt").unlink()
    for state in saved_states(folder):
        state.unlink()
    capsys.readouterr()
    run(config, "bare")
    assert f"continuing with epoch {epoch}\n" in capsys.readouterr().out


def test_other_columns_after_a_change_make_one_table(config, tmp_path) -> None:
    run(config, "columns", "schedule.epochs=1")
    run(config, "columns", "training.ema_decay=null")
    rows = table(tmp_path / "output" / "columns")
    assert [bool(row["ema_top1"]) for row in rows] == [True, True, False, False]
    assert all(row["val_top1"] for row in rows)


def test_a_run_continues_in_another_precision(config, tmp_path) -> None:
    run(config, "precision", "schedule.epochs=1")
    run(config, "precision", "training.precision=float16")
    run(config, "precision", "schedule.epochs=4", "training.precision=bfloat16")
    assert len(table(tmp_path / "output" / "precision")) == 5


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda c: c.pop("optimizer"), "it has no optimizer"),
        (lambda c: c.update(epoch="2"), "its epoch is '2'"),
        (lambda c: c.update(epoch=-1), "its epoch is -1"),
        (lambda c: c["optimizer"].update(state={}), "its optimizer has no state"),
        (lambda c: c.update(epoch=1), "it has 2 rows for 1 epochs"),
        (lambda c: c.update(progress={"updates": -3}), "its progress is -3"),
    ],
)
def test_impossible_checkpoints_end_with_one_message(config, tmp_path, capsys, damage, problem) -> None:
    run(config, "odd", "schedule.epochs=1")
    folder = tmp_path / "output" / "odd"
    content = torch.load(folder / "last.pt", weights_only=True)
    damage(content)
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(SystemExit):
        train.main(["--config", config, "checkpoint.name=new", f"checkpoint.resume={tmp_path / 'odd.pt'}"])
    assert re.match(
        rf"error: .*odd\.pt is damaged: {re.escape(problem)}; continue from another", capsys.readouterr().err
    )


def test_more_epochs_than_the_run_has_are_refused(config, tmp_path, capsys) -> None:
    run(config, "long")
    (tmp_path / "output" / "long" / "model.safetensors").unlink()
    with pytest.raises(SystemExit):
        run(config, "long", "schedule.epochs=1")
    assert "has its 4 epochs already; raise schedule.epochs" in capsys.readouterr().err


def test_a_second_start_names_the_first(config, tmp_path, capsys) -> None:
    folder = tmp_path / "output" / "twice"
    code = f"import pathlib\nfrom training.run_lock import run_lock\nwith run_lock(pathlib.Path({str(folder)!r})):\n    print(flush=True)\n    input()"
    first = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    first.stdout.readline()
    with pytest.raises(SystemExit):
        run(config, "twice")
    assert f"twice is in use by process {first.pid}" in capsys.readouterr().err
    first.communicate(b"\n", timeout=20)
    run(config, "twice")
