#!/usr/bin/env python3
"""Logits of every layout of released checkpoints: loaded here, and by hand into timm's model with reference layers.

    python -m parity.released_checkpoints FOLDER

For each file of keys, shapes and dtypes in FOLDER, draw weights of these names at random: positions up to the border,
spreads of both signs. Save them as a released file is, load that here, and load the same weights by hand into timm's
model with the reference's layers. The samples with real logits are compared in tests/test_models_released_upstream.py.
"""

import argparse
import ast
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dcls.checkpoints.reading import read_weights
from models.loading import load_weights
from models.released.upstream import UpstreamCheckpoint, recognize, released_names
from parity.reference import put_reference_layers
from training.run_folder import describe_environment

IMAGE = (2, 3, 64, 64)
SPECTROGRAM = (2, 1, 128, 129)


@torch.no_grad()
def compare(keys: Path) -> tuple[UpstreamCheckpoint, float, int, int]:
    """Compare both sides' logits, and our model's keys with the file's.

    Returns:
        The layout, the largest difference of a logit over the largest logit, how many keys are missing, how many
        unexpected.
    """
    torch.manual_seed(0)
    shapes = read_shapes(keys)
    layout = recognize({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    ours = timm.create_model(layout.model, num_classes=layout.num_classes, **layout.options).eval()
    names = released_names(list(shapes), layout, ours)
    state = draw(shapes, names, ours)
    expected = {f"{layer}.{kind}" for layer in dcls_layers(names) for kind in ("P", "SIG")} | set(ours.state_dict())
    unexpected = [name for name in names.values() if name not in expected]
    plain = [name for name in ours.state_dict() if not name.endswith((".positions", ".sigma"))]
    missing = [name for name in plain if name not in names.values()]
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": state}, Path(folder) / "released.pth")
        load_weights(ours, read_weights(Path(folder) / "released.pth"), "released.pth")
    theirs = load_by_hand(layout, ours, state, names)
    x = torch.randn(SPECTROGRAM if layout.is_audio else IMAGE)
    logits, reference_logits = ours(x), theirs(x)
    difference = (logits - reference_logits).abs().max() / reference_logits.abs().max()
    return layout, difference.item(), len(missing), len(unexpected)


def read_shapes(keys: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape, in the file's order."""
    lines = (line.split("\t") for line in keys.read_text().splitlines())
    return {name: ast.literal_eval(shape) for name, shape, _ in lines}


def dcls_layers(names: dict[str, str]) -> list[str]:
    """Return the names of the layers with learned positions."""
    return [name.removesuffix(".P") for name in names.values() if name.endswith(".P")]


def draw(shapes: dict[str, tuple[int, ...]], names: dict[str, str], ours: nn.Module) -> dict[str, Tensor]:
    """Draw weights under the released names, near those of a fresh model; positions are equal where they are shared."""
    fresh, state = ours.state_dict(), {}
    sets: dict[tuple[str, object], Tensor] = {}
    for old, shape in shapes.items():
        layer, _, kind = names[old].rpartition(".")
        if kind in ("P", "SIG"):
            module: Any = ours.get_submodule(layer)
            reach = module.dilated_kernel_size[0] // 2
            drawn = torch.empty(shape).uniform_(-reach, reach) if kind == "P" else torch.randn(shape)
            state[old] = sets.setdefault((kind, id(module.positions)), drawn)
        elif not fresh[names[old]].is_floating_point():
            state[old] = fresh[names[old]].reshape(shape)
        else:
            value = fresh[names[old]].reshape(shape)
            value = value + 0.02 * torch.randn(shape)
            state[old] = value.abs() + 0.5 if kind == "running_var" else value
            if kind == "gamma":
                state[old] = 0.1 + 0.02 * torch.randn(shape)
    return state


def load_by_hand(layout: UpstreamCheckpoint, ours: nn.Module, state: dict[str, Tensor], names: dict[str, str]) -> Any:
    """Build timm's model with the reference's layers, and load it by hand."""
    name = layout.model.partition("_dcls_")[0]
    sizes = {key: value for key, value in layout.options.items() if key != "kernel_count"}
    theirs: Any = timm.create_model(name, num_classes=layout.num_classes, **sizes)
    if layout.is_audio:
        put_audio_stem(theirs, name)
    if layout.family == "MetaFormer":
        theirs.head.fc.norm.eps = 1e-5  # as the original, see models/metaformer_dcls.py
    put_reference_layers(theirs, ours)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    theirs.load_state_dict({names[old]: value.reshape(shapes[names[old]]) for old, value in state.items()})
    return theirs.eval()


def put_audio_stem(model: Any, name: str) -> None:
    """Replace the stem by patches of 2 x 16, as K-H-Ismail/DCLS-Audio has them."""
    if name.startswith("convnext"):
        model.stem[0] = nn.Conv2d(1, 96, (2, 16), stride=(2, 16))
    elif name.startswith("convformer"):
        model.stem.conv = nn.Conv2d(1, 64, (2, 16), stride=(2, 16), bias=False)
    else:
        model.stem = nn.Conv2d(1, 64, (2, 16), stride=(2, 16), bias=False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", type=Path, help="folder with a file of keys, shapes and dtypes for each layout")
    options = parser.parse_args()
    print(describe_environment() + "\n")
    print("| layout | model | largest relative difference of a logit | missing | unexpected |\n|---|---|---|---|---|")
    for keys in sorted(options.keys.glob("*.txt")):
        layout, difference, missing, unexpected = compare(keys)
        print(f"| {keys.stem} | {layout.model} | {difference:.1e} | {missing} | {unexpected} |", flush=True)


if __name__ == "__main__":
    main()
