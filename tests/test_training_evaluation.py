import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import models  # noqa: F401
from training.distributed import DistributedContext
from training.evaluation import Numerics, evaluate
from training.flops import count_multiply_adds, count_parameters

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
    scores = evaluate(FirstPixels(num_classes), loader, ALONE, Numerics(ALONE.device, channels_last=False))
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
    exact = evaluate(model, loader, ALONE, Numerics(ALONE.device))
    close = evaluate(model, loader, ALONE, Numerics(ALONE.device, precision))
    assert close.loss == pytest.approx(exact.loss, rel=0.02)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_multiply_adds_of_known_models() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert count_multiply_adds(linear, (3, 2, 2)) == 60
    assert count_parameters(linear) == 65
    dense = timm.create_model("convnext_tiny")
    assert count_multiply_adds(dense, (3, 224, 224)) == pytest.approx(4.47e9, rel=0.01)
    assert dense.stem[0].weight.device.type == "cpu"
    gaussian = timm.create_model("convnext_tiny_dcls_gaussian")
    pixels = [3 * 96 * 56**2, 3 * 192 * 28**2, 9 * 384 * 14**2, 3 * 768 * 7**2]
    kernels = [23**2, 23**2, 23**2, 13**2]  # on a map of 7x7 the outer rows and columns of 23x23 meet nothing
    extra = sum(p * (k - 7**2) for p, k in zip(pixels, kernels, strict=True))
    assert count_multiply_adds(gaussian, (3, 224, 224)) - count_multiply_adds(dense, (3, 224, 224)) == extra
