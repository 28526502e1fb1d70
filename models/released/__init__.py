"""The authors' released checkpoints: which there are, and how they become weights of this project's networks."""

from models.released.layout import Layout, recognise, to_network
from models.released.loading import load_released
from models.released.reading import read_released
from models.released.releases import RELEASES, Release

__all__ = ["RELEASES", "Layout", "Release", "load_released", "read_released", "recognise", "to_network"]
