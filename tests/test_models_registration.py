import timm

import models
from models.registration import describe, imagenet_cfg
from models.released.releases import release_of


def test_a_variant_with_a_released_file_has_a_tag_for_it() -> None:
    name = "convnext_tiny_dcls_gaussian"
    release = release_of(name)
    tagged, cfg = describe(name, imagenet_cfg(classifier="head.fc"))
    assert tagged == f"{name}.released" and cfg["url"] == release.url and cfg["classifier"] == "head.fc"
    assert cfg["license"] is None, "the authors' file has none"
    assert describe("convnext_atto_dcls_gaussian", imagenet_cfg()) == ("convnext_atto_dcls_gaussian", imagenet_cfg())


def test_timm_finds_the_released_weights_of_every_variant_that_has_some() -> None:
    with_files = {name for name in models.NAMES if release_of(name)}
    assert {name for name in models.NAMES if timm.models.is_model_pretrained(name)} == with_files != set()
