"""Log-mel spectrograms against the formula, and clips of other lengths."""

import numpy as np
import pytest
import torch

from evaluation.audio.front_end import SAMPLE_RATE, SILENCE, Fit, FrontEnd


def by_formula(samples: np.ndarray) -> np.ndarray:
    """Power spectra of 1024 samples, every 320; triangles between 50 and 14,000 Hz on HTK's mel scale; dB."""
    padded = np.pad(samples, 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.stack([padded[start : start + 1024] * window for start in range(0, len(samples) + 1, 320)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = np.linspace(*(2595 * np.log10(1 + frequency / 700) for frequency in (50, 14_000)), 130)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.linspace(0, 16_000, 513)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bands = np.clip(np.minimum(rising, falling), 0, None)
    return 10 * np.log10(np.maximum(bands @ power.T, 1e-10))


def test_a_spectrogram_is_that_of_the_formula() -> None:
    front_end = FrontEnd(128, 41)
    assert front_end.num_samples == 12_800
    waveform = torch.rand(12_800, generator=torch.Generator().manual_seed(0)) - 0.5
    spectrogram, fit = front_end.of_sound(waveform)
    assert spectrogram.shape == (1, 128, 41) and fit == Fit.EXACT
    np.testing.assert_allclose(spectrogram[0], by_formula(waveform.double().numpy()), atol=5e-3)


def test_ten_seconds_are_the_released_models_input() -> None:
    front_end = FrontEnd(128, 1001)
    assert front_end.num_samples == 10 * SAMPLE_RATE
    spectrogram, fit = front_end.of_sound(torch.zeros(front_end.num_samples))
    assert spectrogram.shape == (1, 128, 1001) and bool((spectrogram == SILENCE).all()) and fit == Fit.EXACT


def test_clips_are_padded_with_silence_and_cropped_at_their_end() -> None:
    front_end = FrontEnd(128, 41)
    waveform = torch.rand(20_000) - 0.5
    cropped, how = front_end.of_sound(waveform)
    assert how == Fit.CROPPED and torch.equal(cropped, front_end.of_sound(waveform[:12_800])[0])
    padded, how = front_end.of_sound(waveform[:6_400])
    assert how == Fit.PADDED and bool((padded[..., 23:] == SILENCE).all()) and padded[..., 18].mean() > SILENCE + 50
    spectrogram = torch.randn(128, 50)
    for length, expected in ((50, Fit.CROPPED), (41, Fit.EXACT), (1, Fit.PADDED)):
        fitted, how = front_end.of_spectrogram(spectrogram[:, :length])
        assert fitted.shape == (1, 128, 41) and how == expected
        kept = min(length, 41)
        assert torch.equal(fitted[0, :, :kept], spectrogram[:, :kept]) and bool((fitted[..., kept:] == SILENCE).all())
    assert torch.equal(front_end.of_spectrogram(spectrogram[None])[0], front_end.of_spectrogram(spectrogram)[0])


@pytest.mark.parametrize(
    "shape, fix",
    [((1001, 128), "transpose it"), ((64, 1001), "front end"), ((2, 128, 41), "front end"), ((128,), "transpose"),
     ((), "front end"), ((128, 0), "front end"), ((1, 1, 128, 41), "front end")],
)  # fmt: skip
def test_other_shapes_are_refused(shape, fix) -> None:
    with pytest.raises(ValueError, match=rf"has shape .*, and the model takes \(128, frames\); .*{fix}"):
        FrontEnd(128, 41).of_spectrogram(torch.zeros(shape))
