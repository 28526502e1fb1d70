#!/usr/bin/env python3
"""One model of every family of timm's registry, converted: does it compute, train, copy, save, load and fold?

    python -m parity.timm_registry [--only PATTERN]

Depthwise convolutions of 3x3 and larger get kernels of 9x9, or where there are none, dense ones of 3x3 get 5x5. The
models are those with the fewest parameters among those of their family with the smallest names, see
``timm_families.txt``; their images are 64x64 where the model takes that, else its own size. Rows are printed as they
are ready.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

import dcls
from training.run_folder import describe_environment

COLUMNS = ("converted", "shape", "gradients", "deepcopy", "state dict", "folded", "features")
_SMALL = 64
_TOLERANCE = 1e-3  # of the largest output: networks with untrained weights amplify rounding


class Family(NamedTuple):
    """A family of timm's models: its file, the beginning of its names, and the model that stands for it."""

    module: str
    prefix: str
    model: str


def families() -> list[Family]:
    """Return all families."""
    lines = Path(__file__).with_name("timm_families.txt").read_text().splitlines()
    return [Family(*line.split()) for line in lines]


def check(name: str) -> dict[str, str]:
    """Convert a model and return what came out, by column; those after a failure are left out."""
    torch.manual_seed(0)
    model, images = _model_and_images(name)
    with torch.no_grad():
        expected = model(images)
    try:
        conversion = convert(model)
    except ValueError as error:
        return {"converted": " ".join(str(error).splitlines())}
    if conversion is None:
        return {"converted": "no convolution to replace"}
    row = {"converted": f"{len(conversion.replaced)}, {len(conversion.skipped)} refused"}
    checks: dict[str, Callable[[], bool]] = {
        "shape": lambda: _has_shape_of(model, images, expected),
        "gradients": lambda: _every_layer_learns(conversion, model, images),
        "deepcopy": lambda: _computes_the_same(copy.deepcopy(model), model, images),
        "state dict": lambda: _loads(name, model, images),
        "folded": lambda: _folds(model, images),
        "features": lambda: _gives_features(name, images),
    }
    for column, passes in checks.items():
        row[column] = _outcome(passes)
    return row


def convert(model: nn.Module) -> dcls.Conversion | None:
    """Convert the depthwise convolutions, or the dense ones of 3x3; None where there is neither."""
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if any(_is_depthwise("", conv) for conv in convs):
        return dcls.convert(model, dilated_kernel_size=9, kernel_count=4, match=_is_depthwise)
    if any(_is_dense("", conv) for conv in convs):
        return dcls.convert(model, dilated_kernel_size=5, kernel_count=3, match=_is_dense)
    return None


def _is_depthwise(_: str, conv: Any) -> bool:
    return conv.groups == conv.in_channels > 1 and max(conv.kernel_size) >= 3


def _is_dense(_: str, conv: Any) -> bool:
    return tuple(conv.kernel_size) == (3, 3)


def _outcome(passes: Callable[[], bool]) -> str:
    try:
        return "yes" if passes() else "no"
    except _NotOfferedError:
        return "not offered"
    except Exception as error:  # a row of the table, whatever it is
        return f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"


class _NotOfferedError(Exception):
    """Timm's own model cannot do this."""


def _model_and_images(name: str) -> tuple[nn.Module, Tensor]:
    model = timm.create_model(name, num_classes=5).eval()
    small = torch.randn(2, 3, _SMALL, _SMALL)
    try:
        with torch.no_grad():
            model(small)
        return model, small
    except Exception:  # many models take images of one size, and say so in many ways
        size = timm.data.resolve_model_data_config(model)["input_size"]
        return model, torch.randn(2, *size)


def _has_shape_of(model: nn.Module, images: Tensor, expected: Tensor) -> bool:
    with torch.no_grad():
        return bool(model(images).shape == expected.shape)


def _every_layer_learns(conversion: dcls.Conversion, model: nn.Module, images: Tensor) -> bool:
    model.train()(images).square().mean().backward()
    model.eval()
    gradients = [layer.positions.grad for layer in conversion.replaced.values()]
    model.zero_grad()
    return all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


def _computes_the_same(other: nn.Module, model: nn.Module, images: Tensor) -> bool:
    with torch.no_grad():
        result, expected = other(images), model(images)
    return bool((result - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def _loads(name: str, model: nn.Module, images: Tensor) -> bool:
    other = timm.create_model(name, num_classes=5).eval()
    convert(other)
    other.load_state_dict(model.state_dict())
    return _computes_the_same(other, model, images)


def _folds(model: nn.Module, images: Tensor) -> bool:
    """Try timm's function, which folds blocks of its own as well, and what is left by this library's."""
    folded = reparameterize_model(model)
    both = dcls.reparameterize(copy.deepcopy(model))
    has_dcls = any(isinstance(module, dcls.DclsNd) for net in (folded, both) for module in net.modules())
    return not has_dcls and all(_computes_the_same(net, model, images) for net in (folded, both))


def _gives_features(name: str, images: Tensor) -> bool:
    try:
        backbone = timm.create_model(name, features_only=True).eval()
        with torch.no_grad():
            expected = backbone(images)
    except Exception as error:
        raise _NotOfferedError from error
    convert(backbone)
    with torch.no_grad():
        maps = backbone(images)
    return [m.shape for m in maps] == [m.shape for m in expected]


def rows(pattern: str = "*") -> Iterator[list[str]]:
    """Yield the table row by row."""
    for family in families():
        if fnmatch(family.model, pattern):
            try:
                row = check(family.model)
            except Exception as error:  # not a reason to lose the other rows
                row = {"converted": f"timm's own fails: {type(error).__name__}"}
            yield [family.module, family.model, *(row.get(column, "-") for column in COLUMNS)]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="models whose name matches, such as 'conv*'")
    arguments = parser.parse_args()
    print(f"{describe_environment()}; timm {timm.__version__}\n")
    print("| file | model | " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for cells in rows(arguments.only):
        print("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
