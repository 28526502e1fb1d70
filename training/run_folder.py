"""The folder of a run: what was run, on what, and where to continue."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dcls.errors import UserError
from training.atomic_io import write_text_atomic
from training.config import CheckpointConfig, Config
from training.config_file import dump_config
from training.processes.distributed import DistributedContext

LAST, BEST, SAVES, WEIGHTS = "last.pt", "best.pt", "saves", "model.safetensors"
CONFIG, METRICS, ENVIRONMENT = "config.yaml", "metrics.csv", "environment.json"


def resolve_run_dir(config: CheckpointConfig, config_file: Path) -> tuple[Path, list[Path]]:
    """Return the run's folder, and the checkpoints to continue from: the first of them that is not damaged.

    Raises:
        UserError: the folder holds a run already and nothing says to continue that one, or the checkpoint is missing.
    """
    folder = Path(config.dir) / (config.name or config_file.stem)
    last = folder / LAST
    if config.resume == "auto":
        return folder, [path for path in (last, *saved_states(folder), folder / BEST) if path.is_file()]
    if config.resume is not None:
        if not Path(config.resume).is_file():
            raise UserError(f"no file {config.resume}", key="checkpoint.resume", on_every_rank=True)
        if Path(config.resume).parent.resolve() == folder.resolve():
            return folder, [Path(config.resume)]
    if last.exists() or (folder / METRICS).exists():
        raise UserError(
            f"{folder} holds a run already",
            "continue it with checkpoint.resume=auto, choose another checkpoint.name, or remove the folder",
            key="checkpoint.name",
            on_every_rank=True,
        )
    return folder, [Path(config.resume)] if config.resume else []


def saved_states(folder: Path) -> list[Path]:
    """Return the states that were saved into a run's folder, the newest first."""
    return sorted((path for path in (folder / SAVES).glob("*.pt") if path.stem.isdecimal()), reverse=True)


def write_run_facts(folder: Path, config: Config, distributed: DistributedContext, model_facts: dict[str, Any]) -> None:
    """Write config.yaml (resolved) and environment.json (versions, commit, hardware, command, size of the model).

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error}", key="checkpoint.dir") from error
    write_text_atomic(folder / CONFIG, dump_config(config))
    facts = {**environment(distributed), "model": model_facts}
    write_text_atomic(folder / ENVIRONMENT, json.dumps(facts, indent=2) + "\n")


def environment(distributed: DistributedContext) -> dict[str, Any]:
    """Versions, commit, hardware and command of this process."""
    packages = ("torch", "torchvision", "timm", "pillow", "numpy", "dcls-imagenet")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": distributed.world_size,
    }


def describe_environment() -> str:
    """Return date, commit, versions and hardware in one line, for the head of a table of measurements."""
    facts = environment(DistributedContext(0, 1, torch.device("cpu")))
    return (
        f"{facts['date'][:10]}, commit {(facts['commit'] or 'unknown')[:10]}, torch {facts['packages']['torch']}, "
        f"Python {facts['python']}, {facts['gpu'] + ', ' if facts['gpu'] else ''}{facts['cores']} cores of "
        f"{facts['processor']}"
    )


def _commit() -> str | None:
    """Return the commit of the code, marked if files differ from it; None outside a git checkout."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # this project itself, in a clone that is not installed
        return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
