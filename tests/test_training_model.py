import pytest
import timm
import torch

import dcls
from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from models.loading import load_model
from training.checkpoints.checkpoint import save_weights
from training.config import DataConfig, DclsConfig, ModelConfig
from training.model import choose_preprocessing, describe_model, make_model
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
PREPROCESSING = Preprocessing((3, 32, 32), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)


def test_preprocessing_is_the_models_unless_configured() -> None:
    model = timm.create_model("convnext_atto")
    assert choose_preprocessing(DataConfig(dir="x"), model).crop_pct == 0.875
    chosen = choose_preprocessing(DataConfig(dir="x", image_size=64, crop_pct=1.0, mean=[0.1, 0.2, 0.3]), model)
    assert chosen.input_size == (3, 64, 64) and chosen.crop_pct == 1.0 and chosen.mean == (0.1, 0.2, 0.3)


def test_configured_values_win_over_those_stored_with_the_weights() -> None:
    model = timm.create_model("convnext_atto")
    stored = Preprocessing((3, 96, 96), "bilinear", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9, crop_mode="squash")
    assert choose_preprocessing(DataConfig(dir="x"), model, stored) == stored
    chosen = choose_preprocessing(DataConfig(dir="x", resize_interpolation="bicubic", image_size=64), model, stored)
    assert chosen == Preprocessing((3, 64, 64), "bicubic", (0.5,) * 3, (0.2,) * 3, 0.9, "squash")


NETWORK = "mobilenetv2_035"
CONVERSION = DclsConfig(dilated_kernel_size=7, kernel_count=9, interpolation="bilinear", match=3)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A dense network and the file with its weights."""
    torch.manual_seed(0)
    model = timm.create_model(NETWORK, num_classes=4).eval()
    path = tmp_path_factory.mktemp("dense") / "dense.pth"
    torch.save(model.state_dict(), path)
    return model, path


def test_trained_dense_weights_become_dcls_kernels_that_compute_the_same(dense) -> None:
    trained, path = dense
    said = []
    config = ModelConfig(name=NETWORK, drop_path_rate=None, initial_checkpoint=str(path), dcls=CONVERSION)
    model = make_model(config, 4, said.append).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(x), trained(x), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(module, dcls.Dcls2d) for module in model.modules()) == 17
    (report,) = said
    assert report.startswith("model.dcls: 17 convolutions replaced") and "blocks.0.0.conv_dw" in report


def test_another_head_starts_anew_before_the_conversion(dense) -> None:
    trained, path = dense
    said = []
    config = ModelConfig(name=NETWORK, drop_path_rate=None, initial_checkpoint=str(path), dcls=CONVERSION)
    model = make_model(config, 7, said.append).eval()
    assert "has 4 classes, this model 7: its head starts from random weights" in said[0] and "replaced" in said[1]
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.forward_features(x), trained.forward_features(x), rtol=1e-4, atol=1e-5)


def test_a_converted_network_is_described_loaded_and_started_from_again(dense, tmp_path) -> None:
    config = ModelConfig(name=NETWORK, drop_path_rate=None, initial_checkpoint=str(dense[1]), dcls=CONVERSION)
    model = make_model(config, 4, lambda note: None).eval()
    with torch.no_grad():
        model.blocks[0][0].conv_dw.positions += 0.25
    path = tmp_path / "converted.safetensors"
    save_weights(path, model, describe_model(config, 4, None))
    loaded, description = load_model(path)
    again = make_model(config.model_copy(update={"initial_checkpoint": str(path)}), 4, lambda note: None).eval()
    x = torch.randn(2, 3, 64, 64)
    assert description.options["dcls"]["kernel_count"] == 9
    assert torch.equal(loaded(x), model(x)) and torch.equal(again(x), model(x))


def test_without_trained_weights_the_new_layers_are_drawn() -> None:
    said = []
    make_model(ModelConfig(name=NETWORK, drop_path_rate=None, dcls=CONVERSION), 4, said.append)
    assert "how far" not in said[0]


def test_what_cannot_be_converted_is_blamed_on_its_key() -> None:
    config = ModelConfig(name=NETWORK, dcls=DclsConfig(dilated_kernel_size=7, kernel_count=9))
    with pytest.raises(UserError, match="^model.dcls.match: no convolution matches 7; EfficientNet has") as error:
        make_model(config, 4)
    assert error.value.on_every_rank
