#!/usr/bin/env python3
"""A converted network in other people's tools: does it compute there what it computes by itself?

    python -m parity.other_tools [--only PATTERN]

A small ConvNeXt with DCLS kernels of 11x11, whose positions are shared by stage, goes through each tool twice: as it is
trained, and folded into plain convolutions. A number is the largest difference from the network's own outputs, relative
to the largest of them; int8 is coarser. Tools that are not installed say so.
"""

import argparse
import contextlib
import copy
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import dcls
from training.run_folder import describe_environment

SIZE = 64
Tool = Callable[[nn.Module, Tensor], Tensor | tuple[Tensor, Tensor]]
"""Returns outputs, and where they are not to be the model's, what they are to be."""


def network() -> nn.Module:
    """Return the converted network."""
    torch.manual_seed(0)
    model = timm.create_model("convnext_atto", depths=(1, 1, 2, 1), dims=(8, 16, 32, 64), num_classes=10).eval()
    dcls.convert(model, dilated_kernel_size=11, kernel_count=9)
    return model


def _example(images: Tensor) -> Tensor:
    """Return other images than those that a program is run on, to build it with."""
    return images.flip(0).cos()


def traced(model: nn.Module, images: Tensor) -> Tensor:
    """Run what ``torch.jit.trace`` makes."""
    return torch.jit.trace(model, _example(images))(images)


def symbolically_traced(model: nn.Module, images: Tensor) -> Tensor:
    """Run what ``torch.fx`` makes."""
    return torch.fx.symbolic_trace(model)(images)


def exported(model: nn.Module, images: Tensor) -> Tensor:
    """Run what ``torch.export`` makes."""
    return torch.export.export(model, (_example(images),)).module()(images)


def compiled(model: nn.Module, images: Tensor) -> Tensor:
    """Run what ``torch.compile`` makes, as one graph."""
    return torch.compile(model, fullgraph=True)(images)


def compiled_ahead(model: nn.Module, images: Tensor) -> Tensor:
    """Run a library that AOTInductor makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = torch._inductor.aoti_compile_and_package(
            torch.export.export(model, (_example(images),)), package_path=f"{folder}/model.pt2"
        )
        return torch._inductor.aoti_load_package(path)(images)


def onnx(
    model: nn.Module, images: Tensor, *, dynamo: bool, change: Callable[[Path], None] = lambda path: None
) -> Tensor:
    """Run an ONNX file in ONNX Runtime, changed in place or not."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        torch.onnx.export(model, (_example(images),), path, dynamo=dynamo)
        change(path)
        session = onnxruntime.InferenceSession(path)
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


def onnx_int8(model: nn.Module, images: Tensor) -> Tensor:
    """Run an ONNX file whose weights ONNX Runtime has quantized."""
    from onnxruntime.quantization import quantize_dynamic

    def quantize(path: Path) -> None:
        quantize_dynamic(path, path, op_types_to_quantize=["MatMul", "Gemm"])

    return onnx(model, images, dynamo=False, change=quantize)


def openvino(model: nn.Module, images: Tensor) -> Tensor:
    """Run what OpenVINO makes of the module, in float32."""
    import openvino

    converted = openvino.convert_model(model, example_input=_example(images))
    program = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(next(iter(program({0: images.numpy()}).values())))


def core_ml(model: nn.Module, images: Tensor) -> Tensor:
    """Convert for Core ML, whose programs run on macOS only."""
    import coremltools

    program = coremltools.convert(torch.jit.trace(model, images), inputs=[coremltools.TensorType(shape=images.shape)])
    operations = [operation.op_type for operation in program._mil_program.functions["main"].operations]
    assert not {"exp", "scatter"} & set(operations), "kernels are constructed on the device"
    raise _ResultError(f"converts, {operations.count('conv')} convolutions with finished kernels")


def torchao_int8(model: nn.Module, images: Tensor) -> Tensor:
    """Run with int8 weights in the linear layers."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = copy.deepcopy(model)
    quantize_(model, Int8WeightOnlyConfig())
    return model(images)


def fabric(model: nn.Module, images: Tensor) -> Tensor:
    """Run inside Lightning Fabric."""
    from lightning.fabric import Fabric

    return Fabric(accelerator="cpu", devices=1).setup(copy.deepcopy(model))(images)


def lightning(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Train for two steps and load the trainer's checkpoint."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(model)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(dcls.param_groups(self.net, weight_decay=0.05, lr=1e-3), lr=1e-3)

    with tempfile.TemporaryDirectory() as folder:
        module, loader = Module(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), 2)
        trainer = lightning.Trainer(
            max_steps=2, accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(module, loader)
        trainer.save_checkpoint(f"{folder}/last.ckpt")
        weights = torch.load(f"{folder}/last.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("net."): weight for name, weight in weights.items()})
    return module.net.eval()(images), model(images)


def offloaded(model: nn.Module, images: Tensor, *, to_disk: bool) -> Tensor:
    """Run with accelerate's offloading."""
    import accelerate

    model = copy.deepcopy(model)
    with tempfile.TemporaryDirectory() as folder:
        if to_disk:
            accelerate.disk_offload(model, folder, torch.device("cpu"))
        else:
            accelerate.cpu_offload(model, torch.device("cpu"))
        return model(images)


