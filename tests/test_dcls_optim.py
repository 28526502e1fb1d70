import copy
import functools
import pickle

import pytest
import timm
import timm.optim
import torch
from shared_pair import SharedPair
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

import dcls
import models  # noqa: F401


def options_of(groups, parameter):
    return [{k: v for k, v in g.items() if k != "params"} for g in groups if any(p is parameter for p in g["params"])]


def test_each_parameter_is_in_one_group_positions_apart() -> None:
    model = SharedPair()
    groups = dcls.param_groups(model, weight_decay=0.05)
    for name, parameter in model.named_parameters():
        (options,) = options_of(groups, parameter)
        if ".shared." in name:
            assert options == {"weight_decay": 0.0, "lr_scale": 5.0}
        else:
            assert options == {"weight_decay": 0.0 if name.endswith("bias") else 0.05}


def test_spreads_may_learn_at_a_rate_of_their_own() -> None:
    model = SharedPair()
    groups = dcls.param_groups(model, weight_decay=0.05, lr_scale=5.0, spreads_lr_scale=0.0)
    scales = {
        name: options_of(groups, parameter)[0].get("lr_scale", 1.0) for name, parameter in model.named_parameters()
    }
    assert {scale for name, scale in scales.items() if name.endswith("positions")} == {5.0}
    assert {scale for name, scale in scales.items() if name.endswith("sigma")} == {0.0}
    assert sum(len(group["params"]) for group in groups) == len(scales)


def test_scale_multiplies_layer_decay() -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian")
    base = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    groups = dcls.param_groups(model, base, lr_scale=5.0)
    for index in range(4):
        stage = model.stages[index]
        (first_block,) = options_of(groups, stage.blocks[0].conv_dw.weight)
        for parameter in (stage.blocks[0].conv_dw.positions, stage.blocks[0].conv_dw.sigma):
            (options,) = options_of(groups, parameter)
            assert options["lr_scale"] == pytest.approx(5 * first_block["lr_scale"])
            assert options["weight_decay"] == 0
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_groups_carry_lr_where_no_scheduler_applies_scales() -> None:
    model = SharedPair()
    optimizer = torch.optim.SGD(dcls.param_groups(model, lr=0.1, lr_scale=3.0), lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        step = 0.3 if ".shared." in name else 0.1
        torch.testing.assert_close(before[name] - p, torch.full_like(p, step))


def test_groups_may_be_generators() -> None:
    model = SharedPair()
    groups = dcls.param_groups(model, [{"params": model.parameters(), "weight_decay": 0.1}])
    assert [len(g["params"]) for g in groups] == [4, 2]


def test_a_model_without_dcls_keeps_its_groups() -> None:
    model = timm.create_model("convnext_atto")
    base = param_groups_weight_decay(model, 0.05)
    assert dcls.param_groups(model, base) == base


def test_clamp_hook_follows_every_step_until_removed() -> None:
    model = SharedPair()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    handle = dcls.register_clamp_hook(optimizer, model)
    model.first.positions.grad = torch.full_like(model.first.positions, -100.0)
    optimizer.step()
    assert torch.all(model.first.positions == 3)
    handle.remove()
    optimizer.step()
    assert torch.all(model.first.positions == 103)


def test_names_of_a_layer_and_of_a_model() -> None:
    assert dcls.position_names(dcls.Dcls2d(2, 2, 3, 5)) == {"positions", "sigma"}
    assert dcls.position_names(SharedPair()) == {"first.shared.positions", "first.shared.sigma"}
    assert dcls.position_names(dcls.Dcls2d(2, 2, 3, 5, interpolation="bilinear")) == {"positions"}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.scale * values


def test_parametrized_positions_keep_their_learning_rate() -> None:
    model = SharedPair()
    register_parametrization(model.first.shared, "positions", Scaled())
    names = {f"first.shared.parametrizations.positions.{name}" for name in ("original", "0.scale")}
    assert dcls.position_names(model) == names | {"first.shared.sigma"}
    groups = dcls.param_groups(model, weight_decay=0.05, lr=0.1)
    for name, parameter in model.named_parameters():
        (options,) = options_of(groups, parameter)
        assert (options["lr"] == 0.5 and options["weight_decay"] == 0) == (".shared." in name)
    assert dcls.repulsive_loss(model).requires_grad


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_050"])
def test_timms_optimizers_leave_positions_of_converted_networks_alone(name) -> None:
    model = timm.create_model(name)
    dcls.convert(model, dilated_kernel_size=9, kernel_count=3, match=5)
    names = dcls.position_names(model)
    for net in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        parameters = dict(net.named_parameters())
        assert names and names <= net.no_weight_decay()
        for layer_decay in (None, 0.8):
            optimizer = timm.optim.create_optimizer_v2(net, "adamw", 1e-3, 0.05, layer_decay=layer_decay)
            decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
            assert decayed and not any(id(parameters[name]) in decayed for name in names)


def test_what_a_network_itself_exempts_from_weight_decay_stays_so() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scale = nn.Conv2d(4, 4, 7, padding=3, groups=4), nn.Parameter(torch.ones(4, 1))

        def no_weight_decay(self):
            return {"scale"}

    net = Net()
    dcls.convert(net, dilated_kernel_size=9, kernel_count=3)
    assert net.no_weight_decay() == {"scale"} | dcls.position_names(net)


def test_timm_takes_our_groups_by_its_own_argument() -> None:
    model = nn.Sequential(dcls.Dcls2d(4, 4, 3, 9, groups=4))
    groups = functools.partial(dcls.param_groups, weight_decay=0.05)
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=1e-3, param_group_fn=groups)
    scales = [
        (group.get("lr_scale", 1.0), group["weight_decay"], len(group["params"])) for group in optimizer.param_groups
    ]
    assert scales == [(1.0, 0.05, 1), (5.0, 0.0, 2), (1.0, 0.0, 1)]
