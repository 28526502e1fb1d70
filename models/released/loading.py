"""From weights to a model that they fit exactly."""

from pathlib import Path

from torch import Tensor, nn

from models.released.layout import to_model
from models.released.reading import read_released


def load_released(model: nn.Module, path: str | Path) -> None:
    """Load a released file into the model it belongs to.

    Args:
        model: A registered model; ``models.released.recognise(read_released(path))`` says which one fits.
        path: The file as it was downloaded.

    Raises:
        ValueError: the file cannot be read, or belongs to another model.
    """
    load_exactly(model, read_released(path), path)


def load_exactly(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit in every name and shape; those of a released file are converted.

    Args:
        origin: Where they are from, for messages.

    Raises:
        ValueError: names or shapes differ, or it is a released file of another model.
    """
    try:
        weights = to_model(weights, model)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    expected = model.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    reshaped = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind}, such as {', '.join(names[:3])}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if problems:
        raise ValueError(f"{origin} does not fit {type(model).__name__}: {'; '.join(problems)}")
    model.load_state_dict(weights)
