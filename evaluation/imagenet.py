"""ImageNet's test sets: which of a model's outputs their classes are, and the labels of ImageNet-ReaL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timm.data import ImageNetInfo, RealLabelsImagenet, infer_imagenet_subset
from torch import nn

from dcls.errors import UserError
from training.data.image_files import printable
from training.data.readers import FolderReader
from training.data.shards import ShardReader

_VALIDATION_IMAGES = 50_000


def class_indices(
    classes: Sequence[str] | None, model: nn.Module, trained_on: Sequence[str] | None = None
) -> list[int] | None:
    """Return the outputs that belong to a data set's classes, None where these are all, in order.

    Classes are found by their names, in whatever order, where the checkpoint tells those of its outputs.

    ImageNet-A and -R have folders for 200 of ImageNet's classes, and models choose among these alone, as in their
    papers (arXiv:1907.07174, arXiv:2006.16241). ImageNet-Sketch has all classes, ImageNet-V2 too, as folders 0 to 999.

    Args:
        classes: Names of the folders in the order of their labels; None where the data set does not know them.
        model: With ``num_classes`` outputs.
        trained_on: Names of these outputs; None where nobody knows them.

    Raises:
        UserError: the classes cannot be those of the model.
    """
    if classes is None or (trained_on is None and len(classes) == model.num_classes):
        return None
    known = _outputs_by_class(model) if trained_on is None else _outputs_by_name(trained_on)
    strange = [name for name in classes if name not in known]
    if strange and trained_on is not None:
        raise UserError(
            f"the weights were trained on other classes: {', '.join(map(printable, strange[:5]))} "
            f"{'is' if len(strange) == 1 else 'are'} not among their {len(trained_on)}, "
            f"{', '.join(map(printable, trained_on[:3]))}, ...",
            "rename the folders, or if they are the same under other names and in the same order, give "
            "--classes-by-number",
            on_every_rank=True,
        )
    if strange:
        raise UserError(
            f"the data set has {len(classes)} classes and the model {model.num_classes} outputs",
            f"take weights that were trained on these classes, or --option num_classes={len(classes)} if these are",
            on_every_rank=True,
        )
    indices = [known[name] for name in classes]
    return None if len(indices) == model.num_classes and indices == sorted(indices) else indices


def _outputs_by_name(trained_on: Sequence[str]) -> dict[str, int]:
    names = {name: index for index, name in enumerate(trained_on)}
    is_imagenet = list(trained_on) == ImageNetInfo().label_names()
    return names | ({str(index): index for index in range(len(names))} if is_imagenet else {})


def _outputs_by_class(model: nn.Module) -> dict[str, int]:
    """Map names of class folders to outputs, if the model is known to be one for ImageNet."""
    subset = infer_imagenet_subset(model)
    if subset is None:
        return {}
    names = {name: index for index, name in enumerate(ImageNetInfo(subset).label_names())}
    numbers = {str(index): index for index in range(len(names))} if subset == "imagenet-1k" else {}
    return names | numbers


def add_real_labels(dataset: Any, classes: Sequence[str] | None) -> None:
    """Give every image beside its label those of ImageNet-ReaL (arXiv:2006.07159), which count as right as well.

    The target of an image becomes [label, ReaL label, ..., -1, ...], as ``evaluation.evaluate.evaluate`` takes it.

    Args:
        dataset: ImageNet's validation images, or some of them, under their own names, in a folder or indexed shards.
        classes: Names of the folders or classes.

    Raises:
        UserError: it holds something else.
    """
    if not isinstance(getattr(dataset, "reader", None), (FolderReader, ShardReader)):
        raise UserError(
            "needs a folder of images or shards with an index, not another --dataset",
            key="--real-labels",
            on_every_rank=True,
        )
    if classes is None or list(classes) != ImageNetInfo().label_names():
        raise UserError(
            "needs the 1000 class folders of ImageNet's validation set (n01440764, ...)",
            key="--real-labels",
            on_every_rank=True,
        )
    by_file = RealLabelsImagenet([""] * _VALIDATION_IMAGES).real_labels
    labels = {Path(name).stem: right for name, right in by_file.items()}
    longest = max(map(len, labels.values()))
    targets = []
    for path, label in dataset.reader.samples:
        right = labels.get(Path(path).stem)
        if right is None:
            raise UserError(
                f"{path} is no validation image of ImageNet (ILSVRC2012_val_00000001.JPEG)",
                key="--real-labels",
                on_every_rank=True,
            )
        targets.append([label, *right, *[-1] * (longest - len(right))])
    dataset.reader.samples = dataset.reader.samples.with_labels(np.array(targets))
