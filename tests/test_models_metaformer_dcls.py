import timm
import torch
from torch import nn

import dcls
import models  # noqa: F401


def test_stages_that_attend_have_no_dcls_layer_and_the_baseline_none_at_all() -> None:
    with torch.device("meta"):
        caformer, baseline = timm.create_model("caformer_s18_dcls_gaussian"), timm.create_model("convformer_xs12")
    counts = [sum(isinstance(m, dcls.Dcls2d) for m in stage.modules()) for stage in caformer.stages]
    assert counts == [3, 3, 0, 0]
    assert not dcls.position_owners(baseline)
    mixers = [m for m in baseline.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (7, 7) and m.groups > 1]
    assert len(mixers) == 12 and all(m.groups == m.in_channels for m in mixers)


def test_the_heads_norm_is_the_originals_even_after_a_new_classifier() -> None:
    with torch.device("meta"):
        model = timm.create_model("convformer_xs12_dcls_gaussian")
        assert model.head.fc.norm.eps == 1e-5
        model.reset_classifier(7)
    assert model.head.fc.norm.eps == 1e-5 and model.num_classes == 7
