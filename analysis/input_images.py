"""A few images for a run's model to look at: of its evaluation split where it can be reached, else noise."""

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from analysis.run_data import RunData
from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from models.loading import own_preprocessing
from training.config import Config
from training.config_file import load_config
from training.data.loaders import evaluation_loader
from training.data.splits import open_dataset
from training.processes.distributed import DistributedContext
from training.run_folder import CONFIG

COUNT = 8
_OF_A_SERVICE = ("hfds/", "hfids/", "tfds/")


def input_images(run: RunData, model: nn.Module, count: int = COUNT) -> tuple[Tensor, str]:
    """Return images as the run's model takes them, and what they are.

    Args:
        run: With weights.
        model: Of the run.

    Returns:
        (B, 3, H, W), B at most ``count``; and a phrase such as "8 images of data/val".
    """
    assert run.description is not None
    preprocessing = run.description.preprocessing or own_preprocessing(model)
    try:
        config = load_config(run.folder / CONFIG)
        images = _evaluation_images(config, preprocessing, count)
        return images, f"{len(images)} images of its evaluation split, {config.data.val_split}"
    except (UserError, OSError) as error:
        reason = error.problem if isinstance(error, UserError) else str(error)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(count, *preprocessing.input_size, generator=generator)
        return noise, f"{count} images of noise, because its evaluation split was not reached ({reason:.200})"


def _evaluation_images(config: Config, preprocessing: Preprocessing, count: int) -> Tensor:
    """Read images at equal distances over the split, of all classes where these are in order.

    Raises:
        UserError: the split cannot be opened here, or an image cannot be read.
    """
    if config.data.dataset.startswith(_OF_A_SERVICE):
        raise UserError(f"{config.data.dataset} may have to be downloaded")
    data = config.data.model_copy(update={"download": False, "num_workers": 0, "val_batch_size": count})
    dataset = open_dataset(data, data.val_split, is_training=False, batch_size=count, seed=0)
    if isinstance(dataset, IterableDataset):
        raise UserError(f"{config.data.dataset} can only be read from start to end, so images cannot be picked from it")
    every = max(1, len(dataset) // count)
    share = DistributedContext(0, every, torch.device("cpu"))  # of the first of so many processes
    images: Tensor = next(iter(evaluation_loader(dataset, data, preprocessing, share)))[0]
    return images[:count]
