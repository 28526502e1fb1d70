import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import models  # noqa: F401
from dcls.errors import UserError
from evaluation.evaluate import Scores, evaluate
from training.precision import Precision
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))


class FirstPixels(nn.Module):
    """Logits that lie in the image itself."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x):
        return x[:, 0, 0, : self.num_classes]


@pytest.mark.parametrize("num_classes", [3, 10])
def test_scores_are_those_of_all_images_together(num_classes) -> None:
    images, targets = torch.randn(23, 1, 1, 10), torch.randint(num_classes, (23,))
    loader = DataLoader(TensorDataset(images, targets), batch_size=10)
    scores = evaluate(FirstPixels(num_classes), loader, ALONE, Precision(ALONE.device, channels_last=False))
    logits = images[:, 0, 0, :num_classes]
    rank = (logits > logits.gather(1, targets[:, None])).sum(1)
    assert scores.top1 == pytest.approx(100 * (rank < 1).float().mean().item())
    assert scores.top5 == pytest.approx(100 * (rank < 5).float().mean().item())
    assert scores.loss == pytest.approx(F.cross_entropy(logits, targets).item())
    assert scores.num_images == 23


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_close(precision) -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian", num_classes=10).eval()
    loader = DataLoader(TensorDataset(torch.randn(4, 3, 64, 64), torch.randint(10, (4,))), batch_size=4)
    exact = evaluate(model, loader, ALONE, Precision(ALONE.device))
    close = evaluate(model, loader, ALONE, Precision(ALONE.device, precision))
    assert close.loss == pytest.approx(exact.loss, rel=0.02)
    assert all(p.dtype == torch.float32 for p in model.parameters())


class Constant(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def scores_of(logits: list[float], targets: list, **options) -> Scores:
    device = torch.device("cpu")
    data = torch.utils.data.TensorDataset(torch.zeros(len(targets), 3, 2, 2), torch.tensor(targets))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    return evaluate(Constant(logits), loader, DistributedContext(0, 1, device), Precision(device), **options)


def test_further_labels_count_as_right_and_images_without_any_do_not_count() -> None:
    logits = [6.0, 5, 4, 3, 2, 1, 0]  # the ranking is 0, 1, 2, ...
    scores = scores_of(logits, [[0, 1, 0], [6, 0, -1], [0, -1, -1], [2, 6, 4], [1, 5, 6]])
    assert (scores.top1, scores.top5) == (pytest.approx(40), pytest.approx(80))
    assert (scores.real_top1, scores.real_top5) == (pytest.approx(50), pytest.approx(75))
    plain = scores_of(logits, [0, 6, 0, 2, 1])
    assert (plain.top1, plain.top5, plain.loss) == (scores.top1, scores.top5, pytest.approx(scores.loss))
    assert plain.real_top1 is None and plain.real_top5 is None
    assert [scores_of(logits, [label], outputs=[6, 5]).top1 for label in (0, 1)] == [0, 100]


@pytest.mark.parametrize("labels", [[0, -1, 1], [3, 0, 7], [[0, 1], [9, -1]]])
def test_labels_that_are_no_outputs_are_refused(labels) -> None:
    with pytest.raises(UserError, match=r"model.num_classes: labels go from -?\d to \d, the model has 7 outputs"):
        scores_of([6.0, 5, 4, 3, 2, 1, 0], labels)
    with pytest.raises(UserError, match=r"labels go from 0 to 2, the model has 2 outputs"):
        scores_of([6.0, 5, 4], [0, 2, 1], outputs=[0, 1])
