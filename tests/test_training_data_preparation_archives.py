import numpy as np
import pytest
from official_archives import CLASSES, jpeg, tar_of, write_archives, write_devkit

from dcls.errors import UserError
from training.data.preparation.archives import ARCHIVES, find_images, list_members


def contents(images) -> dict[str, bytes]:
    names = [name.decode() for name in images.names.tolist()]
    return {names[index]: content for index, content in images.read(range(len(images)))}


def test_every_image_is_found_with_its_class_in_the_order_of_a_folder(tmp_path) -> None:
    write_archives(tmp_path, train=5, val=2)
    train = find_images(tmp_path, "train", workers=2)
    assert train.classes == CLASSES and train.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    # 10 comes after 9: numbers count by their values.
    assert [name.decode() for name in train.names[:5]] == [f"n01440764_{number}.JPEG" for number in (7, 8, 9, 10, 11)]
    assert contents(train)["n01443537_8.JPEG"] == jpeg(101, band=1)
    val = find_images(tmp_path, "val", workers=1)
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 2))
    for index, label in enumerate(labels.tolist()):
        name = f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        assert val.labels[val.names.tolist().index(name.encode())] == label
        assert contents(val)[name] == jpeg(1000 + index, band=label)


def test_images_that_lie_in_a_folder_of_the_archive_are_found(tmp_path) -> None:
    write_devkit(tmp_path, np.array([1, 0]))
    names = ["./val/ILSVRC2012_val_00000002.JPEG", "./val/ILSVRC2012_val_00000001.JPEG"]
    (tmp_path / ARCHIVES["val"]).write_bytes(tar_of({name: jpeg(0) for name in names}))
    val = find_images(tmp_path, "val", workers=1)
    assert val.classes == CLASSES[:2]
    assert val.names.tolist() == [b"ILSVRC2012_val_00000002.JPEG", b"ILSVRC2012_val_00000001.JPEG"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_archive_that_ends_early_is_refused_wherever_it_ends(tmp_path, split) -> None:
    path = write_archives(tmp_path, train=2, val=1) / ARCHIVES[split]
    whole = path.read_bytes()
    last = max(int(offset + size) for offset, size in zip(*places(tmp_path, split), strict=True))
    for end in (*range(0, last, 512), last - 1, last - 100):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=f"{path.name} .*; download it again") as error:
            find_images(tmp_path, split, workers=1)
        assert "\n" not in str(error.value)


def places(folder, split):
    images = find_images(folder, split, workers=1)
    return images.offsets, images.sizes


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, split) -> None:
    path = write_archives(tmp_path, train=3, val=2) / ARCHIVES[split]
    whole = path.read_bytes()
    headers = [int(offset) - 512 for offset in places(tmp_path, split)[0]]
    for header in headers:
        damaged = bytearray(whole)
        damaged[header + 100] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{path.name} is damaged"):
            find_images(tmp_path, split, workers=1)


def test_what_is_no_official_archive_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no ILSVRC2012_img_train.tar in .*; download it, or give --split val"):
        find_images(tmp_path, "train", workers=1)
    train, val = (tmp_path / ARCHIVES[split] for split in ("train", "val"))
    train.write_bytes(tar_of({"n01440764/1.JPEG": jpeg(0)}))
    with pytest.raises(UserError, match=r"holds n01440764/1.JPEG, and ImageNet's holds archives of one class each"):
        find_images(tmp_path, "train", workers=1)
    one = tar_of({"n01440764_1.JPEG": jpeg(0), "readme.txt": b"x"})
    train.write_bytes(tar_of({"n01440764.tar": one}))
    with pytest.raises(UserError, match="holds readme.txt, no image"):
        find_images(tmp_path, "train", workers=1)
    one = tar_of({"n01440764_1.JPEG": jpeg(0)})
    train.write_bytes(tar_of({"n01440764.tar": one, "again/n01440764.tar": one}))
    with pytest.raises(UserError, match="holds the class n01440764 twice"):
        find_images(tmp_path, "train", workers=1)
    write_devkit(tmp_path, np.array([0, 1]))
    for names, message in (
        (["ILSVRC2012_val_00000001.JPEG"], "holds 1 images, and ILSVRC2012_devkit_t12.tar.gz tells the classes of 2"),
        (["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000003.JPEG"], "00000003.JPEG, which is none of the images 1 to 2"),
        (["a.JPEG", "ILSVRC2012_val_00000002.JPEG"], "holds a.JPEG, which is none of the images"),
        (["a/ILSVRC2012_val_00000001.JPEG", "b/ILSVRC2012_val_00000001.JPEG"], "holds ILSVRC2012_val_00000001.JPEG 2 times"),
    ):  # fmt: skip
        val.write_bytes(tar_of({name: jpeg(0) for name in names}))
        with pytest.raises(UserError, match=message):
            find_images(tmp_path, "val", workers=1)


def test_an_empty_file_is_no_archive(tmp_path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a.tar is damaged: empty file"):
        list_members(path)
