"""Whole runs of train.py on small images."""

import csv
import fcntl
import json
import math
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import REPOSITORY
from processes import run_script
from safetensors.torch import load_file

import train
from dcls.checkpoints import read_weights
from training.checkpoints.checkpoint import read_checkpoint


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_close_weights(first, second, tolerance: float = 1e-5) -> None:
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_a_run_leaves_all_its_files(tiny_config, tmp_path, capsys) -> None:
    train.main(["--config", str(tiny_config())])
    folder = tmp_path / "output" / "tiny"
    assert {f.name for f in folder.iterdir()} == {
        "config.yaml", "environment.json", "metrics.csv", "metrics.jsonl", "last.pt", "best.pt", "model.safetensors", "saves",
        "positions",
    }  # fmt: skip
    assert [row["epoch"] for row in rows(folder)] == ["0", "1"]
    assert {"train_loss", "val_top1", "val_top5", "val_loss", "ema_top1", "learning_rate"} <= rows(folder)[0].keys()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("update") == 6
    assert all(math.isfinite(line["loss"]) for line in lines if line["kind"] == "update")
    resolved = yaml.safe_load((folder / "config.yaml").read_text())
    assert resolved["optimizer"]["lr"] == 1e-3 and resolved["optimizer"]["weight_decay"] == 0.05
    facts = json.loads((folder / "environment.json").read_text())
    assert facts["packages"]["torch"] == torch.__version__.split("+")[0] and facts["processor"]
    checkpoint = read_checkpoint(folder / "last.pt")
    assert (checkpoint["epoch"], checkpoint["updates"]) == (2, 6)
    averaged = read_weights(folder / "last.pt")
    assert all(torch.equal(averaged[n], t) for n, t in load_file(folder / "model.safetensors").items())
    assert "epoch 1  update 6  loss" in capsys.readouterr().out


def test_training_learns_and_positions_move(tiny_config, tmp_path) -> None:
    path = tiny_config(schedule="{epochs: 12, warmup_epochs: 0}", optimizer="{lr: 1e-2}")
    train.main(["--config", str(path)])
    history = rows(tmp_path / "output" / "tiny")
    assert float(history[-1]["val_top1"]) > 90
    assert float(history[-1]["train_loss"]) < float(history[0]["train_loss"])
    trained = read_weights(tmp_path / "output" / "tiny" / "last.pt")
    assert trained["stages.0.blocks.0.conv_dw.shared.sigma"].std() > 1e-3


def test_a_run_cut_off_continues_to_the_same_weights(tiny_config, tmp_path, monkeypatch, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 4, warmup_epochs: 0}"))
    train.main(["--config", config, "checkpoint.name=straight"])

    train_one = train.train_one

    def cut_off(run, *reports):
        if run.state.epoch == 2:
            raise KeyboardInterrupt
        train_one(run, *reports)

    monkeypatch.setattr(train, "train_one", cut_off)
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", config, "checkpoint.name=cut", "checkpoint.resume=auto"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted; continue with checkpoint.resume=auto\n"
    monkeypatch.undo()
    folder = tmp_path / "output" / "cut"
    for name, rest in (("metrics.csv", "2,written,before,the,cut\n2,0.0"), ("metrics.jsonl", '{"kind": "upd')):
        with (folder / name).open("a") as file:
            file.write(rest)
    train.main(["--config", config, "checkpoint.name=cut", "checkpoint.resume=auto"])
    assert [row["epoch"] for row in rows(folder)] == ["0", "1", "2", "3"]
    assert_close_weights(folder, tmp_path / "output" / "straight")


def test_a_changed_learning_rate_holds_after_resuming(tiny_config, tmp_path) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0, name: constant}"))
    train.main(["--config", config])
    last = tmp_path / "output" / "tiny" / "last.pt"
    changed = ["optimizer.lr=5e-4", "optimizer.weight_decay=0.3", "schedule.epochs=2", "checkpoint.name=more"]
    train.main(["--config", config, f"checkpoint.resume={last}", *changed])
    groups = read_checkpoint(tmp_path / "output" / "more" / "last.pt")["optimizer"]["param_groups"]
    assert {round(g["lr"], 10) for g in groups} == {5e-4, 25e-4}
    assert {g["weight_decay"] for g in groups} == {0.0, 0.3}


