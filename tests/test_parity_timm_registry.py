import re

import pytest
import timm
from timm.models import list_modules

from parity.timm_registry import COLUMNS, check, families

QUICK = [  # of those, every one takes a second or two; the table has all families
    "test_resnet", "test_convnext", "test_mambaout", "test_coatnet", "test_efficientnet", "edgenext_xx_small",
    "mobilenetv3_small_050", "repghostnet_050",
]  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_converted_models_live_on(name) -> None:
    row = check(name)
    assert re.fullmatch(r"\d+, 0 refused", row["converted"])
    assert all(row[column] in ("yes", "not offered") for column in COLUMNS[1:]), row


def test_a_model_without_convolutions_and_one_that_cannot_be_converted_are_told_apart() -> None:
    assert check("test_vit") == {"converted": "no convolution to replace"}
    assert "ScaledStdConv2d computes something else" in check("test_nfnet")["converted"]


@pytest.mark.skipif(timm.__version__ != "1.0.31", reason="the list of families is of timm 1.0.31")
def test_every_family_is_in_the_list() -> None:
    found = {
        (module, re.sub(r"\d+.*", "", name.split("_")[0]))
        for module in list_modules()
        if not module.endswith("_dcls")
        for name in timm.list_models(module=module)
    }
    assert {(family.module, family.prefix) for family in families()} == found
    assert all(timm.is_model(family.model) for family in families())
