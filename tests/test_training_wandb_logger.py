import pytest
import wandb
from processes import run_script

import train
from training import wandb_logger


def test_wandb_logger_offline(tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    train.main(["--config", str(tiny_config()), "logging.wandb=offline"])
    folder = tmp_path / "output" / "tiny"
    (run,) = (folder / "wandb").glob("offline-run-*")
    assert run.name.endswith((folder / "wandb_id").read_text())
    assert list(run.glob("run-*.wandb"))


def logged_to_wandb(monkeypatch) -> list[dict]:
    """What a run sends, in order; its data still reaches the offline files."""
    sent = []
    log = wandb.Run.log

    def remember(self, values, step=None):
        sent.append({"step": step, **values})
        log(self, values, step=step)

    monkeypatch.setattr(wandb.Run, "log", remember)
    return sent


def test_wandb_logger_gets_rates_norms_positions_and_kernels(tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    sent = logged_to_wandb(monkeypatch)
    train.main(["--config", str(tiny_config()), "logging.wandb=offline", "logging.wandb_group=row"])
    update, epoch = sent[0], next(row for row in sent if "val_top1" in row)
    assert update["learning_rate/positions_x5"] == pytest.approx(5 * update["learning_rate/weights"])
    assert "learning_rate/no_decay" in update and update["gradient_norm"] > 0
    shared = "stages.0.blocks.0.conv_dw.shared"
    assert {f"positions/{shared}", "sigma/stages.3.blocks.0.conv_dw.shared", "kernels"} <= epoch.keys()
    assert epoch["positions"].image.size[0] > 100
    numbers = {key.rpartition("/")[2] for key in epoch if key.startswith("diagnostics/stages.0.blocks.0.conv_dw/")}
    assert {"effective_radius", "mass_outside", "at_border", "coinciding", "at_floor", "spread_median"} <= numbers
    assert sum(epoch[f"positions/{shared}"].histogram) == 2 * 8 * 3
    assert epoch["kernels"].image.size[0] > 100
    assert [row["step"] for row in sent] == sorted(row["step"] for row in sent)


def test_a_restart_continues_the_same_wandb_run(tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = str(tiny_config())
    train.main(["--config", config, "logging.wandb=offline", "schedule.epochs=1"])
    train.main(["--config", config, "logging.wandb=offline", "checkpoint.resume=auto"])
    folder = tmp_path / "output" / "tiny"
    # offline-run-DATE_TIME-ID, and a number after it where both runs began in one second.
    ids = [run.name.split("-")[3] for run in (folder / "wandb").glob("offline-run-*")]
    assert len(ids) == 2 and set(ids) == {(folder / "wandb_id").read_text()}


def test_an_outage_of_wandb_does_not_stop_training(tiny_config, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setattr(wandb_logger, "OUTAGE_SECONDS", 2)

    def fail(*_, **__):
        raise ConnectionError("gone")

    monkeypatch.setattr(wandb.Run, "log", fail)
    train.main(["--config", str(tiny_config()), "logging.wandb=online"])
    output = capsys.readouterr().out
    assert output.count("warning: Weights & Biases") == 1 and "offline" in output
    assert (tmp_path / "output" / "tiny" / "model.safetensors").exists()


def test_wandb_without_a_key_is_the_users_to_mend(tiny_config, tmp_path) -> None:
    unknown = {"WANDB_API_KEY": "", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    result = run_script("train.py", "--config", tiny_config(), "logging.wandb=online", **unknown)
    assert result.returncode == 1
    assert "error: logging.wandb: cannot start the run: " in result.stderr and "Traceback" not in result.stderr
