"""Image files with changed bytes, and cut short, through the reader that training uses."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import ImageDataset

from dcls.errors import UserError
from faults.campaign import Tally
from training.data.dataset import ImageSamples
from training.data.readers import FolderReader

KINDS = ("png", "jpg", "webp", "bmp", "tif", "gif", "ppm", "jp2", "tga", "avif", "ico", "dds", "qoi", "pcx")
_AT_ONCE = 500


def mutated_images(folder: Path, trials: int) -> Tally:
    """Read mutated images of every format: each gives an image or one line that names it."""
    tally, generator = Tally("images with changed bytes, cut short"), random.Random(0)
    whole = {kind: _encoded(kind) for kind in KINDS}
    decoded = 0
    for begin in range(0, trials, _AT_ONCE):
        files = folder / str(begin) / "cat"
        files.mkdir(parents=True)
        for index in range(begin, min(begin + _AT_ONCE, trials)):
            kind = KINDS[index % len(KINDS)]
            (files / f"{index}.{kind}").write_bytes(mutated(whole[kind], generator))
        reader: Any = FolderReader(files.parent)
        source = ImageSamples(ImageDataset(str(files.parent), reader=reader), lambda image: torch.zeros(1), seed=0)
        for index in range(len(source)):
            problem = _problem(source, index)
            tally.count(problem and f"{source.name(index)}: {problem}")
            decoded += problem is None and not isinstance(source[0, index], UserError)
    tally.notes.append(f"{decoded} were decoded all the same, the others refused")
    return tally


def _problem(source: ImageSamples, index: int) -> str | None:
    try:
        result = source[0, index]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(result, UserError) and ("\n" in str(result) or source.name(index) not in str(result)):
        return str(result)
    return None


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Change up to 8 bytes near the beginning of a file; cut every third one short."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 8)):
        changed[generator.randrange(min(len(changed), 300))] = generator.randrange(256)
    if generator.randrange(3) == 0:
        del changed[generator.randrange(len(changed)) :]
    return bytes(changed)


def _encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, Image.registered_extensions()[f".{kind}"])
    return file.getvalue()
