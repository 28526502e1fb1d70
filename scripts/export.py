#!/usr/bin/env python3
"""Take a trained model into other tools: a Hugging Face Hub folder, ONNX, a torch.export program.

    scripts/export.py output/quickstart/best.pt --hub hub/quickstart --onnx quickstart.onnx --program quickstart.pt2

The Hub folder holds the model as it is; after ``import dcls.models``, it is loaded by
``timm.create_model("local-dir:hub/quickstart", pretrained=True)``. ONNX and program hold it folded, with plain
convolutions, for any batch size; ONNX needs onnx and onnxscript.
"""

import argparse
from pathlib import Path

import _checkout  # noqa: F401
import torch
from timm.models import save_for_hf
from torch import nn

import dcls
from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from models.loading import load_model, own_preprocessing
from models.released.releases import release_of
from training.cli import cli_errors
from training.extras import require_package
from training.flops import count_multiply_adds, count_parameters

CITATION = """@article{hassani2023beyond,
  title   = {Dilated Convolution with Learnable Spacings: beyond bilinear interpolation},
  author  = {Khalfaoui-Hassani, Ismail and Pellegrini, Thomas and Masquelier, Timothée},
  journal = {arXiv:2306.00817},
  year    = {2023}
}"""


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="of this project (.pt or .safetensors) or a released one")
    parser.add_argument("--hub", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--license", default="unknown", help="of the weights, for the Hub: apache-2.0, ... [%(default)s]"
    )
    parser.add_argument("--onnx", type=Path, metavar="FILE.onnx")
    parser.add_argument("--program", type=Path, metavar="FILE.pt2")
    options = parser.parse_args()
    if not (options.hub or options.onnx or options.program):
        parser.error("give --hub, --onnx or --program")
    with cli_errors():
        if options.onnx:
            require_package("onnxscript", "export", "--onnx")
        for path in filter(None, (options.onnx, options.program)):
            path.parent.mkdir(parents=True, exist_ok=True)
        model, description = load_model(options.checkpoint)
        preprocessing = description.preprocessing or own_preprocessing(model)
        if options.hub and description.options.get("dcls"):
            problem = f"timm builds {description.name} without the DCLS layers of this converted network"
            raise UserError(problem, "take --onnx or --program", key="--hub")
        if options.hub:
            export_hub(model, description, preprocessing, options.hub, options.license)
        images = torch.zeros(2, *preprocessing.input_size)
        folded = dcls.reparameterize(model, images) if dcls.position_owners(model) else model
        if options.program:
            torch.export.save(program_of(folded, images), options.program)
        if options.onnx:
            torch.onnx.export(program_of(folded, images), (), options.onnx, dynamo=True)
        for path in (options.hub, options.program, options.onnx):
            if path:
                print(path)


def program_of(model: nn.Module, images: torch.Tensor) -> torch.export.ExportedProgram:
    """Export the model for any batch of images of this size."""
    return torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def export_hub(
    model: nn.Module, description: ModelDescription, preprocessing: Preprocessing, folder: Path, license_name: str
) -> None:
    """Write config.json, model.safetensors and README.md."""
    options = {key: value for key, value in description.options.items() if value is not None}
    data_config = preprocessing.to_dict()
    for key in ("exif_orientation", "background"):  # timm does not know them
        del data_config[key]
    save_for_hf(model, str(folder), model_args=options, data_config=data_config, safe_serialization=True)
    card = model_card(model, description, preprocessing.input_size, folder.name, license_name)
    (folder / "README.md").write_text(card, encoding="utf-8")


def model_card(
    model: nn.Module, description: ModelDescription, input_size: tuple[int, int, int], title: str, license_name: str
) -> str:
    """Return what the Hub shows: what it is, its numbers, how it is used, license and citation."""
    release = release_of(description.name)
    size = "x".join(map(str, input_size[1:]))
    lines = [
        "---", "library_name: timm", "pipeline_tag: image-classification", f"license: {license_name}",
        "tags: [dcls, timm]",
        "---", f"# {title}", "",
        f"`{description.name}`, a model with dilated convolutions with learnable spacings (arXiv:2306.00817).", "",
        f"- Parameters: {count_parameters(model):,}",
        f"- Multiply-adds: {count_multiply_adds(model, input_size) / 1e9:.3g} G at {size} pixels",
        f"- Classes: {description.num_classes}",
    ]  # fmt: skip
    if release is not None:
        lines.append(
            f"- Reported for the authors' own weights of this architecture: {release.reported} ({release.source})"
        )
    folder = f'"local-dir:PATH/TO/{title}"'
    lines += [
        "",
        "With `dcls-imagenet[models]` installed:",
        "",
        "```python",
        "import dcls.models, timm",
    ]
    lines += [f"net = timm.create_model({folder}, pretrained=True)", "```", ""]
    return "\n".join([*lines, "```bibtex", CITATION, "```", ""])


if __name__ == "__main__":
    main()
