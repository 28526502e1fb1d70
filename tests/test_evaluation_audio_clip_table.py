import pytest

from dcls.errors import UserError
from evaluation.audio.clip_table import read_clip_table

AUDIOSET = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr"
_0123456789, 30.500, 40.500, "/t/dd00088"
"""


def test_our_own_table(tmp_path) -> None:
    file = tmp_path / "clips.csv"
    file.write_text(
        '\ufefflabels, file, fold\r\n"dog, rain", a/1.wav, 3\r\n\r\nrain,#2.npy,1\r\n"",3.wav,1\r\n', newline=""
    )
    table = read_clip_table(file)
    assert not table.is_audioset
    found = [(clip.line, clip.names, clip.labels) for clip in table.clips]
    assert found == [(2, ("a/1.wav",), ("dog", "rain")), (4, ("#2.npy",), ("rain",)), (5, ("3.wav",), ())]


def test_audiosets_own_table(tmp_path) -> None:
    file = tmp_path / "eval_segments.csv"
    file.write_text(AUDIOSET)
    table = read_clip_table(file)
    assert table.is_audioset
    first, second = table.clips
    assert (first.line, first.labels) == (4, ("/m/068hy", "/m/07q6cd_", "/m/0bt9lr"))
    assert {"--4gqARaEJE", "Y--4gqARaEJE", "--4gqARaEJE_0_10", "Y--4gqARaEJE_0_10000"} <= set(first.names)
    assert {"_0123456789", "_0123456789_30500", "_0123456789_30500_40500"} <= set(second.names)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"# only a comment\n", "it is empty"),
        (b"file,labels\n", "no row follows its first line"),
        (b"file;labels\na.wav;dog\n", "it begins with 'file;labels'; its first line should be file,labels or YTID,start_seconds"),
        (b"a.wav,dog\n", "it begins with 'a.wav, dog'; its first line should be"),
        (b"file,labels\na.wav,dog,rain\n", "line 2 has 3 cells and the table 2 columns; put several labels of a clip into quotes"),
        (b"file,labels\na.wav\n", "line 2 has 1 cells and the table 2 columns"),
        (b"file,labels\na.wav,dog\nb.wav,dog\na.wav,rain\n", "lines 2 and 4 are both of a.wav"),
        (b'file,labels\na.wav,"dog\n', "unexpected end of data; save it as CSV in UTF-8"),
        (b"file,labels\n\xff\xfe.wav,dog\n", ".*can't decode byte.*; save it as CSV in UTF-8"),
        (b"\x00\x01\x02", "(it begins with|line contains NUL)"),
        (AUDIOSET.replace("30.500", "half past").encode(), "line 5: start_seconds and end_seconds should be numbers"),
    ],
)  # fmt: skip
def test_other_tables_are_refused(tmp_path, content, message) -> None:
    file = tmp_path / "clips.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"data.dir: {file}: {message}") as error:
        read_clip_table(file)
    assert "\n" not in str(error.value) and error.value.on_every_rank


def test_a_missing_table_and_a_folder_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none.csv: No such file"):
        read_clip_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder.csv: Is a directory"):
        read_clip_table(tmp_path / "folder.csv")
