import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from filelock import FileLock
from finished_runs import ROWS

from dcls.errors import UserError
from faults.tiny import wait_for
from reproduction.local import share_of_machine, train_all
from reproduction.rows import find_rows
from reproduction.runs import plan_runs


def test_runs_side_by_side_get_gpus_of_their_own() -> None:
    gpus = [str(index) for index in range(4, 12)]
    assert [share_of_machine(place, 2, 4, gpus)["CUDA_VISIBLE_DEVICES"] for place in range(2)] == [
        "4,5,6,7",
        "8,9,10,11",
    ]
    assert [share_of_machine(place, 3, 1, gpus[:2])["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["4", "5", "4"]
    assert share_of_machine(0, 1, 8, gpus) == {} and "CUDA_VISIBLE_DEVICES" not in share_of_machine(0, 2, 1, ["4"])
    with pytest.raises(UserError, match="2 runs of 8 processes need 16 GPUs, here are 8"):
        share_of_machine(0, 2, 8, gpus)


def test_a_run_that_another_launch_trains_is_left_alone(tmp_path, capsys) -> None:
    (run,) = plan_runs(find_rows(ROWS[:1]), [3, 3], tmp_path)
    run.folder.mkdir(parents=True)
    with FileLock(run.folder / "launch.lock"):
        train_all([run], at_once=1, processes=1, overrides=[])
    assert "is being trained by another launch" in capsys.readouterr().out
    assert [file.name for file in run.folder.iterdir()] == ["launch.lock"]


LAUNCH = f"""
import sys
from pathlib import Path
from reproduction import local, rows, runs
local.command = lambda *_: [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(300)"]
local.train_all(runs.plan_runs(rows.find_rows({ROWS[:1]}), [3], Path(sys.argv[1])), 1, 1, [])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_does_not_outlive_its_launch(tmp_path, number) -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path)], cwd=REPOSITORY) as launch:
        assert wait_for(lambda: any(log.read_text().endswith("\n") for log in tmp_path.rglob("log.txt")), 60)
        launch.send_signal(number)
    status = Path("/proc", next(tmp_path.rglob("log.txt")).read_text().strip(), "status")
    assert wait_for(lambda: not status.exists() or "State:\tZ" in status.read_text(), 60)
