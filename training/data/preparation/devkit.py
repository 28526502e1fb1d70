"""ImageNet's development kit: of which class each validation image is."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from dcls.errors import UserError
from training.data.image_files import printable

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_META = "data/meta.mat"
_GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"


def validation_classes(devkit: Path) -> list[str]:
    """Return the WordNet ID (n01440764) of every validation image, in the order of their numbers.

    Raises:
        UserError: the kit is missing, damaged, or contradicts itself.
    """
    if not devkit.is_file():
        raise UserError(
            f"no {DEVKIT} in {printable(devkit.parent)}, which tells the classes of the validation images",
            "download it from where the images are from",
        )
    try:
        with tarfile.open(devkit) as archive:
            meta, ground_truth = (_read(archive, devkit, name) for name in (_META, _GROUND_TRUTH))
        file: Any = io.BytesIO(meta)  # which loadmat takes, too
        synsets = np.atleast_1d(loadmat(file, squeeze_me=True)["synsets"])
        names = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
        return [names[int(line)] for line in ground_truth.split()]
    except Exception as error:  # of three formats, each of whose readers raises what it likes
        if isinstance(error, (MemoryError, UserError)):
            raise
        kind = "a class that it does not name, " if isinstance(error, KeyError) else ""
        raise UserError(
            f"cannot read {printable(devkit)}: {kind}{printable(str(error))}", "download it again"
        ) from None


def _read(archive: tarfile.TarFile, devkit: Path, ending: str) -> bytes:
    for member in archive:
        if member.isfile() and member.name.endswith(f"/{ending}"):
            content = archive.extractfile(member)
            assert content is not None
            return content.read()
    raise UserError(f"{printable(devkit)} holds no {ending}", "download it again")
