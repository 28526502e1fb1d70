"""Sounds, spectrograms and small audio models, made here."""

from pathlib import Path

import numpy as np
import soundfile
import timm
import torch
from released_files import released_names
from torch import nn

import models  # noqa: F401

SMALL = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}
CLASSES = ("/m/00", "/t/01", "/m/02", "/m/03")


def write_sound(
    path: Path, seconds: float = 0.5, rate: int = 32_000, subtype: str = "PCM_16", channels: int = 1
) -> None:
    """Write noise that depends on the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(sum(path.name.encode()))
    samples = generator.uniform(-0.5, 0.5, (int(seconds * rate), channels))
    soundfile.write(path, samples * generator.uniform(0.01, 1), rate, subtype=subtype)


def write_spectrogram(path: Path, frames: int = 1001) -> None:
    """Write log-mel energies in dB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(sum(path.name.encode()))
    np.save(path, generator.normal(-20, 20, (128, frames)).astype(np.float32))


def write_class_file(folder: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Write AudioSet's table of outputs, the last first; names contain commas as there."""
    rows = [f'{index},{label},"Sound {index}, loud"' for index, label in enumerate(classes)]
    (folder / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *reversed(rows)]) + "\n")


def write_clips(folder: Path) -> dict[str, list[int]]:
    """Write clips of both kinds, clips.csv and the outputs: file -> outputs that are right; the last is in no clip."""
    labels = {"a.wav": [0], "b/b.wav": [0, 2], "c.npy": [1], "d.wav": [2, 1], "e.flac": [0], "f.npy": [2], "g.wav": []}
    for name in labels:
        write = write_spectrogram if name.endswith("npy") else write_sound
        write(folder / name)
    write_sound(folder / "d.wav", 10.5, 44_100, "PCM_24", channels=2)
    rows = [f'{name},"{",".join(CLASSES[output] for output in outputs)}"' for name, outputs in labels.items()]
    (folder / "clips.csv").write_text("\n".join(["file,labels", *rows]) + "\n")
    write_class_file(folder)
    return labels


def write_released(path: Path, num_classes: int = 4) -> nn.Module:
    """Save a small model as the authors released theirs, which are told by their keys and shapes alone."""
    torch.manual_seed(0)
    model = timm.create_model("convnext_tiny_dcls_audio", num_classes=num_classes, **SMALL).eval()
    nn.init.normal_(model.head.fc.weight)
    torch.save({"model": released_names(model)}, path)
    return model
