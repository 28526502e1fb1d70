import pytest
import torch
from PIL import Image

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import AugmentationConfig, DataConfig
from training.data.batches import BatchPlan
from training.data.loaders import evaluation_loader, training_loader
from training.data.splits import count_classes, open_dataset
from training.objective import make_mixup
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
PREPROCESSING = Preprocessing((3, 32, 32), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)


def opened(config: DataConfig, split: str = "train", is_training: bool = True):
    return open_dataset(config, split, is_training=is_training, batch_size=4, seed=0)


def test_image_folder_with_the_whole_augmentation(image_folder) -> None:
    data = DataConfig(dir=str(image_folder), num_workers=0)
    train, val = opened(data), opened(data, "val", False)
    assert count_classes(train, val, None) == 3
    loader = training_loader(train, data, AugmentationConfig(), PREPROCESSING, BatchPlan(12, 6, 2), ALONE, seed=0)
    images, targets = next(iter(loader))
    assert images.shape == (6, 3, 32, 32) and targets.dtype == torch.int64
    assert len(loader) == 6
    mixup = make_mixup(AugmentationConfig(), 3, 6)
    _, soft = mixup(images, targets)
    assert soft.shape == (6, 3)
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    assert sum(len(t) for _, t in evaluation_loader(val, data, PREPROCESSING, ALONE)) == 15


def test_jpeg_files_give_the_same_batch_for_any_number_of_processes_and_loader_processes(image_folder) -> None:
    for file in (image_folder / "train").rglob("*.png"):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()

    def global_batch(world_size: int, num_workers: int) -> torch.Tensor:
        data = DataConfig(dir=str(image_folder), num_workers=num_workers)
        batches, parts = BatchPlan(12, 12 // world_size, 1), []
        for rank in range(world_size):
            process = DistributedContext(rank, world_size, torch.device("cpu"))
            augmentation = AugmentationConfig(random_erasing=1)
            loader = training_loader(opened(data), data, augmentation, PREPROCESSING, batches, process, seed=0)
            parts.append(next(iter(loader))[0])
        return torch.cat(parts)

    expected = global_batch(1, 0)
    for world_size, num_workers in ((1, 1), (1, 2), (1, 4), (2, 0), (2, 2)):
        assert torch.equal(global_batch(world_size, num_workers), expected)


def test_more_images_per_batch_than_images(image_folder) -> None:
    data = DataConfig(dir=str(image_folder), num_workers=0)
    with pytest.raises(UserError, match=r"training.batch_size: 64 is more than the 36 training images"):
        training_loader(opened(data), data, AugmentationConfig(), PREPROCESSING, BatchPlan(64, 64, 1), ALONE, seed=0)
