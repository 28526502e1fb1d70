"""Timing of alternatives side by side, and the memory they take."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch

Name = TypeVar("Name")


def seconds_in_turn(
    passes: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    *,
    repetitions: int = 1,
    warm_ups: int = 0,
) -> dict[str, list[float]]:
    """Measure the wall time of each pass, all in turn in every round, after one round that does not count.

    Args:
        passes: What to time, by name.
        rounds: Rounds that count.
        device: "cuda" waits for the GPU before and after.
        repetitions: Calls a measurement; the result is for one.
        warm_ups: Calls before each measurement, for passes so short that caches matter.
    """
    times: dict[str, list[float]] = {name: [] for name in passes}
    for round_number in range(rounds + 1):
        for name, run in passes.items():
            for _ in range(warm_ups):
                run()
            _wait(device)
            start = time.perf_counter()
            for _ in range(repetitions):
                run()
            _wait(device)
            if round_number:
                times[name].append((time.perf_counter() - start) / repetitions)
    return times


def seconds_in_processes(
    makers: Mapping[Name, Callable[[], Callable[[], object]]], rounds: int
) -> dict[Name, list[float]]:
    """Measure as ``seconds_in_turn`` does on the CPU, each pass in a process of its own, as its users would run it.

    In one process the passes would share a heap, and how one left it would show in the time of the next.

    Args:
        makers: Functions of modules, or partials of them, that build the passes.
        rounds: Rounds that count.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[Name, Connection] = {}
    times: dict[Name, list[float]] = {name: [] for name in makers}
    for name, make in makers.items():
        here, there = context.Pipe()
        process = context.Process(target=_run_on_request, args=(make, there), daemon=True)
        process.start()
        there.close()
        workers[name] = here
    for round_number in range(rounds + 1):
        for name, worker in workers.items():
            worker.send(True)
            seconds = worker.recv()
            if round_number:
                times[name].append(seconds)
    for worker in workers.values():
        worker.send(False)
    return times


def _run_on_request(make: Callable[[], Callable[[], object]], pipe: Connection) -> None:
    run = make()
    while pipe.recv():
        start = time.perf_counter()
        run()
        pipe.send(time.perf_counter() - start)


def median_ratio(times: Mapping[str, list[float]], of: str, to: str) -> float:
    """Return the median over the rounds of one pass's time by that of another in the same round."""
    return statistics.median(a / b for a, b in zip(times[of], times[to], strict=True))


def peak_memory(make_pass: Callable[..., Callable[[], object]], *arguments: Any, device: str = "cpu") -> int:
    """Measure the most memory, in bytes, that building a pass and running it twice takes; in a process of its own.

    Args:
        make_pass: Builds the pass; a function of a module.
        arguments: Its arguments.
        device: "cuda" counts what is allocated on the GPU, "cpu" the growth of the process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory_here, (make_pass, arguments, device))


def _peak_memory_here(make_pass: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], device: str) -> int:
    before = _status("VmRSS")
    run = make_pass(*arguments)
    run()
    run()
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM") - before


def _status(name: str) -> int:
    """Read a number of Linux about this process, in bytes; VmHWM is the most that VmRSS has been."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    raise AssertionError(name)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
