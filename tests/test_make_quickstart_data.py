import gzip
import tarfile

import numpy as np
from PIL import Image
from processes import run_script


def test_the_first_images_of_each_class_are_kept(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), dtype=np.uint8)
    labels = np.arange(1000, dtype=np.uint8) % 2
    for name in ("train", "t10k"):
        for kind, array, header in (("images-idx3", pixels, 16), ("labels-idx1", labels, 8)):
            with gzip.open(tmp_path / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(bytes(header) + array.tobytes())
    result = run_script("scripts/make_quickstart_data.py", tmp_path, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    for split, count in (("train", 400), ("val", 100)):
        with tarfile.open(tmp_path / "out" / f"{split}.tar") as archive:
            names = archive.getnames()
            assert len(names) == 2 * count and names[:2] == ["t-shirt/00000.png", "t-shirt/00002.png"]
            assert np.array_equal(np.asarray(Image.open(archive.extractfile("trouser/00003.png"))), pixels[3])
