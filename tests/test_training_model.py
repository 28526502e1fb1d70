import timm
import torch

from dcls.checkpoints.description import Preprocessing
from training.config import DataConfig
from training.model import choose_preprocessing
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
PREPROCESSING = Preprocessing((3, 32, 32), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)


def test_preprocessing_is_the_models_unless_configured() -> None:
    model = timm.create_model("convnext_atto")
    assert choose_preprocessing(DataConfig(dir="x"), model).crop_pct == 0.875
    chosen = choose_preprocessing(DataConfig(dir="x", image_size=64, crop_pct=1.0, mean=[0.1, 0.2, 0.3]), model)
    assert chosen.input_size == (3, 64, 64) and chosen.crop_pct == 1.0 and chosen.mean == (0.1, 0.2, 0.3)


def test_configured_values_win_over_those_stored_with_the_weights() -> None:
    model = timm.create_model("convnext_atto")
    stored = Preprocessing((3, 96, 96), "bilinear", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9, crop_mode="squash")
    assert choose_preprocessing(DataConfig(dir="x"), model, stored) == stored
    chosen = choose_preprocessing(DataConfig(dir="x", resize_interpolation="bicubic", image_size=64), model, stored)
    assert chosen == Preprocessing((3, 64, 64), "bicubic", (0.5,) * 3, (0.2,) * 3, 0.9, "squash")
