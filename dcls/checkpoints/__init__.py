"""Checkpoint files: what they say of their model, and their weights. Needs torch and safetensors.

Files are read without running anything that is in them. ``import dcls`` does not import this package.
"""

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.checkpoints.loading import load_exactly
from dcls.checkpoints.reading import open_safely, read_description, read_weights

__all__ = ["ModelDescription", "Preprocessing", "load_exactly", "open_safely", "read_description", "read_weights"]
