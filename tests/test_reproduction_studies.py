from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from dcls.errors import UserError
from reproduction.rows import find_rows
from reproduction.runs import RowRun
from reproduction.studies import all_studies, read_study, study_rows
from training.config_file import load_config
from training.flops import count_parameters
from training.model import make_model, sides_of

ROWS = [row for row in study_rows() if row.config_name in ("embedded", "reach")]  # the networks of all settings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_builds_with_as_many_parameters_as_it_says(row) -> None:
    with torch.device("meta"):
        model = make_model(row.config.model, 4 if row.config_name == "reach" else 10, say=lambda note: None)
    assert count_parameters(model) == row.facts.parameters
    height, width = (24, 216) if row.config_name == "reach" else (32, 32)
    assert model(torch.empty(2, 3, height, width, device="meta")).shape[0] == 2


@pytest.mark.parametrize(
    ("setting", "expected"), [("embedded", [16, 8, 4]), ("convformer_cifar10", [16, 8, 4, 2]), ("reach", [(3, 27)])]
)
def test_kernels_meet_maps_of_the_size_that_the_configuration_says(setting, expected) -> None:
    config = load_config(REPOSITORY / f"configs/studies/{setting}.yaml")
    with torch.device("meta"):
        model = make_model(config.model, 10, say=lambda note: None)
    met: list[tuple[int, int]] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (7, 7) and module.groups > 1:
            module.register_forward_pre_hook(lambda _, inputs: met.append(tuple(inputs[0].shape[2:])))
    height, width = sides_of(config.data.image_size)
    model(torch.empty(1, 3, height, width, device="meta"))
    assert list(dict.fromkeys(met)) == [size if isinstance(size, tuple) else (size, size) for size in expected]


def test_a_row_is_one_command_of_train_py() -> None:
    (row,) = find_rows(["spreads/embedded_fixed_spreads"])
    assert row.command == (
        "python train.py --config configs/studies/embedded.yaml 'model.dcls={dilated_kernel_size: 15, "
        "kernel_count: 16, weight_std: 0.02}' optimizer.spreads_lr_scale=0.0"
    )
    assert load_config(REPOSITORY / row.config_file, row.overrides) == row.config
    assert list(row.overrides) == RowRun(row, 0, Path("runs")).arguments()[1:3]


def test_rows_that_studies_have_in_common_are_trained_once() -> None:
    (row,) = find_rows(["positions/embedded_gaussian"])
    assert {"spreads", "positions", "interpolations", "sizes"} == set(row.studies)
    assert len({row.name for row in study_rows()}) == len(study_rows())
    assert len(find_rows(["reach/*"])) == len(all_studies()["reach"].facts.variants)


def test_settings_differ_in_data_and_length_alone() -> None:
    configs = [
        load_config(REPOSITORY / f"configs/studies/{name}.yaml")
        for name in ("embedded", "fashion", "cifar10", "cifar10_long")
    ]
    for config in configs[1:]:
        assert (config.model, config.optimizer) == (configs[0].model, configs[0].optimizer)


def test_a_reference_that_is_no_variant_is_an_error(tmp_path) -> None:
    text = (REPOSITORY / "reproduction/studies/reach.yaml").read_text()
    (tmp_path / "reach.yaml").write_text(text.replace("reference: uniform", "reference: unform"))
    with pytest.raises(UserError, match="there is no variant unform"):
        read_study(tmp_path / "reach.yaml")
