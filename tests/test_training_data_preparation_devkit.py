import gzip
import tarfile

import numpy as np
import pytest
from official_archives import CLASSES, tar_of, write_devkit

from dcls.errors import UserError
from training.data.preparation.devkit import DEVKIT, validation_classes


def test_classes_are_those_of_the_ground_truth_by_number(tmp_path) -> None:
    write_devkit(tmp_path, np.array([2, 0, 0, 1]))
    assert validation_classes(tmp_path / DEVKIT) == [CLASSES[label] for label in (2, 0, 0, 1)]
    write_devkit(tmp_path, np.array([0]), CLASSES[:1])
    assert validation_classes(tmp_path / DEVKIT) == CLASSES[:1]


def test_a_kit_that_is_missing_or_damaged_is_named_in_one_line(tmp_path) -> None:
    kit = tmp_path / DEVKIT
    with pytest.raises(UserError, match=f"no {DEVKIT} in .*, which tells the classes of the validation images"):
        validation_classes(kit)
    write_devkit(tmp_path, np.array([0]))
    whole = kit.read_bytes()
    with tarfile.open(kit) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    meta, truth = (next(name for name in files if name.endswith(end)) for end in ("meta.mat", "truth.txt"))
    for damaged, message in (
        (whole[: len(whole) // 2], "cannot read"),
        (b"", "cannot read"),
        (gzip.compress(tar_of(files | {meta: b"x" * 500})), "cannot read"),
        (gzip.compress(tar_of(files | {truth: b"1\n9\n"})), "a class that it does not name, 9"),
        (gzip.compress(tar_of(files | {truth: b"tench\n"})), "invalid literal"),
        (gzip.compress(tar_of({meta: files[meta]})), "holds no data/ILSVRC2012_validation_ground_truth.txt"),
    ):
        kit.write_bytes(damaged)
        with pytest.raises(UserError, match=message) as error:
            validation_classes(kit)
        assert "\n" not in str(error.value) and str(error.value).endswith("download it again")
