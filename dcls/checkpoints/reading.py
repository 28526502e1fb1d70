"""Open checkpoint files without running anything that is in them."""

import argparse
import errno
import json
import pathlib
import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dcls.checkpoints.checksum import CHECKSUM_KEY, checksum
from dcls.checkpoints.description import METADATA_KEY, ModelDescription
from dcls.checkpoints.nesting import has_deep_tuples
from dcls.checkpoints.numpy_scalars import SAFE_GLOBALS
from dcls.errors import UserError

FORMAT = 1
"""Under the key "format" of this project's own .pt files."""
BETTER_WEIGHTS = "better_weights"
"""Under this key such a file names the key of the weights that had the higher accuracy, where it has two."""
# What files hold besides tensors and plain values: the options of the authors' training, and single numbers of NumPy.
# Nothing else is allowed.
_ALLOWED: list[Any] = [argparse.Namespace, (pathlib.PosixPath, "pathlib.PosixPath"), *SAFE_GLOBALS]
# Keys of the weights, in the order in which they are looked for.
_AVERAGED, _PLAIN = ("state_dict_ema", "model_ema"), ("state_dict", "model")
# What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = re.compile(r"^(?:_orig_mod\.)?(?:module\.)?(?:_orig_mod\.)?")
# What torch and safetensors raise for files that are damaged or something else; a RecursionError is a RuntimeError.
_UNREADABLE = (
    *(OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(AssertionError, MemoryError, SafetensorError, BadZipFile, zlib.error, struct.error),
)
_MAX_HEADER = 16 * 2**20
"""Bytes of a .safetensors file before its numbers; real ones have less than a thousandth of it a tensor."""


def read_weights(path: str | Path, *, use_ema: bool | None = None) -> dict[str, Tensor]:
    """Read the weights in a released file, a checkpoint of this project or timm's, or a plain state dict.

    Args:
        use_ema: Take the averaged weights where the file has them; by default, unless it says that they are the worse.

    Returns:
        Tensors under the names that they have in the file.

    Raises:
        UserError: see ``open_safely``, or the file holds no weights.
    """
    content = state = open_safely(path)
    if use_ema is None:
        use_ema = not _has_worse_average(content)
    keys = (_AVERAGED if use_ema else ()) + _PLAIN
    if isinstance(content, dict):
        state = next((content[key] for key in keys if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no weights: expected tensors by their names, or such under {', '.join(keys)}")
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise UserError(f"{path} holds no weights: {name!r:.40} is not the name of a tensor")
        _check_kind(tensor, name, path)
    return {_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}


def _check_kind(tensor: Tensor, name: str, path: str | Path) -> None:
    """Refuse what is no plain array of numbers, or says that it is larger than the file."""
    for kind, is_so in (
        ("has no values (device meta)", tensor.is_meta),
        ("is sparse", tensor.layout is not torch.strided),
        ("is quantized", tensor.is_quantized),
        ("is complex", tensor.is_complex()),
    ):
        if is_so:
            raise UserError(f"{path} holds no plain weights: {name} {kind}", "save it as a plain tensor of numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{path} is damaged: {name} of shape {tuple(tensor.shape)} has fewer numbers than it says")


def read_description(path: str | Path) -> ModelDescription | None:
    """Read what a file of this project says of its model, None for any other file.

    Raises:
        UserError: see ``open_safely``, or the description is not one, or would fetch something.
    """
    description = _safetensors_description(path) if Path(path).suffix == ".safetensors" else _own_description(path)
    if description is None:
        return None
    try:
        return ModelDescription.from_dict(description)
    except UserError as error:
        raise UserError(f"{path} describes its model in a way that is not accepted: {error}") from None


def has_worse_average(path: str | Path) -> bool:
    """Whether a checkpoint of this project says that its weights are better without averaging.

    Raises:
        UserError: see ``open_safely``.
    """
    return Path(path).suffix != ".safetensors" and _has_worse_average(open_safely(path, mmap=True))


def _has_worse_average(content: Any) -> bool:
    return isinstance(content, dict) and content.get(BETTER_WEIGHTS) == _PLAIN[0]


def open_safely(path: str | Path, *, mmap: bool = False) -> Any:
    """Read all that a .safetensors file or one of torch's holds.

    Args:
        mmap: Leave tensors in the file until they are used, where the format allows it.

    Raises:
        UserError: the file is missing, incomplete or no checkpoint, or asks for more than tensors, plain values and
            the options of a training.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", f"name a file in it, such as {path / 'best.pt'}")
    if not path.is_file():
        raise UserError(f"no checkpoint file {path}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if is_zipfile(path):
            _check_sizes(path)
            _check_sums(path, only="data.pkl" if mmap else "")
        _check_nesting(path)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zipfile(path))
    except UserError:
        raise
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        raise _unreadable(path, error) from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors, and compare them with the checksum that this project's files carry.

    Raises:
        UserError: a bit has changed, or the header is absurd.
    """
    metadata = _metadata(path)
    weights = safetensors.torch.load_file(path)
    if METADATA_KEY in metadata or CHECKSUM_KEY in metadata:
        # Files from before there were checksums hold the description alone.
        is_ours = not metadata.keys() - {METADATA_KEY, CHECKSUM_KEY}
        expected = metadata.get(CHECKSUM_KEY)
        if not is_ours or expected not in (None, checksum(weights, metadata.get(METADATA_KEY, ""))):
            raise UserError(
                f"{path} is damaged: it does not match its checksum", "take another one, or download it again"
            )
    return weights


def _metadata(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header has {length} bytes")
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _check_sizes(path: Path) -> None:
    """Refuse an archive that is larger inside than outside; torch never compresses.

    Raises:
        UserError: it is.
    """
    with ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > path.stat().st_size
    ):
        raise UserError(f"{path} is no checkpoint: it is a compressed archive", "unpack it first")


def _check_nesting(path: Path) -> None:
    """Refuse values that are nested deeper than Python can go through them.

    Raises:
        UserError: a tuple is.
        pickle.UnpicklingError: it is no pickle.
    """
    try:
        if is_zipfile(path):
            with ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                is_deep = any(has_deep_tuples(archive.open(name)) for name in names)
        else:
            with path.open("rb") as file:  # of torch before 1.6: four pickles, of which the last holds the values
                is_deep = any(has_deep_tuples(file) for _ in range(4))
    except (ValueError, LookupError) as error:
        raise pickle.UnpicklingError from error
    if is_deep:
        raise UserError(f"{path} is no checkpoint: its values are nested too deep")


def _check_sums(path: Path, only: str) -> None:
    """Compare the content of one of torch's files with its checksums, which torch itself never does.

    Args:
        only: The end of the names of the entries that matter.

    Raises:
        UserError: a bit has changed.
    """
    with ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(only):
                try:
                    with archive.open(name) as entry:
                        while entry.read(2**20):
                            pass
                except (BadZipFile, *_UNREADABLE) as error:
                    if _is_of_the_machine(error):
                        raise
                    raise UserError(
                        f"{path} is damaged: {name} does not match its checksum",
                        "take another one, or download it again",
                    ) from None


def _is_of_the_machine(error: Exception) -> bool:
    """Whether another attempt could read the same file; damaged ones lead to seeking invalid places (EINVAL)."""
    if isinstance(error, OSError):
        return error.errno not in (None, errno.EINVAL)
    return isinstance(error, MemoryError)


def _own_description(path: str | Path) -> Any:
    content = open_safely(path, mmap=True)
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    return content.get("description") if is_ours else None


def _safetensors_description(path: str | Path) -> Any:
    try:
        metadata = _metadata(Path(path))
    except _UNREADABLE as error:
        raise _unreadable(Path(path), error) from None
    try:
        return json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} describes its model in a way that is not accepted: {error}") from None


def _unreadable(path: Path, error: Exception) -> UserError:
    """Say what torch means, without its advice to trust the file; what the machine lacks is no fault of the file."""
    if isinstance(error, MemoryError):
        return UserError(f"there is not enough memory to read {path}, {path.stat().st_size / 2**20:.0f} MiB")
    if isinstance(error, OSError) and _is_of_the_machine(error):
        return UserError(f"cannot read {path}: {error.strerror}")
    code = re.search(r"(?:GLOBAL|globals:) ([\w.]*\w)", str(error))
    if code is not None:
        return UserError(
            f"{path} asks to run code when it is opened ({code.group(1)})", "it is refused, nothing of it was run"
        )
    problem = f"{path} is no checkpoint, or it is damaged"
    if not (isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error)):
        problem += f" ({(str(error).strip().splitlines() or [type(error).__name__])[0]})"
    return UserError(problem, "write or download it again")
