import timm
import torch


def test_dense_stride_keeps_resolution() -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian", output_stride=8, features_only=True)
    assert [f.shape[-1] for f in model(torch.randn(1, 3, 64, 64))] == [16, 8, 8, 8]
