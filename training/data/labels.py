"""Labels and classes of a data set against the outputs of a model."""

from collections.abc import Sequence

from torch import Tensor

from dcls.errors import UserError
from training.data.image_files import printable


def check_labels(targets: Tensor, num_outputs: int) -> None:
    """Refuse labels that are no outputs; the labels are on the CPU still, where that costs nothing.

    Raises:
        UserError: the images are not labeled, or the model has fewer outputs.
    """
    if targets.min() < 0 or targets.max() >= num_outputs:
        raise UserError(
            f"labels go from {targets.min()} to {targets.max()}, the model has {num_outputs} outputs",
            "the split has no labels: choose another one" if targets.min() < 0 else None,
            key="model.num_classes",
        )


def names_in_one_only(first: Sequence[str], second: Sequence[str]) -> str:
    """List some classes that only one of two data sets has, for a message; empty where they differ in order alone."""
    return ", ".join(map(printable, sorted(set(first) ^ set(second))[:5]))


def check_same_classes(before: Sequence[str] | None, now: Sequence[str] | None, origin: object) -> None:
    """Refuse to continue with other classes than before.

    Args:
        before: Names of the classes that the checkpoint was trained on, None where nobody knows.
        now: Those of the data set.
        origin: The checkpoint, for the message.

    Raises:
        UserError: they differ, or their order does.
    """
    if before is None or now is None or list(before) == list(now):
        return
    odd = names_in_one_only(before, now)
    raise UserError(
        f"{origin} was trained on other classes than those of the data set",
        f"only one of them has: {odd}" if odd else "they are the same in another order: restore the order",
        key="data.dir",
        on_every_rank=True,
    )
