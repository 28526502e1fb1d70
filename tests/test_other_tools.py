"""Converted networks in other people's tools: detectors, segmentation, offloading, sharding, the Trainer."""

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import fully_shard

import dcls

SMALL = dict(depths=(1, 1, 2, 1), dims=(8, 8, 16, 16))


def converted(**options) -> nn.Module:
    model = timm.create_model("convnext_atto", **SMALL, **options)
    dcls.convert(model, dilated_kernel_size=11, kernel_count=4)
    return model


def assert_positions_learn(model: nn.Module) -> None:
    owners = dcls.position_owners(model)
    assert owners and all(owner.positions.grad is not None for owner in owners.values())


def test_a_detector_trains_at_changing_sizes_and_folds() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    ops = pytest.importorskip("torchvision.ops")

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = converted(features_only=True)
            channels = self.body.feature_info.channels()[1:]
            self.fpn, self.out_channels = ops.FeaturePyramidNetwork(channels, 16), 16

        def forward(self, x):
            return self.fpn({str(level): maps for level, maps in enumerate(self.body(x)[1:])})

    anchors = detection.anchor_utils.AnchorGenerator(((16,), (32,), (64,)), ((1.0,),) * 3)
    model = detection.RetinaNet(Backbone(), num_classes=3, anchor_generator=anchors, min_size=64, max_size=96)
    targets = [dict(boxes=torch.tensor([[4.0, 4.0, 30.0, 40.0]]), labels=torch.tensor([1]))]
    for size in ((64, 64), (64, 90)):
        sum(model([torch.rand(3, *size)], targets).values()).backward()
    assert_positions_learn(model)
    image = [torch.rand(3, 64, 80)]
    with torch.no_grad():
        (expected,) = model.eval()(image)
        (folded,) = dcls.reparameterize(model)(image)
    torch.testing.assert_close(folded["scores"], expected["scores"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("decoder", ["Unet", "FPN", "UPerNet", "DeepLabV3Plus", "Segformer"])
def test_a_segmentation_model_trains_and_folds(decoder) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(smp, decoder)("mobilenet_v2", encoder_weights=None, classes=2)
    conversion = dcls.convert(model, dilated_kernel_size=7, kernel_count=4, match=3)
    for size in (64, 96):
        model(torch.randn(2, 3, size, size)).square().mean().backward()
    assert conversion.replaced
    assert_positions_learn(model)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval()(x)
        torch.testing.assert_close(dcls.reparameterize(model)(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("to", ["cpu", "disk"])
@torch.no_grad()
def test_accelerate_offloads(to, tmp_path) -> None:
    accelerate = pytest.importorskip("accelerate")
    model, x = converted().eval(), torch.randn(1, 3, 64, 64)
    expected = model(x)
    if to == "cpu":
        accelerate.cpu_offload(model, torch.device("cpu"))
    else:
        accelerate.disk_offload(model, str(tmp_path), torch.device("cpu"))
    torch.testing.assert_close(model(x), expected)


def test_checkpoint_wrappers_around_blocks() -> None:
    model, x = converted(), torch.randn(2, 3, 64, 64)
    model(x).square().mean().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for stage in model.stages:
        stage.blocks = nn.Sequential(*map(checkpoint_wrapper, stage.blocks))
    model(x).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("sets_first", [True, False])
def test_blocks_are_sharded_one_by_one(tmp_path, sets_first) -> None:
    """A set lies in the first block that uses it, which has it gathered only while it runs."""
    model, x = converted(), torch.randn(2, 3, 64, 64)
    expected = model(x)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        for shared in [module for module in model.modules() if isinstance(module, dcls.SharedPositions)]:
            if sets_first:
                fully_shard(shared)
        for stage in model.stages:
            for block in stage.blocks:
                fully_shard(block)
        fully_shard(model)
        if not sets_first:
            with pytest.raises(ValueError, match=r"before fully_shard\(block\), shard each set by itself"):
                model(x)
            return
        outputs = model(x)
        torch.testing.assert_close(outputs, expected)
        outputs.square().mean().backward()
        assert_positions_learn(model)
    finally:
        dist.destroy_process_group()


def test_the_trainer_takes_our_parameter_groups(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = converted(num_classes=3)
    optimizer = torch.optim.AdamW(dcls.param_groups(model, weight_decay=0.05, lr=1e-3), lr=1e-3)
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], warmup_steps=2)
    trainer = transformers.Trainer(model=model, args=arguments, optimizers=(optimizer, None))
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    optimizer.step()
    trainer.lr_scheduler.step()
    ids = {id(owner.positions) for owner in dcls.position_owners(model).values()}
    for group in trainer.optimizer.param_groups:
        holds_positions = any(id(parameter) in ids for parameter in group["params"])
        assert group["lr"] == pytest.approx(2.5e-3 if holds_positions else 0.5e-3)
        assert not (holds_positions and group["weight_decay"])
