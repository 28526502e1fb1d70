"""From weights to a model that they fit exactly."""

from pathlib import Path

from torch import Tensor, nn

from dcls.errors import UserError


def load_exactly(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Load weights that must fit in every name and shape; the model is unchanged if they do not.

    Args:
        origin: Where they are from, for messages.

    Raises:
        UserError: see ``check_fit``.
    """
    check_fit(model, weights, origin)
    model.load_state_dict(weights)


def check_fit(model: nn.Module, weights: dict[str, Tensor], origin: str | Path) -> None:
    """Compare weights with a model, which may be on the meta device.

    Raises:
        UserError: names, shapes or kinds of numbers differ, or a weight is infinite or not a number.
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
    # The first has aliases, the second what layers of a part of a model share with layers outside of it.
    learned = {name for kind in (False, True) for name, _ in model.named_parameters(remove_duplicate=kind)}
    for name, tensor in expected.items():
        if weights[name].is_floating_point() != tensor.is_floating_point():
            kinds = f"{str(weights[name].dtype).removeprefix('torch.')} where the model has"
            raise UserError(f"{origin} holds {name} as {kinds} {str(tensor.dtype).removeprefix('torch.')}")
        if not _is_finite(weights[name], may_be_infinite=name not in learned):
            raise UserError(
                f"{origin} holds weights that are infinite or not numbers, such as {name}", "take an earlier file"
            )


def _is_finite(tensor: Tensor, *, may_be_infinite: bool) -> bool:
    if not tensor.is_floating_point():
        return True
    numbers = tensor.float() if tensor.element_size() == 1 else tensor
    return not bool(numbers.isnan().any()) if may_be_infinite else bool(numbers.isfinite().all())
