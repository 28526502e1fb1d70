"""Images and the models that fit them; whole evaluations are in test_validate.py."""

import timm
import torch

import models  # noqa: F401
from dcls.checkpoints.description import ModelDescription, Preprocessing
from evaluation.image_set import open_images
from evaluation.model_specs import LoadedModel
from training.config import DataConfig
from training.precision import Precision
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))


def test_the_files_preprocessing_and_classes_come_before_the_models(image_folder) -> None:
    data = DataConfig(dir=str(image_folder), train_split=".", num_workers=0, crop_pct=0.5)
    model = timm.create_model("resnet10t", num_classes=3)
    stored = Preprocessing((3, 32, 32), "bilinear", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), 1.0)
    description = ModelDescription("resnet10t", 3, {}, stored, ("top", "middle", "bottom"))
    images = open_images(data, ALONE)
    preprocessing, outputs = images.fit(model, description)
    assert (preprocessing.mean, preprocessing.crop_pct, outputs) == ((0.1, 0.2, 0.3), 0.5, [2, 1, 0])
    assert open_images(data, ALONE, by_number=True).fit(model, description)[1] is None
    loaded = LoadedModel("resnet10t", "random", model, preprocessing, outputs)
    metrics = images.evaluate(loaded, ALONE, Precision(ALONE.device), show_progress=False)
    assert (metrics["num_images"], metrics["num_classes"], metrics["image_size"]) == (15, 3, 32)
    assert metrics["data"] == f"{image_folder}/val"
