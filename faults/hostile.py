"""Checkpoint files that were made to do harm: to run code, or to take memory without end."""

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import torch

from dcls.checkpoints.reading import read_description, read_weights
from dcls.errors import UserError
from faults.campaign import Tally

_MOST_MB = 512
_TOUCHED = "harmed"


def hostile_files(folder: Path, trials: int) -> Tally:
    """Open hostile files: each ends in one line, with bounded memory, and nothing of it is run."""
    tally = Tally(f"hostile checkpoint files, at most {_MOST_MB} MB of memory")
    makers = list(_MAKERS.items())
    for trial in range(trials):
        name, make = makers[trial % len(makers)]
        path = folder / f"{trial}{name}"
        make(path, 10 ** (4 + trial // len(makers)))
        for read in (read_weights, read_description):
            problem = _problem(read, path)
            tally.count(problem and f"{name}: {problem}")
        path.unlink()
    return tally


def _problem(read: Callable[[Path], object], path: Path) -> str | None:
    """Read in a fork with an address space that is hardly larger than it is now."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.chdir(path.parent)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(_outcome(read, path))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        return f"{read.__name__} ends its process with status {status}"
    if (path.parent / _TOUCHED).exists():
        return f"{read.__name__} runs its code"
    return said or None


def _outcome(read: Callable[[Path], object], path: Path) -> str:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MOST_MB * 2**20, -1))
    try:
        read(path)
    except UserError as error:
        return f"more than one line: {error}" if "\n" in str(error) else ""
    except BaseException as error:
        return f"{read.__name__}: {type(error).__name__}: {error}"[:300]
    return "" if read is read_description else f"{read.__name__} accepts it"


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {_TOUCHED}",)


def _code(path: Path, size: int) -> None:
    torch.save({"state_dict": {}, "args": [_RunsCode()] * min(size, 10)}, path)


def _old_code(path: Path, size: int) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {}, "args": [_RunsCode()] * min(size, 10)}))


def _zip_bomb(path: Path, size: int) -> None:
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}q\x00.")
        with archive.open("bomb/data/0", "w") as entry:
            for _ in range(min(size // 10**3, 2000)):
                entry.write(bytes(10**6))


def _deep_lists(path: Path, size: int) -> None:
    path.write_bytes(b"\x80\x02" + b"]" * size + b"a" * (size - 1) + b".")


def _deep_tuples(path: Path, size: int) -> None:
    path.write_bytes(b"\x80\x02)" + b"\x85" * size + b".")


def _huge_string(path: Path, size: int) -> None:
    path.write_bytes(b"\x80\x04\x8d" + (size**2).to_bytes(8, "little") + b"x.")


def _huge_header(path: Path, size: int) -> None:
    path.write_bytes((2**62 // size).to_bytes(8, "little") + b"{}" * 100)


def _deep_header(path: Path, size: int) -> None:
    header = b'{"a":' + b"[" * size + b"]" * size + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def _huge_tensor(path: Path, size: int) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [size, size, size], "data_offsets": [0, 4 * size**3]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(100))


def _wide_view(path: Path, size: int) -> None:
    torch.save({"state_dict": {"a": torch.ones(1).expand(size, size)}}, path)


def _overlapping_entries(path: Path, size: int) -> None:
    """Write many names of one entry, so that the inside is larger than the file."""
    with ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("bomb/data/0", bytes(size))
        entry = archive.filelist[-1]
        archive.filelist += [entry] * 1000


_MAKERS: dict[str, Callable[[Path, int], None]] = {
    "-runs-code.pt": _code,
    "-runs-code-old.pth": _old_code,
    "-zip-bomb.pt": _zip_bomb,
    "-overlapping.pt": _overlapping_entries,
    "-deep-lists.pt": _deep_lists,
    "-deep-tuples.pt": _deep_tuples,
    "-huge-string.pt": _huge_string,
    "-wide-view.pt": _wide_view,
    "-huge-header.safetensors": _huge_header,
    "-deep-header.safetensors": _deep_header,
    "-huge-tensor.safetensors": _huge_tensor,
}
