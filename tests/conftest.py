"""Fixtures: small image folders, the tiny configuration that trains on them, and material outside the repository."""

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

if not torch.cuda.is_available() and importlib.util.find_spec("triton"):
    os.environ["TRITON_INTERPRET"] = "1"  # Triton's kernels run on the CPU; read when Triton is first imported
    from parity.triton_interpreter import multiply_values_of_bfloat16

    multiply_values_of_bfloat16()

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # the workers share the cores
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    """Free the networks that a module built: Python counts objects, not their gigabytes, before it looks for cycles."""
    yield
    gc.collect()


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fill memory that torch hands out uninitialized with NaN, so that a kernel that leaves an element unwritten is seen.

    PyTorch does so, in Python and in C++ alike, while it is to be deterministic.
    """
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two splits of three classes: blobs whose place tells the class, 12 and 5 images each."""
    return write_image_folder(tmp_path / "images")


def write_image_folder(folder: Path, train: int = 12, val: int = 5, size: int = 32) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(("bottom", "middle", "top")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 60, (size, size, 3), dtype=np.uint8)
                pixels[10 * (2 - label) : 10 * (2 - label) + 10] += 150
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture
def tiny_config(tmp_path: Path, image_folder: Path) -> Callable[..., Path]:
    """Write a configuration that trains in a second or two; keyword arguments replace sections."""

    def write(**sections: str) -> Path:
        parts = {
            "model": "{name: convnext_atto_dcls_gaussian, drop_path_rate: 0.0, options: {dims: [8, 8, 16, 16], "
            "depths: [1, 1, 1, 1], dilated_kernel_size: 5, kernel_count: 3}}",
            "data": f"{{dir: {image_folder}, image_size: 32, num_workers: 0}}",
            "augmentation": "{mixup: 0, cutmix: 0}",
            "optimizer": "{lr: 1e-3}",
            "schedule": "{epochs: 2, warmup_epochs: 0}",
            "training": "{batch_size: 12, micro_batch_size: 6, ema_decay: 0.9, device: cpu}",
            "checkpoint": f"{{dir: {tmp_path / 'output'}}}",
            "logging": "{log_interval: 1}",
        } | sections
        path = tmp_path / "tiny.yaml"
        path.write_text("\n".join(f"{name}: {value}" for name, value in parts.items()))
        return path

    return write


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Write a text as a configuration file, by default run.yaml."""

    def write(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def imagenet_sample() -> Path:
    """1,000 real ImageNet images, one a class, outside this repository: IMAGENET_SAMPLE says where."""
    folder = os.environ.get("IMAGENET_SAMPLE")
    if not folder or not Path(folder).is_dir():
        pytest.skip("IMAGENET_SAMPLE is not set to a folder with one image of each ImageNet class")
    return Path(folder)
