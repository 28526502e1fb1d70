"""Audio models are scored by all clips together, however many processes there are."""

import json

import pytest
import torch
from audio_clips import write_clips, write_released
from processes import run_script
from sklearn.metrics import average_precision_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import validate
from evaluation.audio.clip_samples import ClipSamples
from evaluation.audio.clips import list_clips
from evaluation.audio.evaluate import evaluate_clips
from evaluation.audio.front_end import Fit
from models.loading import own_preprocessing
from training.precision import Precision
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))


def test_one_and_two_processes_give_scikit_learns_mean_average_precision(tmp_path, capsys) -> None:
    labels = write_clips(tmp_path / "clips")
    model = write_released(tmp_path / "released.pth")
    arguments = ["--checkpoint", tmp_path / "released.pth", "--data-dir", tmp_path / "clips", "--device", "cpu"]
    validate.main([*map(str, arguments), "--workers", "0"])
    alone = capsys.readouterr().out
    together = run_script("validate.py", *arguments, "--workers", "1", "--batch-size", "2", processes=2).stdout
    samples = ClipSamples(list_clips(tmp_path / "clips").paths, own_preprocessing(model))
    with torch.inference_mode():
        logits = torch.cat([model(samples[0, index][0][None]) for index in range(len(samples))])
    targets = torch.zeros(7, 4)
    for row, outputs in zip(targets, labels.values(), strict=True):
        row[outputs] = 1
    expected = 100 * average_precision_score(targets[:, :3], logits[:, :3])
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets).item()
    for printed in (alone, together):
        line = json.loads(printed.splitlines()[-1])
        assert line["model"] == "convnext_tiny_dcls_audio"
        assert line["mean_average_precision"] == pytest.approx(expected, rel=1e-12) and 30 < expected < 100
        assert line["loss"] == pytest.approx(loss, rel=1e-5)
        counts = ("num_clips", "num_classes", "num_scored_classes", "num_padded", "num_cropped", "input_size")
        assert [line[key] for key in counts] == [7, 4, 3, 4, 1, [128, 1001]]


class Identity(nn.Module):
    """Logits that lie in the spectrogram itself."""

    def forward(self, spectrograms):
        return spectrograms[:, 0, 0, :3]


def scores_of(logits: torch.Tensor, targets: torch.Tensor):
    places = torch.stack([torch.arange(len(logits)), torch.full((len(logits),), Fit.PADDED)], dim=1)
    order = torch.randperm(len(logits))
    loader = DataLoader(TensorDataset(logits[order, None, None], places[order]), batch_size=4)
    return evaluate_clips(Identity(), loader, targets, ALONE, Precision(ALONE.device, channels_last=False))


def test_logits_are_put_into_the_order_of_the_labels() -> None:
    logits, targets = torch.randn(23, 3), torch.rand(23, 3) < 0.3
    scores = scores_of(logits, targets)
    assert scores.mean_average_precision == pytest.approx(100 * average_precision_score(targets, logits))
    assert (scores.num_clips, scores.num_padded, scores.num_cropped) == (23, 23, 0)
    assert scores_of(100 * logits, targets).mean_average_precision == scores.mean_average_precision, "no saturated ties"


def test_logits_that_are_no_numbers_make_the_loss_one() -> None:
    logits, targets = torch.randn(5, 3), torch.eye(5, 3) > 0
    logits[2, 1] = torch.nan
    assert not torch.isfinite(torch.tensor(scores_of(logits, targets).loss))
