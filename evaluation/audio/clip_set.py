"""What audio models are evaluated on."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from evaluation.audio.clips import Clips, check_outputs, list_clips
from evaluation.model_specs import LoadedModel
from models.loading import own_preprocessing
from training.config import DataConfig
from training.data.dataset import EvaluationOrder
from training.data.loaders import loader_processes, sample_loader
from training.extras import require_package
from training.memory import batch_that_fits
from training.precision import Precision
from training.processes.distributed import DistributedContext

_OF_IMAGES = ("image_size", "crop_pct", "resize_interpolation", "mean", "std", "exif_orientation", "background")


@dataclass(frozen=True)
class ClipSet:
    """Clips that models tag.

    Attributes:
        data: What the command line says of them.
        clips: Their files and labels.
    """

    data: DataConfig
    clips: Clips

    @property
    def source(self) -> Path:
        """The folder or table."""
        return source_of(self.data)

    @property
    def targets(self) -> Tensor:
        """(N, C) bool, whether each clip has each label."""
        targets = torch.zeros(len(self.clips.paths), len(self.clips.classes), dtype=torch.bool)
        for row, outputs in zip(targets, self.clips.labels, strict=True):
            row[outputs] = True
        return targets

    def fit(self, model: Any, description: ModelDescription) -> tuple[Preprocessing, None]:
        """Return the preprocessing of a model that fits the clips: that of the file, else the model's own.

        Raises:
            UserError: it takes no spectrograms, or has other classes.
        """
        preprocessing = description.preprocessing or own_preprocessing(model, use_test_size=True)
        if preprocessing.input_size[0] != 1:
            shape = "x".join(map(str, preprocessing.input_size))
            problem = f"{description.name} takes inputs of {shape}, and {self.source} holds sounds: 1 channel"
            raise UserError(problem, "take an audio model", key="model.name", on_every_rank=True)
        check_outputs(self.clips, model.num_classes, self.source)
        return preprocessing, None

    def evaluate(
        self, loaded: LoadedModel, distributed: DistributedContext, precision: Precision, *, show_progress: bool
    ) -> dict[str, Any]:
        """Evaluate a model that is on its device: what of, and scores, by name.

        Raises:
            UserError: a clip cannot be read.
        """
        from evaluation.audio.evaluate import evaluate_clips  # needs the packages of the extra

        loader = self._loader(loaded.preprocessing, distributed)
        with batch_that_fits("data.val_batch_size", self.data.val_batch_size, "take --device cpu", what="clips"):
            scores = evaluate_clips(
                loaded.model, loader, self.targets, distributed, precision, show_progress=show_progress
            )
        return {
            "data": str(self.source),
            "num_classes": len(self.clips.classes),
            "input_size": list(loaded.preprocessing.input_size[1:]),
            **asdict(scores),
        }

    def _loader(self, preprocessing: Preprocessing, distributed: DistributedContext) -> DataLoader:
        """Build the loader of this process's share; every clip is in exactly one share."""
        from evaluation.audio.clip_samples import ClipSamples  # needs the packages of the extra

        samples = ClipSamples(self.clips.paths, preprocessing)
        order = EvaluationOrder(len(samples), distributed.rank, distributed.world_size)
        return sample_loader(samples, order, self.data.val_batch_size, loader_processes(self.data), distributed)


def source_of(data: DataConfig) -> Path:
    """Return the folder or table of clips."""
    return Path(data.dir, data.val_split)


def open_clips(data: DataConfig, distributed: DistributedContext) -> ClipSet:
    """List the clips; the main process says what is left out.

    Raises:
        UserError: a package is missing, an option is one for images, or see ``list_clips``; or no clip has a label.
    """
    for package in ("torchaudio", "soundfile", "sklearn"):
        require_package(package, "audio", "data.dir")
    for key in _OF_IMAGES:
        if getattr(data, key) is not None:
            problem = f"is for images, and {source_of(data)} holds sounds"
            raise UserError(problem, "remove it", key=f"data.{key}", on_every_rank=True)
    clips = list_clips(source_of(data))
    if not any(clips.labels):
        raise UserError(f"no clip of {source_of(data)} has a label", key="data.dir", on_every_rank=True)
    if distributed.is_main:
        for note in clips.notes:
            print(f"note: {note}", file=sys.stderr)
    return ClipSet(data, clips)
