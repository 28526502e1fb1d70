"""Released files from Zenodo: resumed where a download was cut off, checked, with a progress bar."""

import hashlib
import json
import os
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from tqdm import tqdm

from dcls.errors import UserError

from .releases import Release

ZENODO = "https://zenodo.org"
_CHUNK = 1 << 20
_SECONDS = 60


def fetch(release: Release, folder: str | Path | None = None) -> Path:
    """Return the local copy of a released file; where it is missing, one of several processes downloads it.

    Args:
        folder: Where it is kept, by default where torch.hub and timm keep checkpoints.

    Raises:
        UserError: there is no connection, or what arrived is not what the record names.
    """
    target = Path(folder or Path(torch.hub.get_dir()) / "checkpoints") / release.file
    if target.is_file():
        return target
    part = target.with_name(f"{release.file}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{release.file}.lock")):
            if not target.is_file():
                size, md5 = _facts(release)
                _download(release, part, size)
                _accept(part, target, size, md5, release)
    except (URLError, HTTPException, OSError, LookupError, json.JSONDecodeError) as error:
        raise UserError(
            f"cannot download {release.url}: {error}",
            f"what arrived is kept and the next try continues, or put the file at {target} yourself",
        ) from None
    return target


def _accept(part: Path, target: Path, size: int, md5: str, release: Release) -> None:
    """Give a complete download its name."""
    if part.stat().st_size != size or _md5(part) != md5:
        part.unlink()
        raise UserError(f"{release.url} arrived damaged (not the size and MD5 that its record names)", "try again")
    os.replace(part, target)


def _facts(release: Release) -> tuple[int, str]:
    """Size and MD5 of the file, as its record names them."""
    with urlopen(f"{ZENODO}/api/records/{release.record}", timeout=_SECONDS) as answer:
        files: dict[str, Any] = {file["key"]: file for file in json.load(answer)["files"]}
    found = files[release.file]
    return int(found["size"]), str(found["checksum"]).removeprefix("md5:")


def _download(release: Release, part: Path, size: int) -> None:
    """Append what is missing."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    url = f"{ZENODO}/records/{release.record}/files/{release.file}"
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=_SECONDS) as answer:
        resumes = answer.status == 206
        bar = tqdm(total=size, initial=have if resumes else 0, unit="B", unit_scale=True, desc=release.file)
        with part.open("ab" if resumes else "wb") as file, bar:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if part.stat().st_size < size:
        raise OSError(f"the connection ended after {part.stat().st_size} of {size} bytes")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
