"""Entry points of ``torch.hub``: every registered model, by its name.

torch.hub.load(REPOSITORY, "convnext_tiny_dcls_gaussian", pretrained=False)
"""

import importlib.util
import pathlib
import sys
from functools import partial

import timm

import dcls  # noqa: F401  the parent of the package below

dependencies = ["torch", "timm"]


def _registered_names() -> list[str]:
    """Import models/ under the name that it has when installed: the caller may have a package ``models``, too."""
    name = "dcls.models"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).parent / "models" / "__init__.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name].NAMES


globals().update({name: partial(timm.create_model, name) for name in _registered_names()})
del partial  # torch.hub lists every callable
