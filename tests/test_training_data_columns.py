import io
import tarfile
from types import SimpleNamespace

import pytest

from dcls.errors import UserError
from training.config import DataConfig
from training.data.columns import check_columns, column_arguments


def test_readers_are_told_the_columns_that_are_configured_or_usual() -> None:
    assert column_arguments(DataConfig(dir="x")) == {}
    usual = column_arguments(DataConfig(dir="x", dataset="hfds/y"))
    assert usual == {"input_key": "image", "target_key": "label"}
    chosen = DataConfig(dir="x", dataset="hfds/y", image_column="img", label_column="fine")
    assert column_arguments(chosen) == {"input_key": "img", "target_key": "fine"}
    assert column_arguments(DataConfig(dir="x", dataset="wds/y"))["input_key"].startswith("jpg;jpeg;png")


def test_a_column_that_a_table_lacks_is_named_with_those_there_are() -> None:
    rows = pytest.importorskip("datasets").Dataset.from_dict({"img": ["a", "b"], "label": [0, 1]})
    table = SimpleNamespace(reader=SimpleNamespace(dataset=rows))
    check_columns(DataConfig(dir="x", dataset="hfds/y", image_column="img"), "train", table)
    with pytest.raises(
        UserError, match="data.image_column: the data set has no column 'image'; choose from img, label"
    ):
        check_columns(DataConfig(dir="x", dataset="hfds/y"), "train", table)
    with pytest.raises(UserError, match="data.label_column: the data set has no column 'fine'; choose from img, label"):
        check_columns(DataConfig(dir="x", dataset="hfds/y", image_column="img", label_column="fine"), "train", table)


@pytest.mark.parametrize(
    "files, options, missing",
    [
        (["a.png", "a.cls"], {}, None),
        (["a.heic", "a.cls", "b.png"], {}, "data.image_column: the data set has no column 'jpg'; choose from heic, cls"),
        (["a.png", "a.txt", "b.cls"], {}, "data.label_column: the data set has no column 'cls'; choose from png, txt"),
        (["a.png", "a.json"], {"label_column": "fine"}, "data.label_column: the data set has no column 'fine'; choose from label"),
    ],
)  # fmt: skip
def test_the_first_sample_of_a_shard_must_have_the_columns(tmp_path, files, options, missing) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name in files:
            entry = tarfile.TarInfo(name)
            content = b'{"label": 1}'
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    info = SimpleNamespace(filenames=["0.tar"], alt_label="")
    shards = SimpleNamespace(reader=SimpleNamespace(root=str(tmp_path), split_info=info))
    config = DataConfig(dir=str(tmp_path), dataset="wds/y", **options)
    if missing is None:
        check_columns(config, "train", shards)
        return
    with pytest.raises(UserError, match=missing):
        check_columns(config, "train", shards)
