"""Blocks that fold themselves compute the same afterwards, in any order, and as few convolutions as they can."""

import copy
import pickle

import pytest
import torch
from timm.models.byobnet import MobileOneBlock, RepVggBlock
from timm.models.efficientvit_msra import ConvNorm
from timm.models.fastvit import ReparamLargeKernelConv, RepConditionalPosEnc, RepMixer
from timm.models.ghostnet import GhostModuleV3
from timm.models.repvit import RepVggDw
from timm.utils import reparameterize_model
from torch import nn

import dcls

BLOCKS = {
    "RepVGG": lambda: RepVggBlock(8, 8, kernel_size=3),
    "MobileOne": lambda: MobileOneBlock(8, 8, kernel_size=3, num_conv_branches=2),
    "EfficientViT": lambda: ConvNorm(8, 8, 3, 1, 1),
    "FastViT": lambda: RepMixer(8, 3),
    "FastViT, large": lambda: ReparamLargeKernelConv(8, 8, 7, 1, 1, small_kernel=3),
    "FastViT, positions": lambda: RepConditionalPosEnc(8, spatial_shape=(7, 7)),
}
IN_BRANCHES = {  # their own code takes kernels of 3x3 for granted
    "GhostNet": lambda: GhostModuleV3(8, 8, dw_size=3),
    "RepViT": lambda: RepVggDw(8, 3),
}


def converted(build) -> nn.Sequential:
    net = nn.Sequential(build()).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias)
    largest = max(max(m.kernel_size) for m in net.modules() if isinstance(m, nn.Conv2d))
    match = lambda _, conv: max(conv.kernel_size) == largest  # noqa: E731
    dcls.convert(net, dilated_kernel_size=11, kernel_count=4, match=match)
    return net


def dcls_then_timm(net):
    return reparameterize_model(dcls.reparameterize(net))


def timm_then_dcls(net):
    return dcls.reparameterize(reparameterize_model(net))


ORDERS = {
    "timm": reparameterize_model,
    "timm, in place": lambda net: reparameterize_model(net, inplace=True),
    "dcls, timm": dcls_then_timm,
    "timm, dcls": timm_then_dcls,
    "timm twice": lambda net: reparameterize_model(reparameterize_model(net)),
    "of a copy": lambda net: reparameterize_model(copy.deepcopy(net)),
    "of a pickle": lambda net: reparameterize_model(pickle.loads(pickle.dumps(net))),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [*BLOCKS, *IN_BRANCHES])
@torch.no_grad()
def test_they_compute_the_same(block, order) -> None:
    net = converted((BLOCKS | IN_BRANCHES)[block])
    x = torch.randn(2, 8, 16, 16)
    expected = net(x)
    folded = ORDERS[order](net)
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)
    layers = [module for module in folded.modules() if isinstance(module, nn.Conv2d | dcls.DclsNd)]
    assert not any(isinstance(layer, dcls.DclsNd) for layer in layers)
    assert block in IN_BRANCHES or [layer.kernel_size for layer in layers] == [(11, 11)]


def test_a_copy_that_is_folded_leaves_the_network_as_it_was() -> None:
    net = converted(BLOCKS["RepVGG"])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    reparameterize_model(net)
    assert isinstance(net[0].conv_kxk.conv, dcls.Dcls2d)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_blocks_without_dcls_layers_keep_their_own_method() -> None:
    net = nn.Sequential(RepVggBlock(8, 8, kernel_size=3), nn.Conv2d(8, 8, 5, padding=2))
    dcls.convert(net, dilated_kernel_size=7, kernel_count=4, match=lambda _, conv: conv.kernel_size == (5, 5))
    assert "reparameterize" not in vars(net[0])


def test_a_block_whose_fold_fails_keeps_its_branches(caplog) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(x)

        def fuse(self):
            self.conv.weight.data[:] = 0
            return self

    net = nn.Sequential(Broken())
    dcls.convert(net, dilated_kernel_size=7, kernel_count=4, match="*")
    x = torch.randn(1, 8, 12, 12)
    expected = net(x)
    with caplog.at_level("INFO"):
        folded = reparameterize_model(net)
    torch.testing.assert_close(folded(x), expected)
    assert "a Broken keeps its branches, as plain convolutions" in caplog.text


def test_a_method_of_the_same_name_with_arguments_is_called_as_it_is() -> None:
    class Fuser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)

        def fuse(self, a, b):
            return a + b

    net = nn.Sequential(Fuser())
    dcls.convert(net, dilated_kernel_size=5, kernel_count=3, match="*")
    assert net[0].fuse(1, b=2) == 3
