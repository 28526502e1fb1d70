"""Sounds of all kinds, and files that are none."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from evaluation.audio.sound_files import read_sound, read_spectrogram

RATE, MOST = 32_000, 320_000


def wave(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(
    "subtype, tolerance",
    [
        ("PCM_U8", 1 / 128),
        ("PCM_16", 1 / 32_768),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("FLOAT", 1e-6),
        ("DOUBLE", 1e-6),
    ],
)
def test_every_sample_format_is_the_same_sound(tmp_path, subtype, tolerance) -> None:
    soundfile.write(tmp_path / "a.wav", wave(RATE), RATE, subtype=subtype)
    sound = read_sound(tmp_path / "a.wav", RATE, MOST)
    assert sound.dtype == torch.float32
    np.testing.assert_allclose(sound, wave(RATE), atol=tolerance)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_every_container_is_read(tmp_path, suffix) -> None:
    soundfile.write(tmp_path / f"a{suffix}", wave(RATE), RATE)
    assert abs(len(read_sound(tmp_path / f"a{suffix}", RATE, MOST)) - RATE / 2) < RATE / 10


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_a_sound_that_was_cut_off_is_refused(tmp_path, suffix) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, wave(RATE, 2.0), RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="was cut off|is no sound"):
        read_sound(path, RATE, MOST)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_sound_of_a_program_that_did_not_know_its_length_is_read(tmp_path, size) -> None:
    """As ffmpeg and sox write into a pipe."""
    path = tmp_path / "a.wav"
    soundfile.write(path, wave(RATE), RATE)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert len(read_sound(path, RATE, MOST)) == RATE / 2


def test_channels_are_averaged(tmp_path) -> None:
    both = np.stack([wave(RATE), np.zeros(RATE // 2)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", RATE, MOST), wave(RATE) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 31_999])
def test_other_rates_are_resampled(tmp_path, rate) -> None:
    soundfile.write(tmp_path / "a.wav", wave(rate), rate, subtype="FLOAT")
    sound = read_sound(tmp_path / "a.wav", RATE, MOST)
    assert abs(len(sound) - RATE / 2) <= 4
    inner = slice(1000, 15_000)  # where the ends are not felt
    np.testing.assert_allclose(sound[inner], wave(RATE)[inner], atol=2e-3)


def test_of_a_long_file_only_the_beginning_is_read(tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", wave(44_100, 3.0), 44_100)
    whole = read_sound(tmp_path / "a.wav", RATE, MOST)
    part = read_sound(tmp_path / "a.wav", RATE, RATE)
    assert RATE < len(part) < 1.2 * RATE < len(whole)
    assert torch.equal(part[:RATE], whole[:RATE])


def riff(rate: int, data: bytes, claimed: int | None = None) -> bytes:
    size = len(data) if claimed is None else claimed
    format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + size & 0xFFFFFFFF, b"WAVE")
        + format_chunk
        + struct.pack("<4sI", b"data", size)
        + data
    )


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is no sound that libsndfile reads"),
        (b"RIFF", "is no sound that libsndfile reads"),
        (b"\xff" * 5000, "is no sound that libsndfile reads"),
        (b"<html>404</html>" * 9, "is no sound that libsndfile reads"),
        (riff(RATE, b""), "holds no sound"),
        (riff(2_000_000_001, bytes(100)), "has 2000000001 samples a second; resample it to 32000"),
        (riff(1, bytes(100)), "has 1 samples a second"),
    ],
)
def test_broken_sounds_are_refused(tmp_path, content, message) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_sound(tmp_path / "a.wav", RATE, MOST)


def test_of_a_sound_whose_header_promises_more_what_is_there_is_read(tmp_path) -> None:
    (tmp_path / "a.wav").write_bytes(riff(RATE, bytes(200), claimed=0xFFFFFFF0))  # as a pipe writes it
    assert len(read_sound(tmp_path / "a.wav", RATE, MOST)) == 100


def test_values_that_are_no_numbers_are_refused(tmp_path) -> None:
    values = np.full((128, 20), -20.0)
    for value in (np.nan, np.inf):
        values[3, 4] = value
        soundfile.write(tmp_path / "a.wav", values[3], RATE, subtype="FLOAT")
        np.save(tmp_path / "a.npy", values)
        torch.save(torch.tensor(values), tmp_path / "a.pt")
        for read in (
            lambda: read_sound(tmp_path / "a.wav", RATE, MOST),
            lambda: read_spectrogram(tmp_path / "a.npy"),
            lambda: read_spectrogram(tmp_path / "a.pt"),
        ):
            with pytest.raises(ValueError, match="holds values that are infinite or not numbers"):
                read()


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize(
    "values, message",
    [
        (np.zeros((128, 5), np.int16), "holds int16, not floats in dB"),
        (np.zeros((128, 5), complex), "holds complex128, not floats"),
        (np.array([Evil()]), "is no array or tensor"),
        ({"mel": torch.zeros(128, 5)}, "holds object, not floats|is no array or tensor"),
        (Evil(), "is no array or tensor"),
    ],
)  # fmt: skip
def test_arrays_of_something_else_are_refused_and_run_no_code(tmp_path, monkeypatch, values, message) -> None:
    monkeypatch.chdir(tmp_path)
    is_array = isinstance(values, np.ndarray)
    path = tmp_path / ("a.npy" if is_array else "a.pt")
    if is_array:
        np.save(path, values, allow_pickle=True)
    else:
        torch.save(values, path)
    with pytest.raises(ValueError, match=message):
        read_spectrogram(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="is no array or tensor"):
        read_spectrogram(path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["a.npy", "a.pt"])
@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 and no more", b"\x80\x02}q\x00", b"", b"\x93NUMPY\x01\x00\x06\x00{'a':("]
)
def test_damaged_spectrograms_are_refused(tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is no array or tensor"):
        read_spectrogram(tmp_path / name)


def test_spectrograms_of_both_kinds_of_files_are_the_same(tmp_path) -> None:
    values = torch.randn(128, 7, dtype=torch.float64)
    torch.save(values, tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", values.numpy())
    for path in (tmp_path / "a.pt", tmp_path / "a.npy"):
        assert torch.equal(read_spectrogram(path), values.float())
