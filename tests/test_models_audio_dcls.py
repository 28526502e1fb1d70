import pytest
import timm
import torch

import models  # noqa: F401
from models.audio_dcls import AUDIOSET_CLASSES, PATCH


@pytest.mark.parametrize("name", ["convnext_tiny_dcls_audio", "convformer_s18_dcls_audio", "fastvit_sa24_dcls_audio"])
def test_the_stem_cuts_a_spectrogram_into_patches(name) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
        spectrogram = torch.empty(2, 1, 128, 1001)
    stem = model.get_submodule(model.default_cfg["first_conv"])
    assert (stem.in_channels, stem.kernel_size, stem.stride) == (1, PATCH, PATCH)
    stem.register_forward_hook(lambda *arguments: maps.append(arguments[2].shape[2:]))
    maps: list[torch.Size] = []
    assert model(spectrogram).shape == (2, AUDIOSET_CLASSES)
    assert maps == [(128 // PATCH[0], 1001 // PATCH[1])]
