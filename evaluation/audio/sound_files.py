"""Sounds and spectrograms as they are in files."""

import math
import re
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly
from torch import Tensor

_SAMPLE_RATES = (1_000, 768_000)  # Hz; filters of others would be absurdly long
_MARGIN = 0.1  # seconds behind the end, for the filter
_CUT = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 2**31 - 4096  # bytes; what programs write that do not know yet how long the sound will be is no less


def read_sound(path: Path, sample_rate: int, most_samples: int) -> Tensor:
    """Read a sound: the mean of its channels, resampled.

    Args:
        sample_rate: Wanted, in Hz.
        most_samples: How many are needed; of longer files little more is read.

    Returns:
        (S,) float32, from -1 to 1 unless the file holds floats beyond.

    Raises:
        ValueError: the file is none that libsndfile reads, is empty, was cut off, or holds values that are no numbers.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            with soundfile.SoundFile(file) as sound:
                rate = sound.samplerate
                if not _SAMPLE_RATES[0] <= rate <= _SAMPLE_RATES[1]:
                    raise ValueError(f"has {rate} samples a second; resample it to {sample_rate}")
                wanted = math.ceil((most_samples / sample_rate + _MARGIN) * rate)
                samples = sound.read(wanted, dtype="float32", always_2d=True).mean(1)
                _check_whole(sound, min(wanted, sound.frames) - len(samples))
        except soundfile.SoundFileError as error:
            raise ValueError(f"is no sound that libsndfile reads: {error}") from None
    if not len(samples):
        raise ValueError("holds no sound")
    _check_numbers(samples)
    if rate != sample_rate:
        common = math.gcd(rate, sample_rate)
        samples = resample_poly(samples, sample_rate // common, rate // common)
    return torch.from_numpy(np.ascontiguousarray(samples, np.float32))


def _check_whole(sound: soundfile.SoundFile, missing: int) -> None:
    """Refuse a file that was cut off.

    Of a WAV or AIFF, libsndfile takes what is there and notes in its log what the header says; of an MP3, it reads
    fewer samples than it said.

    Args:
        missing: How many samples could not be read.
    """
    sizes = _CUT.search(sound.extra_info)
    promised, present = map(int, sizes.groups()) if sizes else (0, 0)
    if present < promised < _UNKNOWN_SIZE:
        raise ValueError(f"was cut off: {present:,} of {promised:,} bytes of sound are there; copy it again")
    if missing > _MARGIN * sound.samplerate:
        raise ValueError(f"was cut off: {missing / sound.samplerate:.1f} s of sound are missing; copy it again")


def read_spectrogram(path: Path) -> Tensor:
    """Read an array (.npy) or a tensor (.pt) of floats, as float32; no code in the file is run.

    Raises:
        ValueError: it is something else, or holds values that are no numbers.
        OSError: it cannot be opened.
    """
    try:
        values = np.load(path) if path.suffix.lower() == ".npy" else torch.load(path, "cpu", weights_only=True)
        array = np.asarray(values)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and pickle raise whatever a damaged byte leads them to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"is no array or tensor: {reason}") from None
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"holds {array.dtype}, not floats in dB")
    _check_numbers(array)
    return torch.from_numpy(array.astype(np.float32))


def _check_numbers(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError("holds values that are infinite or not numbers")
