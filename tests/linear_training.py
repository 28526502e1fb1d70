"""A linear model in training: all that belongs to a run, in a fraction of a second."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training.config import Config
from training.data.batches import BatchPlan
from training.data.dataset import TrainingOrder
from training.objective import Objective, make_objective
from training.processes.distributed import DistributedContext
from training.state import TrainState, make_state

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
IMAGES, BATCH, CLASSES = 24, 12, 3
UPDATES_PER_EPOCH = IMAGES // BATCH


class NoisyImages(Dataset):
    """Images of 2 x 2 pixels."""

    def __init__(self) -> None:
        self.pixels = torch.randn(IMAGES, 3, 2, 2, generator=torch.Generator().manual_seed(0))
        self.labels = [index % CLASSES for index in range(IMAGES)]

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        _, index = key
        return self.pixels[index], self.labels[index]


def linear_config(**sections) -> Config:
    defaults = dict(
        model={"name": "linear"},
        data={"dir": "images"},
        augmentation={"mixup": 0, "cutmix": 0},
        optimizer={"name": "sgd", "lr": 0.1},
        schedule={"name": "constant", "epochs": 2, "warmup_epochs": 0},
        training={"batch_size": BATCH, "ema_decay": 0.9},
    )
    return Config.model_validate(defaults | sections)


def linear_training(config: Config, accumulation: int = 1) -> tuple[TrainState, DataLoader, Objective]:
    """State, loader and objective of a run in one process."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES))
    batches = BatchPlan(BATCH, BATCH // accumulation, accumulation)
    objective = make_objective(config, model, CLASSES, batches, ALONE)
    state = make_state(config, model, objective, ALONE, UPDATES_PER_EPOCH)
    order = TrainingOrder(IMAGES, BATCH, ALONE.rank, ALONE.world_size, seed=0)
    return state, DataLoader(NoisyImages(), batches.micro_batch_size, sampler=order), objective
