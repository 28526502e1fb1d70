import pytest
import torch
from timm.loss import SoftTargetCrossEntropy

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import AugmentationConfig
from training.objective import make_loss, make_mixup
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
PREPROCESSING = Preprocessing((3, 32, 32), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)


def test_loss_fits_the_targets() -> None:
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    hard = AugmentationConfig(mixup=0, cutmix=0, label_smoothing=0.1)
    smoothed = torch.nn.functional.one_hot(targets, 3) * 0.9 + 0.1 / 3
    expected = SoftTargetCrossEntropy()(logits, smoothed)
    torch.testing.assert_close(make_loss(hard)(logits, targets), expected)
    assert isinstance(make_loss(AugmentationConfig()), SoftTargetCrossEntropy)
    assert make_mixup(hard, 3, 5) is None
    with pytest.raises(UserError, match="even micro-batch, got 5 images"):
        make_mixup(AugmentationConfig(), 3, 5)
