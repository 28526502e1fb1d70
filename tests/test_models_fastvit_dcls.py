import timm
import torch
from timm.models.fastvit import RepConditionalPosEnc
from torch import nn

import dcls
import models  # noqa: F401


@torch.no_grad()
def test_a_position_encoding_with_a_dcls_layer_folds_to_the_same() -> None:
    sizes = dict(layers=(1, 1, 1, 1), embed_dims=(8, 8, 16, 32))
    model = timm.create_model("fastvit_sa24_dcls_gaussian", dilated_kernel_size=9, kernel_count=4, **sizes).eval()
    (encoding,) = (module for module in model.modules() if isinstance(module, RepConditionalPosEnc))
    assert isinstance(encoding.pos_enc, dcls.Dcls2d)
    x = torch.randn(2, 32, 8, 8)
    expected = encoding(x)
    encoding.reparameterize()
    assert isinstance(encoding.reparam_conv, nn.Conv2d) and encoding.reparam_conv.kernel_size == (9, 9)
    torch.testing.assert_close(encoding(x), expected)
