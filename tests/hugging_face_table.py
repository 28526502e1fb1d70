"""A Hugging Face data set of a few of the quickstart's images, on disk."""

import tarfile

import pytest
from conftest import REPOSITORY


def quickstart_images() -> dict[str, list[bytes]]:
    """The quickstart's training images as PNG files, by the name of their class."""
    by_class: dict[str, list[bytes]] = {}
    with tarfile.open(REPOSITORY / "data" / "fashion-mnist-small" / "train.tar") as archive:
        for entry in sorted(archive, key=lambda entry: entry.name):
            by_class.setdefault(entry.name.split("/")[0], []).append(archive.extractfile(entry).read())
    return by_class


def write_table(folder, split: str, labels: list[int], image: str, label: str) -> str:
    datasets = pytest.importorskip("datasets")
    pngs = [png for images in quickstart_images().values() for png in images[:1]][: len(labels)]
    kinds = datasets.Features(
        {image: datasets.Image(), label: datasets.Value("int64"), "source": datasets.Value("string")}
    )
    rows = {image: [{"path": None, "bytes": png} for png in pngs], label: labels, "source": ["x"] * len(labels)}
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(folder / "hub" / f"{split}.parquet")
    return f"hfds/{folder / 'hub'}"
