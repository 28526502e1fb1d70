"""The authors' released checkpoints: which there are, and how they become weights of this project's models."""

from .releases import RELEASES, Release
from .upstream import UpstreamCheckpoint, recognize, to_model

__all__ = ["RELEASES", "Release", "UpstreamCheckpoint", "recognize", "to_model"]
