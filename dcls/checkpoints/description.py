"""What a checkpoint says of its model: enough to build it again and to prepare its images, and nothing that acts."""

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dcls.errors import UserError

METADATA_KEY = "dcls_imagenet"
"""Under which a .safetensors file keeps its description, as JSON."""
_FETCHING = ("pretrained", "checkpoint_path", "cache_dir")
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")
_CROP_MODES = ("center", "squash", "border")
_MAX_SIDE = 8192
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a model, in timm's terms.

    Attributes:
        input_size: (channels, height, width).
        interpolation: How images are resized: bilinear, bicubic, ...
        mean, std: Of each channel, of values in [0, 1].
        crop_pct: Side of the center crop over the resized image's shorter side.
        crop_mode: center, squash or border.
        exif_orientation: Whether images are turned as their EXIF data says; timm does not.
        background: Red, green and blue behind transparent pixels, 0 to 255.
    """

    input_size: tuple[int, int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str = "center"
    exif_orientation: bool = False
    background: tuple[int, int, int] = (255, 255, 255)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Build from timm's dictionary, or from what JSON made of it.

        Raises:
            UserError: a key is missing, unknown or of the wrong type.
        """
        try:
            channels, height, width = values["input_size"]
            red, green, blue = values.get("background", cls.background)
            result = cls(
                **{
                    **values,
                    "input_size": (channels, height, width),
                    "mean": tuple(map(float, values["mean"])),
                    "std": tuple(map(float, values["std"])),
                    "crop_pct": float(values["crop_pct"]),
                    "background": (red, green, blue),
                }
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{type(error).__name__} {error}", key="preprocessing") from None
        result._check()
        return result

    def _check(self) -> None:
        channels = self.input_size[0]
        for name, is_right in (
            ("input_size", all(type(size) is int and 1 <= size <= _MAX_SIDE for size in self.input_size)),
            ("interpolation", self.interpolation in _INTERPOLATIONS),
            ("mean", len(self.mean) in (1, channels) and all(map(math.isfinite, self.mean))),
            ("std", len(self.std) in (1, channels) and all(0 < value < math.inf for value in self.std)),
            ("crop_pct", 0.1 <= self.crop_pct <= 1.5),
            ("crop_mode", self.crop_mode in _CROP_MODES),
            ("exif_orientation", isinstance(self.exif_orientation, bool)),
            ("background", all(type(value) is int and 0 <= value <= 255 for value in self.background)),
        ):
            if not is_right:
                raise UserError(f"got {reprlib.repr(getattr(self, name))}", key=f"preprocessing.{name}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class ModelDescription:
    """An architecture, its sizes and its images; kept beside saved weights.

    Attributes:
        name: The architecture, as timm knows it.
        num_classes: Number of outputs; None for the architecture's own.
        options: Further arguments of its constructor.
        preprocessing: None for the model's own.
        classes: Names of the outputs, in their order; None where nobody knows them.
    """

    name: str
    num_classes: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, values: Any) -> "ModelDescription":
        """Build from a file's own words, which may describe a model and not fetch anything.

        Raises:
            UserError: a value is missing or of the wrong type, or would fetch something.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"expected a mapping with name, num_classes and options, got {reprlib.repr(values)}")
        for key, kind in (("name", str), ("num_classes", int), ("options", Mapping)):
            if key not in values:
                raise UserError("is missing", key=key)
            if not isinstance(values[key], kind) or isinstance(values[key], bool):
                raise UserError(f"got {reprlib.repr(values[key])}", key=key)
        if not re.fullmatch(r"[\w.]+", values["name"]):  # others, such as hf-hub:..., name a place to fetch from
            raise UserError(f"{reprlib.repr(values['name'])} is not the name of an architecture", key="name")
        if not 1 <= values["num_classes"] <= 10**7:
            raise UserError(f"got {reprlib.repr(values['num_classes'])}", key="num_classes")
        if not is_plain(values["options"]):
            raise UserError("expected names with numbers, texts, lists and mappings of them", key="options")
        for option in values["options"]:
            if option.startswith(_FETCHING):
                raise UserError(f"{option} would fetch weights from elsewhere", key="options")
        preprocessing, classes = values.get("preprocessing"), values.get("classes")
        if classes is not None and not _are_names(classes, values["num_classes"]):
            raise UserError(
                f"expected the names of {values['num_classes']} outputs, got {reprlib.repr(classes)}", key="classes"
            )
        return cls(
            name=values["name"],
            num_classes=values["num_classes"],
            options=dict(values["options"]),
            preprocessing=Preprocessing.from_dict(preprocessing) if preprocessing else None,
            classes=None if classes is None else tuple(classes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them; preprocessing that is the model's own is left out."""
        known: dict[str, Any] = {"name": self.name, "num_classes": self.num_classes, "options": dict(self.options)}
        if self.preprocessing is not None:
            known["preprocessing"] = self.preprocessing.to_dict()
        if self.classes is not None:
            known["classes"] = list(self.classes)
        return known


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether JSON can hold a value: null, booleans, finite numbers, texts, and lists and mappings of them."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(inner, depth + 1) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(inner, depth + 1) for inner in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _are_names(classes: Any, count: int) -> bool:
    """Whether these are different names, one for each output."""
    is_list = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return is_list and len(set(classes)) == len(classes) == count
