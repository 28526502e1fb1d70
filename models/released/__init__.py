"""The authors' released checkpoints: which there are, and how they become weights of this project's models."""

from models.released.layout import UpstreamCheckpoint, recognise, to_model
from models.released.loading import load_released
from models.released.reading import read_released
from models.released.releases import RELEASES, Release

__all__ = ["RELEASES", "Release", "UpstreamCheckpoint", "load_released", "read_released", "recognise", "to_model"]
