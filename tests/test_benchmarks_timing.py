"""Who runs when, and what is counted."""

import time
from functools import partial

import pytest
import torch

from benchmarks.timing import median_ratio, peak_memory, seconds_in_processes, seconds_in_turn


def sleeper(seconds: float):
    return partial(time.sleep, seconds)


def allocator(size: int):
    return lambda: torch.ones(size, dtype=torch.uint8)


def test_passes_take_turns_and_one_round_does_not_count() -> None:
    calls = []
    passes = {name: partial(calls.append, name) for name in "ab"}
    times = seconds_in_turn(passes, rounds=2, repetitions=2, warm_ups=1)
    assert "".join(calls) == 3 * "aaabbb"
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_the_time_is_that_of_one_repetition() -> None:
    times = seconds_in_turn({"pass": sleeper(0.02)}, rounds=1, repetitions=3)
    assert 0.02 <= times["pass"][0] < 0.05


def test_passes_in_processes_of_their_own() -> None:
    times = seconds_in_processes({1: partial(sleeper, 0.01), 2: partial(sleeper, 0.03)}, rounds=2)
    assert len(times[1]) == len(times[2]) == 2
    assert min(times[1]) >= 0.01 and min(times[2]) >= 0.03


def test_ratios_are_taken_round_by_round() -> None:
    assert median_ratio({"a": [1.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]}, "a", "b") == 2.0


def test_peak_memory_is_that_of_the_pass() -> None:
    assert peak_memory(allocator, 300 << 20) == pytest.approx(300 << 20, rel=0.2)
