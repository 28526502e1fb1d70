import pytest
import torch
from audio_clips import write_clips, write_sound

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from evaluation.audio.clip_samples import ClipSamples
from evaluation.audio.clips import list_clips
from evaluation.audio.front_end import Fit, FrontEnd
from evaluation.audio.sound_files import read_sound
from training.data.dataset import ImageLoader

RELEASED = Preprocessing((1, 128, 1001), "bicubic", (-18.2696,), (30.5735,), 1.0)


def test_samples_are_normalized_spectrograms_with_their_places(tmp_path) -> None:
    write_clips(tmp_path)
    paths = list_clips(tmp_path).paths
    samples = ClipSamples(paths, RELEASED)
    loader = ImageLoader(samples, batch_size=4, sampler=[(0, index) for index in (6, 5, 4, 3, 2, 1, 0)])
    batches = list(loader)
    places = torch.cat([places for _, places in batches]).tolist()
    fits = [Fit.PADDED, Fit.PADDED, Fit.EXACT, Fit.CROPPED, Fit.PADDED, Fit.EXACT, Fit.PADDED]
    assert places == [[index, fits[index]] for index in reversed(range(7))]
    spectrogram = torch.cat([spectrograms for spectrograms, _ in batches])[6]
    decibels, _ = FrontEnd(128, 1001).of_sound(read_sound(paths[0], 32_000, 320_000))
    torch.testing.assert_close(spectrogram, (decibels + 18.2696) / 30.5735)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.wav", b"nothing", "a.wav is no sound that libsndfile reads: .*; replace or remove the file"),
        ("a.wav", None, "a.wav No such file or directory"),
        ("a.npy", b"nothing", "a.npy is no array or tensor"),
        ("a.pt", b"", "a.pt is no array or tensor"),
    ],
)
def test_a_clip_that_cannot_be_read_is_named(tmp_path, name, content, message) -> None:
    write_sound(tmp_path / "good.wav")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    samples = ClipSamples([tmp_path / "good.wav", tmp_path / name], RELEASED)
    with pytest.raises(UserError, match=message) as error:
        list(ImageLoader(samples, batch_size=2, sampler=[(0, 0), (0, 1)]))
    assert "\n" not in str(error.value)
