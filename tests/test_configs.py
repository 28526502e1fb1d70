"""Every configuration file is valid, builds, and says how to run it."""

from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from training.config_file import load_config
from training.network import make_network

FILES = sorted((REPOSITORY / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_configuration_builds_and_names_its_command(path: Path) -> None:
    config = load_config(path)
    with torch.device("meta"):
        network = make_network(config.model, num_classes=1000)
    size = config.data.image_size or 224
    assert network(torch.empty(2, 3, size, size, device="meta")).shape == (2, 1000)
    header = path.read_text().split("\nmodel:")[0]
    assert "# Run: " in header and str(path.relative_to(REPOSITORY)) in header


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "imagenet"], ids=lambda path: path.stem)
def test_imagenet_rows_are_named_after_their_network_and_state_the_expectation(path: Path) -> None:
    assert load_config(path).model.name == path.stem
    assert "# Expect: " in path.read_text()
