import os
import signal
import time

import pytest

from dcls.errors import UserError
from training.data.preparation.cores import on_all_cores, progress, until_stopped
from training.processes.cores import usable_cores


def add(job: int, item: int) -> int:
    return job + item


def fail_or_wait(folder, item: int) -> None:
    (folder / str(item)).touch()
    if item == 0:
        while not (folder / "1").exists():
            time.sleep(0.01)
        raise OSError(28, "No space left on device")
    for _ in until_stopped(range(10**6)):
        time.sleep(0.01)


def die(job: None, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_item_has_its_result() -> None:
    with on_all_cores(add, 10, list(range(20)), 3) as results:
        assert sorted(results) == list(range(10, 30))
    with on_all_cores(add, 10, [], 2) as results:
        assert list(results) == []


def test_the_first_error_stops_the_other_processes_and_is_raised(tmp_path) -> None:
    with pytest.raises(OSError, match="No space"), on_all_cores(fail_or_wait, tmp_path, list(range(30)), 2) as results:
        list(results)
    assert len(list(tmp_path.iterdir())) < 30


def test_an_interruption_stops_all_processes(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), on_all_cores(fail_or_wait, tmp_path, [1, 2], 2):
        while not (tmp_path / "1").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt


def test_a_process_that_was_killed_is_told() -> None:
    with pytest.raises(UserError, match="a process was killed"), on_all_cores(die, None, [1], 1) as results:
        list(results)


def test_outside_of_such_a_process_nothing_stops() -> None:
    assert list(until_stopped("abc")) == ["a", "b", "c"] and usable_cores() >= 1


def test_progress_counts_what_was_done_before(capsys) -> None:
    with progress(10, 4, "writing train") as bar:
        bar.update(6)
    assert "writing train: 100%" in capsys.readouterr().err
