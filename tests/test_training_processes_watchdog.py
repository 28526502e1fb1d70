import os
import re
import time

from processes import run_script


def test_a_process_that_does_not_answer_ends_the_run_and_is_named(tiny_config, image_folder) -> None:
    """One image is a pipe that nobody writes to: who reads it waits for ever."""
    image = image_folder / "train" / "top" / "3.png"
    image.unlink()
    os.mkfifo(image)
    config = tiny_config(schedule="{epochs: 3, warmup_epochs: 0}")
    began = time.monotonic()
    result = run_script("train.py", "--config", config, "training.timeout_minutes=0.1", processes=2)
    assert result.returncode == 1 and time.monotonic() - began < 120
    named = re.findall(r"error: process ([01]) of 2 has not answered since 20\S+, for more than 6 s", result.stderr)
    assert len(named) == 1, result.stderr