def averaged(model: nn.Module, images: Tensor) -> Tensor:
    """Run the average of one model, as stochastic weight averaging keeps it."""
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    return average(images)


def spectral_norm(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run with weights that torch's spectral norm has scaled, against the same values as plain weights."""
    return _parametrized(model, images, parametrizations.spectral_norm)


def weight_norm(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run with weights that torch's weight norm has split, against the same values as plain weights."""
    return _parametrized(model, images, parametrizations.weight_norm)


def _parametrized(
    model: nn.Module, images: Tensor, parametrize: Callable[[nn.Module], nn.Module]
) -> tuple[Tensor, Tensor]:
    """Parametrize the depthwise layers; the original gets the values as plain weights."""
    other = copy.deepcopy(model)
    for name, layer in _depthwise_layers(other):
        parametrize(layer)
        with torch.no_grad():
            model.get_parameter(f"{name}.weight").copy_(layer.eval().weight)
    return other(images), model(images)


def pruned(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run with half of the elements' weights pruned, against the same weights set to zero."""
    other = copy.deepcopy(model)
    for name, layer in _depthwise_layers(other):
        prune.l1_unstructured(layer, "weight", 0.5)
        with torch.no_grad():
            model.get_parameter(f"{name}.weight").mul_(layer.weight_mask)
    return other(images), model(images)


def _depthwise_layers(model: nn.Module) -> list[tuple[str, Any]]:
    return [(name, layer) for name, layer in model.named_modules() if name.endswith("conv_dw")]


def features(model: nn.Module, images: Tensor) -> Tensor:
    """Run what torchvision's ``create_feature_extractor`` makes, as far as the head."""
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(model, {"head": "logits"})(images)["logits"]


def folded_by_timm(model: nn.Module, images: Tensor) -> Tensor:
    """Run what timm's ``reparameterize_model`` makes."""
    return reparameterize_model(model)(images)


def timm_wrapper(model: nn.Module, images: Tensor) -> Tensor:
    """Run inside Hugging Face's wrapper of timm models."""
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    config = TimmWrapperConfig(architecture="convnext_atto", num_labels=10)
    wrapper = TimmWrapperForImageClassification(config).eval()
    wrapper.timm_model = model
    logits: Tensor = wrapper(images).logits
    return logits


# tool -> its package, what it does
TOOLS: dict[str, tuple[str, Tool]] = {
    "torch.jit.trace": ("torch", traced),
    "torch.fx": ("torch", symbolically_traced),
    "torch.export": ("torch", exported),
    "torch.compile, one graph": ("torch", compiled),
    "AOTInductor": ("torch", compiled_ahead),
    "weight averaging (SWA)": ("torch", averaged),
    "spectral norm": ("torch", spectral_norm),
    "weight norm": ("torch", weight_norm),
    "pruning": ("torch", pruned),
    "ONNX": ("onnxruntime", lambda model, images: onnx(model, images, dynamo=True)),
    "ONNX, legacy exporter": ("onnxruntime", lambda model, images: onnx(model, images, dynamo=False)),
    "ONNX, int8": ("onnxruntime", onnx_int8),
    "OpenVINO": ("openvino", openvino),
    "Core ML": ("coremltools", core_ml),
    "torchao, int8 weights": ("torchao", torchao_int8),
    "torchvision's feature extractor": ("torchvision", features),
    "timm's reparameterize_model": ("timm", folded_by_timm),
    "Lightning": ("lightning", lightning),
    "Lightning Fabric": ("lightning", fabric),
    "accelerate, offloaded to memory": ("accelerate", lambda model, images: offloaded(model, images, to_disk=False)),
    "accelerate, offloaded to disk": ("accelerate", lambda model, images: offloaded(model, images, to_disk=True)),
    "transformers' TimmWrapper": ("transformers", timm_wrapper),
}


class _ResultError(Exception):
    """What came out where there are no outputs to compare."""


def outcome(tool: Tool, model: nn.Module, images: Tensor) -> str:
    """Return the difference between a model's outputs inside a tool and its own, or what the tool says."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            with torch.no_grad():
                expected = model(images)
            result = tool(model, images)
        except _ResultError as other:
            return str(other)
        except Exception as error:  # a row of the table, whatever it is
            return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    result, expected = result if isinstance(result, tuple) else (result, expected)
    return f"{((result - expected).abs().max() / expected.abs().max()).item():.1e}"


def rows(pattern: str = "*") -> Iterator[list[str]]:
    """Yield the table row by row."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for name, (package, tool) in TOOLS.items():
        if fnmatch(name, pattern):
            torch.compiler.reset()
            try:
                installed = version(package)
            except PackageNotFoundError:
                yield [name, package, "not installed", "not installed"]
                continue
            outcomes = [outcome(tool, model, images) for model in (network(), dcls.reparameterize(network()))]
            yield [name, f"{package} {installed}", *outcomes]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="tools whose name matches, such as 'ONNX*'")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # about tools that are deprecated
    print(f"{describe_environment()}\n")
    print("| tool | version | as it is trained | folded |\n|---|---|---|---|")
    for cells in rows(arguments.only):
        print("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