def test_continuing_as_another_run_is_refused(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    folder = tmp_path / "output" / "tiny"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for override, message in (
        ("model.options.interpolation=triangle", "error: model.options: .* which would be another run"),
        ("optimizer.name=lamb", "error: optimizer.name: 'adamw' in .*last.pt and now 'lamb', which would be another"),
        ("training.batch_size=6", "error: training.batch_size: 12 in .*last.pt and now 6, which would be another run"),
    ):
        with pytest.raises(SystemExit):
            train.main(["--config", config, "checkpoint.resume=auto", "schedule.epochs=2", override])
        assert re.match(message, capsys.readouterr().err)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_what_changed_is_reported_when_a_run_continues(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    capsys.readouterr()
    train.main(["--config", config, "checkpoint.resume=auto", "schedule.epochs=2", "optimizer.clip_grad=1.0"])
    output = capsys.readouterr().out
    assert "continuing with epoch 1\n" in output
    assert "  changed: schedule.epochs from 1 to 2\n" in output
    assert "  changed: optimizer.clip_grad from None to 1.0\n" in output
    assert output.count("changed:") == 2
    lines = [json.loads(x) for x in (tmp_path / "output" / "tiny" / "metrics.jsonl").read_text().splitlines()]
    (continued,) = (line for line in lines if line["kind"] == "continued")
    assert continued["changes"] == {"schedule.epochs": [1, 2], "optimizer.clip_grad": [None, 1.0]}


def test_a_finished_run_that_goes_on_is_not_finished_until_its_new_end(tiny_config, tmp_path, monkeypatch) -> None:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    weights = tmp_path / "output" / "tiny" / "model.safetensors"
    train.main(["--config", config])
    first = weights.read_bytes()
    going_on = ["--config", config, "checkpoint.resume=auto", "schedule.epochs=2"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(train, "save_weights", interrupt)
        train.main(going_on)
    assert not weights.exists(), "it would be taken for the outcome of two epochs"
    train.main(going_on)
    assert weights.read_bytes() != first


def test_a_finished_run_keeps_its_records(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    folder = tmp_path / "output" / "tiny"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    capsys.readouterr()
    train.main(["--config", config, "checkpoint.resume=auto"])
    assert capsys.readouterr().out.startswith("finished already, after 1 epochs: best top-1 ")
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_two_runs_are_not_mixed_in_one_folder(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    for name in ("first", "second"):
        train.main(["--config", config, f"checkpoint.name={name}"])
    first = tmp_path / "output" / "first" / "last.pt"
    more = ["--config", config, f"checkpoint.resume={first}", "schedule.epochs=2"]
    with pytest.raises(SystemExit):
        train.main([*more, "checkpoint.name=second"])
    assert "second holds a run already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train.main([*more, "schedule.epochs=1", "checkpoint.name=third"])
    assert "has its 1 epochs already; raise schedule.epochs" in capsys.readouterr().err
    train.main([*more, "checkpoint.name=third", "optimizer.lr=1e-6"])  # no better than before
    assert read_checkpoint(tmp_path / "output" / "third" / "best.pt")["epoch"] == 2


def test_two_processes_give_the_weights_of_one(tiny_config, tmp_path) -> None:
    augmentation = "{}"  # all of the recipe's: the batches of 6 are the same, whichever process has them
    model = "{name: convnext_atto_dcls_gaussian, drop_path_rate: 0.3, options: {dims: [8, 8, 16, 16], depths: [1, 1, 1, 1]}}"
    training = "{batch_size: 24, micro_batch_size: 6, ema_decay: 0.9, device: cpu}"
    config = tiny_config(augmentation=augmentation, model=model, training=training)
    for processes in (1, 2):
        limit = "training.seed=3"
        result = run_script("train.py", "--config", config, f"checkpoint.name=p{processes}", limit, processes=processes)
        assert result.returncode == 0, result.stderr
    one, two = (tmp_path / "output" / name for name in ("p1", "p2"))
    assert_close_weights(one, two)
    for a, b in zip(rows(one), rows(two), strict=True):
        for key in ("train_loss", "val_loss", "val_top1", "ema_loss"):
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4), key
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    scores = run_script("validate.py", "--checkpoint", two / "best.pt", "--data-dir", yaml.safe_load(config.read_text())["data"]["dir"], processes=2)  # fmt: skip
    assert json.loads(scores.stdout.splitlines()[-1])["num_images"] == 15


def test_processes_evaluate_one_model_with_batch_norm(tiny_config, image_folder, tmp_path) -> None:
    config = tiny_config(model="{name: resnet18}", schedule="{epochs: 1, warmup_epochs: 0}")
    result = run_script("train.py", "--config", config, processes=2)
    assert result.returncode == 0, result.stderr
    (row,) = rows(tmp_path / "output" / "tiny")
    last = tmp_path / "output" / "tiny" / "last.pt"
    for prefix, flag in (("val", "--no-ema"), ("ema", "--ema")):
        alone = run_script("validate.py", "--checkpoint", last, "--data-dir", image_folder, "--workers=0", flag)
        assert json.loads(alone.stdout.splitlines()[-1])["loss"] == pytest.approx(
            float(row[f"{prefix}_loss"]), rel=1e-4
        )


def test_deterministic_runs_are_equal_to_the_bit(tiny_config, tmp_path) -> None:
    config = str(
        tiny_config(augmentation="{}", training="{batch_size: 12, deterministic: true, ema_decay: null, device: cpu}")
    )
    for name in ("a", "b"):
        train.main(["--config", config, f"checkpoint.name={name}"])
    torch.use_deterministic_algorithms(False)
    assert_close_weights(tmp_path / "output" / "a", tmp_path / "output" / "b", tolerance=0)


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.precision=bfloat16", "training.gradient_checkpointing=true"],
        ["training.precision=float16", "optimizer.clip_grad=1.0"],
        ["training.channels_last=false", "optimizer.clip_grad=0.1", "optimizer.clip_mode=agc"],
        ["optimizer.name=lamb", "optimizer.layer_decay=0.8", "optimizer.clamp_positions=true"],
        ["augmentation.mixup=0.8", "augmentation.cutmix=1.0", "model.drop_path_rate=0.3"],
        ["model.name=convformer_xs12_dcls_gaussian", "model.options={dims: [8, 8, 16, 16], depths: [1, 1, 1, 1]}"],
        ["model.name=resnet18", "model.options={}", "optimizer.name=sgd"],
        ["training.compile=true", "model.options.depths=[0, 0, 0, 1]"],  # each block more takes long to compile
    ],
    ids=lambda overrides: ",".join(o.split(".")[-1] for o in overrides)[:60],
)
def test_options_of_training_run(tiny_config, tmp_path, overrides) -> None:
    overrides = ["model.options={dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], dilated_kernel_size: 5, kernel_count: 3}", *overrides]  # fmt: skip
    sections = dict(model="{name: convnext_atto_dcls_gaussian}", schedule="{epochs: 1, warmup_epochs: 0}")
    train.main(["--config", str(tiny_config(**sections)), *overrides])
    (row,) = rows(tmp_path / "output" / "tiny")
    assert all(math.isfinite(float(value)) for value in row.values())


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{name: constant, epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    last = tmp_path / "output" / "tiny" / "last.pt"
    before = last.read_bytes()
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", config, "checkpoint.resume=auto", "schedule.epochs=3", "optimizer.lr=1e30"])
    message = capsys.readouterr().err
    assert stop.value.code == 1
    assert "the loss is nan at update 5 (epoch 1), learning rate 1e+30" in message
    assert f"Last good checkpoint: {last}" in message
    assert last.read_bytes() == before


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.name=convnext_tiny_dcls_gaus"], "error: model.name: no architecture 'convnext_tiny_dcls_gaus'.*did you mean convnext_tiny_dcls_gaussian"),
        (["model.options.drop_rate=0.3"], "error: command line: model.options.drop_rate: set model.drop_rate"),
        (["optimizer.options.speed=3"], "error: optimizer.options.speed: adamw cannot be built: .*speed"),
        (["model.options.kernel_cuont=3"], "error: model.options.kernel_cuont: convnext_atto_dcls_gaussian takes no such option"),
        (["model.options.interpolation=cubic"], "error: model.options.interpolation: .*unknown interpolation 'cubic'"),
        (["model.pretrained=true"], "error: model.pretrained: there are no pretrained weights for convnext_atto_dcls_gaussian"),
        (["model.initial_checkpoint=nowhere.pt"], "error: model.initial_checkpoint: no checkpoint file nowhere.pt"),
        (["model.num_classes=5"], "error: model.num_classes: 5, but the data set has 3 classes"),
        (["data.dir=nowhere"], "error: data.dir: no folder nowhere/train in /"),
        (["data.image_size=8"], "error: data.image_size: ConvNeXt.* cannot take RGB images of 8x8: "),
        (["data.dataset=cifar10"], "error: command line: data.dataset: 'cifar10' has none of timm's prefixes torch/"),
        (["data.dataset=torch/cifar10"], "error: data.dataset: cannot open torch/cifar10 .*data.download=true fetches"),
        (["augmentation.auto_augment=foo"], "error: command line: augmentation.auto_augment: timm does not understand 'foo'"),
        (["training.device=cuda"], "error: training.device: 'cuda' is not available"),
        (["training.device=toaster"], "error: training.device: 'toaster' is not a device"),
        (["checkpoint.resume=nowhere.pt"], "error: checkpoint.resume: no file nowhere.pt"),
        (["checkpoint.dir=/proc/nowhere"], "error: checkpoint.dir: cannot write to /proc/nowhere"),
        (["trainig.seed=1"], "error: command line: unknown key trainig; did you mean training?"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(tiny_config, capsys, overrides, message) -> None:
    if torch.cuda.is_available() and "training.device=cuda" in overrides:
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(tiny_config()), *overrides])
    output = capsys.readouterr()
    assert stop.value.code == 1
    assert re.search(message, output.err), output.err
    assert "Traceback" not in output.err


def test_a_finished_run_is_not_overwritten(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    before = (tmp_path / "output" / "tiny" / "metrics.csv").read_text()
    with pytest.raises(SystemExit):
        train.main(["--config", config])
    assert "holds a run already; continue it with checkpoint.resume=auto" in capsys.readouterr().err
    assert (tmp_path / "output" / "tiny" / "metrics.csv").read_text() == before


def test_a_full_disk_ends_with_one_message_and_harms_nothing(tiny_config, tmp_path, capsys) -> None:
    config = str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))
    train.main(["--config", config])
    folder = tmp_path / "output" / "tiny"
    before = {name: (folder / name).read_bytes() for name in ("last.pt", "best.pt", "model.safetensors")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # a larger file fails as on a full disk
    try:
        with pytest.raises(SystemExit):
            train.main(["--config", config, "checkpoint.resume=auto", "schedule.epochs=2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = capsys.readouterr().err
    assert re.fullmatch(r"error: cannot write .*\.pt: .*the one written before is kept. Is the disk full\?\n", message)
    assert {name: (folder / name).read_bytes() for name in before} == before
    train.main(["--config", config, "checkpoint.resume=auto", "schedule.epochs=2"])
    assert [row["epoch"] for row in rows(folder)] == ["0", "1"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_broken_image_ends_a_real_run_with_its_name(tiny_config, image_folder, processes) -> None:
    victim = image_folder / "train" / "top" / "0.png"
    victim.write_bytes(b"broken")
    result = run_script("train.py", "--config", tiny_config(), "data.num_workers=1", processes=processes)
    assert result.returncode == 1
    assert f"error: cannot decode image {victim}" in result.stderr
    if processes == 1:
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_mistake_under_torchrun_is_told_once(tiny_config) -> None:
    result = run_script("train.py", "--config", tiny_config(), "optimizer.lrr=1", processes=2)
    assert result.returncode != 0
    assert result.stderr.count("unknown key optimizer.lrr; did you mean optimizer.lr?") == 1


def test_help_lists_sections_and_keys() -> None:
    result = run_script("train.py", "--help")
    assert result.returncode == 0
    for text in ("optimizer: How the weights are updated", "optimizer.lr [0.004]", "training.seed [0]", "data.dir\n"):
        assert text in result.stdout


def test_a_terminal_gets_a_progress_bar(tiny_config) -> None:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows, columns
    command = [
        sys.executable,
        REPOSITORY / "train.py",
        "--config",
        tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal)
    output, _ = process.communicate(timeout=300)
    os.close(terminal)
    shown = read_all(controller)
    assert process.returncode == 0
    assert "epoch 0: 100%" in shown and "3/3" in shown
    assert b"update 1  loss" not in output and b"finished" in output


def read_all(controller: int) -> str:
    """All that was written to a terminal whose other end is closed."""
    parts = []
    try:
        while part := os.read(controller, 100_000):
            parts.append(part)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(controller)
    return b"".join(parts).decode()


def test_a_run_whose_average_is_worse_says_what_its_files_hold(tmp_path) -> None:
    state = SimpleNamespace(
        ema=True, best_top1=72.0, history=[{"val_top1": 72.0, "ema_top1": 50.0}, {"val_top1": 70.0, "ema_top1": 60.0}]
    )
    run = SimpleNamespace(state=state, folder=tmp_path)
    assert train.outcome(run) == (
        f"best top-1 72.00 % in {tmp_path / 'best.pt'} (their average has 50.00 %), the last epoch's averaged weights "
        f"(60.00 %, without averaging 70.00 %) in {tmp_path / 'model.safetensors'}"
    )
    state.history[1], state.best_top1 = {"val_top1": 70.0, "ema_top1": 74.0}, 74.0
    assert train.outcome(run) == (
        f"best top-1 74.00 % in {tmp_path / 'best.pt'}, the last epoch's averaged weights in "
        f"{tmp_path / 'model.safetensors'}"
    )
