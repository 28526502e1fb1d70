"""From sound to the log-mel spectrograms that the audio models were trained on."""

# Shapes: S samples, M mel bands, T frames.

from enum import IntEnum

import torch.nn.functional as F
from torch import Tensor
from torchaudio.transforms import AmplitudeToDB, MelScale, Spectrogram

SAMPLE_RATE = 32_000
"""In Hz."""
_WINDOW, _HOP = 1024, 320  # samples: 32 ms and 10 ms
_LOWEST, _HIGHEST = 50.0, 14_000.0  # Hz
SILENCE = -100.0
"""Of every band of a silent frame, in dB."""


class Fit(IntEnum):
    """How a clip comes to the length of a model's input: padded with silence, or cropped, at its end."""

    EXACT = 0
    PADDED = 1
    CROPPED = 2


class FrontEnd:
    """Compute log-mel spectrograms of the size of a model's input.

    As in K-H-Ismail/DCLS-Audio: sound of 32 kHz, power spectra of 1024 samples under a Hann window every 320 samples,
    mel bands from 50 to 14,000 Hz, in dB.

    Args:
        mel_bands: M, 128 for the released models.
        frames: T, 1001 for the released models: 10 s.
    """

    def __init__(self, mel_bands: int, frames: int) -> None:
        self.mel_bands, self.frames = mel_bands, frames
        self.spectrogram = Spectrogram(_WINDOW, hop_length=_HOP, power=2)
        self.mel_scale = MelScale(mel_bands, SAMPLE_RATE, _LOWEST, _HIGHEST, _WINDOW // 2 + 1)
        self.decibels = AmplitudeToDB()

    @property
    def num_samples(self) -> int:
        """Samples of a clip that is neither padded nor cropped."""
        return (self.frames - 1) * _HOP

    def of_sound(self, waveform: Tensor) -> tuple[Tensor, Fit]:
        """(S,) at 32 kHz, from -1 to 1 -> (1, M, T) in dB."""
        samples, fit = _fitted(waveform, self.num_samples, 0.0)
        spectrogram: Tensor = self.decibels(self.mel_scale(self.spectrogram(samples[None])))
        return spectrogram, fit

    def of_spectrogram(self, spectrogram: Tensor) -> tuple[Tensor, Fit]:
        """(M, any number of frames) or (1, M, any) in dB -> (1, M, T).

        Raises:
            ValueError: it has another shape.
        """
        shape = tuple(spectrogram.shape)
        if len(shape) not in (2, 3) or shape[-2] != self.mel_bands or shape[:-2] not in ((), (1,)) or not shape[-1]:
            how = "transpose it" if shape[-1:] == (self.mel_bands,) else "compute it as the front end does"
            raise ValueError(f"has shape {shape}, and the model takes ({self.mel_bands}, frames); {how}")
        return _fitted(spectrogram.reshape(1, *shape[-2:]), self.frames, SILENCE)


def _fitted(values: Tensor, length: int, silence: float) -> tuple[Tensor, Fit]:
    """Pad or crop the last axis at its end."""
    missing = length - values.shape[-1]
    fit = Fit.EXACT if missing == 0 else Fit.PADDED if missing > 0 else Fit.CROPPED
    return F.pad(values, (0, missing), value=silence), fit
