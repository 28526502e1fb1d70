"""Readers of folders and archives in loader processes."""

import gc
import multiprocessing
from pathlib import Path

import pytest

from benchmarks.folder_index import make_folder, private_megabytes
from training.data.readers import FolderReader
from training.processes.loader_workers import initialize_worker

IMAGES = 10_000


def read_all(samples, connection) -> None:
    initialize_worker(0)
    samples[0]
    before = private_megabytes(multiprocessing.current_process().pid)
    for path, label in samples:
        assert path and label >= 0
    gc.collect()
    connection.send(private_megabytes(multiprocessing.current_process().pid) - before)


def growth(samples) -> float:
    """Return by how many MB a forked process grows that reads all entries."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=read_all, args=(samples, sender))
    process.start()
    value = receiver.recv()
    process.join()
    return value


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_a_process_that_reads_all_images_does_not_grow(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_folder(tmp_path / "train", classes=4, images=IMAGES)
    samples = FolderReader(tmp_path / "train").samples
    assert len(samples) == IMAGES
    assert growth(samples) < 2
    assert growth(list(samples)) > 2
