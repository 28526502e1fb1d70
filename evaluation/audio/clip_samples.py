"""Clips as the samples of a loader, each with its place in the list."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from evaluation.audio.clips import SPECTROGRAMS
from evaluation.audio.front_end import SAMPLE_RATE, Fit, FrontEnd
from evaluation.audio.sound_files import read_sound, read_spectrogram
from training.data.dataset import SampleKey
from training.data.image_files import printable


class ClipSamples(Dataset):
    """Normalized spectrograms (1, M, T), each with (its index, how it came to its length).

    In place of a clip that cannot be read comes the ``UserError``, for ``ImageLoader`` to raise.

    Args:
        paths: Files of sounds and spectrograms.
        preprocessing: The model's input size, mean and standard deviation.
    """

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        _, mel_bands, frames = preprocessing.input_size
        self.paths = paths
        self.front_end = FrontEnd(mel_bands, frames)
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor] | UserError:
        _, index = key
        path = self.paths[index]
        try:
            spectrogram, fit = self._spectrogram(path)
        except (ValueError, OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return UserError(f"{printable(path)} {printable(reason)}", "replace or remove the file")
        return (spectrogram - self.mean) / self.std, torch.tensor([index, fit])

    def _spectrogram(self, path: Path) -> tuple[Tensor, Fit]:
        if path.suffix.lower() in SPECTROGRAMS:
            return self.front_end.of_spectrogram(read_spectrogram(path))
        return self.front_end.of_sound(read_sound(path, SAMPLE_RATE, self.front_end.num_samples))
