"""Every configuration file is valid, builds, and says how to run it."""

from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from torch import nn

import dcls
from reproduction.row import Row
from reproduction.rows import all_rows, find_rows
from reproduction.studies import study_rows
from training.config import ModelConfig
from training.config_file import load_config
from training.flops import count_parameters
from training.model import make_model, sides_of

FOLDER = REPOSITORY / "configs"
FILES = [FOLDER / "quickstart.yaml", *sorted(FOLDER.glob("*/*.yaml"))]
ROWS = all_rows()


def build(config: ModelConfig, num_classes: int) -> nn.Module:
    """Build a model without weights; those of configs/finetune are elsewhere."""
    config = config.model_copy(update={"pretrained": False, "initial_checkpoint": None})
    with torch.device("meta"):
        return make_model(config, num_classes, say=lambda note: None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_configuration_builds_and_names_its_command(path: Path) -> None:
    config = load_config(path)
    model = build(config.model, 1000)
    size = sides_of(config.data.image_size or 224)
    assert model(torch.empty(2, 3, *size, device="meta")).shape == (2, 1000)
    header = path.read_text().split("\nmodel:")[0]
    assert "# Run: " in header and str(path.relative_to(REPOSITORY)) in header


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_it_is_and_what_to_expect(row: Row) -> None:
    text, facts = (REPOSITORY / row.config_file).read_text(), row.facts
    assert f"# Row:     {row.title}." in text and "# Expect: " in text
    assert row.variant
    model = build(row.config.model, 1000 if "imagenet" in row.full_name else 10)
    assert count_parameters(model) == facts.parameters
    if facts.baseline is not None:
        (baseline,) = find_rows([f"{row.table}/{facts.baseline}"])
        assert (
            baseline.config.schedule == row.config.schedule and baseline.config.augmentation == row.config.augmentation
        )


@pytest.mark.parametrize("row", [row for row in ROWS if row.facts.interpolation], ids=lambda row: row.name)
def test_a_row_names_the_kernels_that_its_model_has(row: Row) -> None:
    model = build(row.config.model, 10)
    layers = [module for module in model.modules() if isinstance(module, dcls.Dcls2d)]
    kernels = {f"{'x'.join(map(str, layer.dilated_kernel_size))} / {layer.kernel_count}" for layer in layers}
    assert kernels == {row.facts.kernel}
    words = {"bilinear_unnormalized": "bilinear, not normalized", "gaussian": "Gaussian"}
    assert {words.get(layer.interpolation, layer.interpolation) for layer in layers} == {row.facts.interpolation}


def test_every_configuration_but_the_quickstart_is_one_row() -> None:
    rows = [*ROWS, *study_rows()]
    assert {REPOSITORY / row.config_file for row in rows} == set(FOLDER.glob("*/*.yaml")) and len(ROWS) == 17 + 5


@pytest.mark.parametrize("row", [row for row in ROWS if row.table == "imagenet"], ids=lambda row: row.name)
def test_imagenet_rows_are_named_after_their_model_and_say_where_their_number_stands(row: Row) -> None:
    assert row.name.startswith(row.config.model.name)
    assert row.facts.source
    text = (REPOSITORY / row.config_file).read_text()
    assert ("not published" in text) == (row.facts.published_top1 is None)
