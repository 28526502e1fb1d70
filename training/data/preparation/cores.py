"""Work on all cores that can be stopped at any moment, with its progress."""

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from dcls.errors import UserError
from training.processes.loader_workers import initialize_worker

Job = TypeVar("Job")
Item = TypeVar("Item")
Result = TypeVar("Result")
_SECONDS_BETWEEN_LINES_OF_A_LOG = 60.0
_worker: dict[str, Any] = {}


class Stopped(Exception):  # noqa: N818  nothing went wrong in this process
    """Another process failed, or the main one was interrupted."""


@contextmanager
def on_all_cores(
    task: Callable[[Job, Item], Result], job: Job, items: Sequence[Item], workers: int
) -> Iterator[Iterator[Result]]:
    """Within the block, yield ``task(job, item)`` of every item as they are ready; at its end all processes end.

    Args:
        task: A function of a module. It leaves nothing half done when ``until_stopped`` raises.
        job: What all tasks need; given to each process once.
        workers: Number of processes.

    Raises:
        UserError: a process was killed.
        Exception: what a task raises; the others are stopped.
    """
    stop = multiprocessing.Event()
    executor = ProcessPoolExecutor(workers, initializer=_initialize, initargs=(job, stop))
    try:
        yield _results([executor.submit(_perform, task, item) for item in items])
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def until_stopped(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items, as long as nothing happened for which all processes stop.

    Raises:
        Stopped: something has.
    """
    for item in items:
        if _worker and _worker["stop"].is_set():
            raise Stopped
        yield item


def progress(total: int, done: int, description: str) -> tqdm:
    """Return a bar of images with the remaining time; in a log it writes once a minute."""
    interval = 0.2 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES_OF_A_LOG
    return tqdm(total=total, initial=done, desc=description, unit="image", smoothing=0, mininterval=interval)


def _initialize(job: Any, stop: Any) -> None:
    initialize_worker(0)
    _worker.update(job=job, stop=stop)


def _perform(task: Callable[[Any, Item], Result], item: Item) -> Result:
    return task(_worker["job"], item)


def _results(futures: Sequence[Future[Result]]) -> Iterator[Result]:
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise UserError(
            "a process was killed, as happens when memory is full", "run the same command again with fewer --workers"
        ) from None
