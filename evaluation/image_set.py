"""What image models are evaluated on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dcls.checkpoints.description import ModelDescription, Preprocessing
from evaluation.evaluate import evaluate
from evaluation.imagenet import add_real_labels, class_indices
from evaluation.model_specs import LoadedModel
from training.config import DataConfig
from training.data.loaders import evaluation_loader
from training.data.splits import class_names, open_dataset, say_what_is_left_out
from training.memory import batch_that_fits
from training.model import choose_preprocessing
from training.precision import Precision
from training.processes.distributed import DistributedContext


@dataclass(frozen=True)
class ImageSet:
    """Images that models classify.

    Attributes:
        data: What the command line says of them.
        dataset: The images, not transformed yet.
        classes: Names of their classes, None where the data set does not know them.
        by_number: Whether the classes are those of the weights in the same order, whatever their names.
    """

    data: DataConfig
    dataset: Any
    classes: list[str] | None
    by_number: bool = False

    def fit(self, model: nn.Module, description: ModelDescription) -> tuple[Preprocessing, list[int] | None]:
        """Return the preprocessing of a model that fits the images, and see ``evaluation.imagenet.class_indices``.

        Raises:
            UserError: it takes no such images, or has other classes.
        """
        preprocessing = choose_preprocessing(self.data, model, description.preprocessing, use_test_size=True)
        trained_on = None if self.by_number else description.classes
        return preprocessing, class_indices(self.classes, model, trained_on)

    def evaluate(
        self, loaded: LoadedModel, distributed: DistributedContext, precision: Precision, *, show_progress: bool
    ) -> dict[str, Any]:
        """Evaluate a model that is on its device: what of, and scores, by name.

        Raises:
            UserError: an image cannot be read.
        """
        _, height, width = loaded.preprocessing.input_size
        loader = evaluation_loader(self.dataset, self.data, loaded.preprocessing, distributed)
        outputs = loaded.class_indices
        with batch_that_fits("data.val_batch_size", self.data.val_batch_size, "take a smaller --image-size"):
            scores = evaluate(
                loaded.model, loader, distributed, precision, outputs=outputs, show_progress=show_progress
            )
        return {
            "data": str(Path(self.data.dir) / self.data.val_split),
            "num_classes": len(outputs or range(loaded.model.num_classes)),  # type: ignore[arg-type]  # timm's models
            "image_size": width if height == width else [height, width],
            **{name: value for name, value in asdict(scores).items() if value is not None},
        }


def open_images(
    data: DataConfig, distributed: DistributedContext, *, real_labels: bool = False, by_number: bool = False
) -> ImageSet:
    """Open the data set, with ReaL labels if they are wanted.

    Raises:
        UserError: it is missing.
    """
    with distributed.main_process_first():
        dataset = open_dataset(data, data.val_split, is_training=False, batch_size=data.val_batch_size, seed=0)
    classes = class_names(dataset)
    if real_labels:
        add_real_labels(dataset, classes)
    if distributed.is_main:
        say_what_is_left_out(dataset)
    return ImageSet(data, dataset, classes, by_number)
