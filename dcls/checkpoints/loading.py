"""From weights to a model that they fit exactly."""

from pathlib import Path

from torch import Tensor, nn

from dcls.errors import UserError


def load_exactly(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit in every name and shape; the model is unchanged if they do not.

    Args:
        origin: Where they are from, for messages.

    Raises:
        UserError: names or shapes differ.
    """
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
        raise UserError(f"{origin} does not fit {type(model).__name__}: {'; '.join(problems)}")
    model.load_state_dict(weights)
