"""Entry points of ``torch.hub``: every registered model, by its name.

torch.hub.load(REPOSITORY, "convnext_tiny_dcls_gaussian", pretrained=False)
"""

from functools import partial

import timm

from models import NAMES

dependencies = ["torch", "timm"]

globals().update({name: partial(timm.create_model, name) for name in NAMES})
del partial  # torch.hub lists every callable
