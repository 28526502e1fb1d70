"""The quickstart's first losses are those that were recorded: an unintended change of numerics is seen.

After an intended one, record them again and say in the commit what changed them:

    python tests/test_golden_losses.py
"""

import json
import tempfile
from pathlib import Path

import pytest
from processes import run_script

GOLDEN = Path(__file__).parent / "golden" / "quickstart_losses.txt"
UPDATES = 5
# Processors and thread counts sum in other orders, and every update carries the difference on.
RELATIVE_TOLERANCE = 1e-3


def first_losses(folder: Path) -> list[float]:
    """Train the quickstart's model on its first images, and return the loss of every update."""
    result = run_script(
        "train.py", "--config=configs/quickstart.yaml", f"checkpoint.dir={folder}", "checkpoint.name=golden",
        "training.deterministic=true", "training.device=cpu", "data.num_workers=0", "logging.log_interval=1",
        "schedule.epochs=1", "schedule.warmup_epochs=0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = map(json.loads, (folder / "golden" / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "update"][:UPDATES]


def test_the_first_losses_are_those_recorded(tmp_path) -> None:
    expected = [float(line) for line in GOLDEN.read_text().splitlines()]
    assert len(expected) == UPDATES
    assert first_losses(tmp_path) == pytest.approx(expected, rel=RELATIVE_TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text("".join(f"{loss:.6f}\n" for loss in first_losses(Path(folder))))
