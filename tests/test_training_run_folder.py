import json
from pathlib import Path

import pytest
import torch
from linear_training import ALONE, linear_config

from dcls.errors import UserError
from training.config import CheckpointConfig
from training.config_file import load_config
from training.processes.distributed import DistributedContext
from training.run_folder import environment, resolve_run_dir, write_run_facts


def test_environment_names_the_commit(tmp_path) -> None:
    facts = environment(DistributedContext(0, 1, torch.device("cpu")))
    assert facts["commit"] is None or len(facts["commit"].removesuffix("-dirty")) == 40


def test_a_run_continues_from_the_newest_of_its_checkpoints(tmp_path) -> None:
    config = CheckpointConfig(dir=str(tmp_path), resume="auto")
    folder = tmp_path / "tiny"
    assert resolve_run_dir(config, Path("tiny.yaml")) == (folder, [])
    (folder / "saves").mkdir(parents=True)
    for name in ("last.pt", "best.pt", "saves/00000003.pt", "saves/00000012.pt", "saves/00000012.pt.partial"):
        (folder / name).touch()
    _, checkpoints = resolve_run_dir(config, Path("tiny.yaml"))
    assert [str(path.relative_to(folder)) for path in checkpoints] == [
        "last.pt", "saves/00000012.pt", "saves/00000003.pt", "best.pt"
    ]  # fmt: skip


def test_a_folder_that_holds_a_run_is_not_taken_for_a_new_one(tmp_path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "metrics.csv").touch()
    (tmp_path / "other.pt").touch()
    for resume in (None, str(tmp_path / "other.pt")):
        with pytest.raises(UserError, match="checkpoint.name: .*used holds a run already; continue it with"):
            resolve_run_dir(CheckpointConfig(dir=str(tmp_path), name="used", resume=resume), Path("x.yaml"))
    with pytest.raises(UserError, match="checkpoint.resume: no file nowhere.pt"):
        resolve_run_dir(CheckpointConfig(dir=str(tmp_path), resume="nowhere.pt"), Path("x.yaml"))


def test_facts_of_a_run_are_written_beside_it(tmp_path) -> None:
    config = linear_config()
    write_run_facts(tmp_path / "run", config, ALONE, {"parameters": 39})
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert facts["model"] == {"parameters": 39} and facts["processes"] == 1
    assert load_config(tmp_path / "run" / "config.yaml") == config
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="checkpoint.dir: cannot write to .*file"):
        write_run_facts(tmp_path / "file", config, ALONE, {})
