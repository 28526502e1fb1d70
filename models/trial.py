"""Try a model out on the meta device: no memory is taken, nothing is computed, and nothing is left to fail later."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcls.errors import UserError

from .building import create_model, reason_of

_MAX_MODULES = 10_000


def try_model(
    name: str, num_classes: int, input_size: tuple[int, int, int] | None = None, *, max_bytes: int, **options: Any
) -> nn.Module | None:
    """Build a classifier on the meta device and give it two images, as in training.

    Args:
        name: Of the architecture.
        num_classes: Number of its outputs.
        input_size: (channels, height, width); by default the model's own.
        max_bytes: Memory that there is. Weights, or one tensor between two layers, may not be larger.
        options: Arguments of the model's constructor.

    Returns:
        The model, or None where it cannot be built or called there, and nothing was learned.

    Raises:
        UserError: it cannot be built or called, or what it gives is not one score a class.
    """
    model: Any = build_on_meta(name, max_bytes=max_bytes, num_classes=num_classes, **options)
    if model is None:
        return None
    size = input_size or (3, *model.pretrained_cfg["input_size"][1:])
    try:
        with BoundedTensors(max_bytes, name):
            scores = model.train()(torch.empty(2, *size, device="meta"))
    except UserError:
        raise
    except Exception as error:  # whatever a constructor or a layer raises
        if is_about_meta(error):
            return None
        shape = "x".join(map(str, size[1:]))
        problem = f"{type(model).__name__} cannot take RGB images of {shape}: {reason_of(error)}"
        raise UserError(problem, key="model.options") from error
    if not isinstance(scores, Tensor) or scores.shape != (2, num_classes):
        kind = f"of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"as a {type(scores).__name__}"
        raise UserError(f"{name} gives outputs {kind}, not one score a class", key="model.options")
    return model


def build_on_meta(name: str, *, max_bytes: int, **options: Any) -> nn.Module | None:
    """Build a model on the meta device; None where its constructor computes something.

    Raises:
        UserError: it cannot be built, or is larger than the memory.
    """
    try:
        with _bounded_construction(name, max_bytes), torch.device("meta"):
            return create_model(name, **options)
    except UserError as error:
        if error.__cause__ is not None and is_about_meta(error.__cause__):
            return None
        raise


def machine_memory() -> int:
    """Return the bytes of memory that this process may use, of the machine or of its control group."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def is_about_meta(error: BaseException) -> bool:
    """Whether it failed because there are no values on the meta device, not because of what was asked."""
    return isinstance(error, NotImplementedError) or re.search(r"\bmeta\b", str(error).lower()) is not None


@contextmanager
def _bounded_construction(name: str, max_bytes: int) -> Iterator[None]:
    """Refuse a model of more weights than memory, or of more modules than any has, while it is being built."""
    modules, size = 0, 0

    def count_module(*_: object) -> None:
        nonlocal modules
        modules += 1
        if modules > _MAX_MODULES:
            raise UserError(f"{name} with these options has more than {_MAX_MODULES} layers", key="model.options")

    def count_parameter(_: nn.Module, __: str, parameter: Any) -> None:
        nonlocal size
        size += 0 if parameter is None else parameter.numel() * parameter.element_size()
        if size > max_bytes:
            raise _too_large(f"the weights of {name} with these options", size, max_bytes)

    hooks = (
        register_module_module_registration_hook(count_module),
        register_module_parameter_registration_hook(count_parameter),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class BoundedTensors(TorchDispatchMode):
    """Refuse tensors that are larger than the memory."""

    def __init__(self, max_bytes: int, name: str) -> None:
        super().__init__()
        self.max_bytes, self.name = max_bytes, name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() > self.max_bytes:
                size = tensor.untyped_storage().nbytes()
                raise _too_large(f"a tensor that {self.name} computes with these options", size, self.max_bytes)
        return result


def _too_large(what: str, size: int, max_bytes: int) -> UserError:
    problem = f"{what} would take {size / 1e9:,.0f} GB, and there are {max_bytes / 1e9:,.0f} GB of memory"
    return UserError(problem, "make it smaller", key="model.options")
