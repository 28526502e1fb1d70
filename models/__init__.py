"""timm-registered architectures with DCLS layers: ``import models``, then ``timm.create_model(NAME)``."""

from . import audio_dcls, convnext_dcls, fastvit_dcls, metaformer_dcls, resnet_dcls

MODULES = (convnext_dcls, metaformer_dcls, fastvit_dcls, resnet_dcls, audio_dcls)
NAMES = sorted(name for module in MODULES for name in module.default_cfgs)

__all__ = ["NAMES"]
