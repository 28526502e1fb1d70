"""All models with DCLS layers in one table: size, released file and what is reported for it."""

import timm
import torch
from timm.data import resolve_model_data_config

import dcls
from evaluation.markdown import markdown_table
from models import NAMES
from models.released.releases import release_of
from training.flops import count_multiply_adds, count_parameters


def models_table() -> str:
    """Return the table, one line for each model."""
    return markdown_table([describe(name) for name in NAMES if "_dcls_" in name])


def describe(name: str) -> dict[str, str]:
    """One line of the table; multiply-adds are those of the input that the model is made for."""
    with torch.device("meta"):
        model = timm.create_model(name)
    input_size = resolve_model_data_config(model)["input_size"]
    layer = next(module for module in model.modules() if isinstance(module, dcls.DclsNd))
    release = release_of(name)
    return {
        "name": f"`{name}`",
        "kernel / elements": f"{'x'.join(map(str, layer.dilated_kernel_size))} / {layer.kernel_count}",
        "interpolation": layer.interpolation,
        "parameters": f"{count_parameters(model):,}",
        "multiply-adds": f"{count_multiply_adds(model, input_size) / 1e9:.2f} G",
        "released file": f"[{release.file}](https://zenodo.org/records/{release.record})" if release else "-",
        "reported": release.reported if release else "-",
        "source": release.source if release else "-",
    }
