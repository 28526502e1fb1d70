"""Small archives in the layout of ImageNet's official ones."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from training.data.preparation.archives import ARCHIVES
from training.data.preparation.devkit import DEVKIT

CLASSES = ["n01440764", "n01443537", "n02085620"]
_FIELDS = [
    ("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object),
    ("children", object), ("wordnet_height", object), ("num_train_images", object),
]  # fmt: skip


def jpeg(seed: int, size: tuple[int, int] = (40, 32), mode: str = "RGB", kind: str = "JPEG", band: int = 0) -> bytes:
    """A noisy picture with a bright band, whose place may tell its class."""
    width, height = size
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 60, (height, width, *channels), dtype=np.uint8)
    pixels[band * height // 3 : (band + 1) * height // 3] += 150
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind)
    return file.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def write_archives(
    folder: Path,
    train: int = 12,
    val: int = 5,
    replaced: dict[str, bytes] | None = None,
    size: tuple[int, int] = (40, 32),
) -> Path:
    """Write the three archives: train and val images of each class.

    Args:
        replaced: File name -> other content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replaced = replaced or {}
    inner = {}
    for label, name in enumerate(CLASSES):
        names = [f"{name}_{number}.JPEG" for number in range(7, 7 + train)]
        files = {file: replaced.get(file, jpeg(100 * label + i, size, band=label)) for i, file in enumerate(names)}
        inner[f"{name}.tar"] = tar_of(files)
    (folder / ARCHIVES["train"]).write_bytes(tar_of(inner))
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(CLASSES)), val))
    images = {}
    for index, label in enumerate(labels):
        name = f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        images[name] = replaced.get(name, jpeg(1000 + index, size, band=int(label)))
    (folder / ARCHIVES["val"]).write_bytes(tar_of(images))
    write_devkit(folder, labels)
    return folder


def write_devkit(folder: Path, labels: np.ndarray, names: list[str] = CLASSES) -> None:
    """Write the development kit; the numbers of classes are not in the order of their names, as in the real one."""
    numbers = {label: len(names) - label for label in range(len(names))}
    synsets = [(numbers[label], name, f"word {label}", "", 0, [], 0, 1) for label, name in enumerate(names)]
    synsets.append((len(names) + 1, "n00001740", "entity", "", len(names), list(numbers.values()), 1, 0))
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(synsets, dtype=_FIELDS)[:, None]})
    truth = "".join(f"{numbers[label]}\n" for label in labels.tolist())
    root = "ILSVRC2012_devkit_t12"
    content = {
        f"{root}/readme.txt": b"",
        f"{root}/data/meta.mat": meta.getvalue(),
        f"{root}/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }
    (folder / DEVKIT).write_bytes(gzip.compress(tar_of(content)))
