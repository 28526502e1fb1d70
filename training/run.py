"""What a run consists of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from training.checkpoints.saving import CheckpointSaver
from training.config import Config
from training.model import describe_model
from training.objective import Objective
from training.processes.distributed import DistributedContext
from training.processes.stop_signals import StopSignals
from training.state import TrainState


@dataclass
class TrainingRun:
    """All parts of a run, ready to start."""

    config: Config
    folder: Path
    distributed: DistributedContext
    signals: StopSignals
    train_loader: DataLoader
    val_loader: DataLoader
    objective: Objective
    state: TrainState
    preprocessing: Preprocessing
    classes: list[str] | None  # None where the data set does not know their names
    changes: dict[str, list[Any]] = field(default_factory=dict)  # since the checkpoint that the run continues from
    damaged: list[UserError] = field(default_factory=list)  # newer checkpoints than that one
    saver: CheckpointSaver = field(init=False)

    def __post_init__(self) -> None:
        self.saver = CheckpointSaver(self.folder)

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return self.config.schedule.total_epochs

    @property
    def description(self) -> ModelDescription:
        """What its checkpoints say of the model."""
        return describe_model(self.config.model, self.objective.num_classes, self.preprocessing, self.classes)
