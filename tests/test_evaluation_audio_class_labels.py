import pytest

from dcls.errors import UserError
from evaluation.audio.class_labels import read_class_labels


def test_rows_may_come_in_any_order(tmp_path) -> None:
    file = tmp_path / "class_labels_indices.csv"
    file.write_text('index,mid,display_name\n1,/m/05zppz,"Male speech, man speaking"\n0,/m/09x0r,"Speech"\n')
    labels = read_class_labels(file)
    assert labels.ids == ["/m/09x0r", "/m/05zppz"] and labels.names == ["Speech", "Male speech, man speaking"]
    assert labels.index == {"Speech": 0, "/m/09x0r": 0, "Male speech, man speaking": 1, "/m/05zppz": 1}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "it is empty"),
        ("index,mid,display_name\n", "no row follows its first line"),
        ("index,mid\n0,/m/0\n", "it begins with 'index, mid'; its first line should be index,mid,display_name"),
        ("index,mid,display_name\n0,/m/0,a\n0,/m/1,b\n", "the indices of its 2 classes are not 0 to 1, each once"),
        ("index,mid,display_name\n1,/m/0,a\n2,/m/1,b\n", "the indices of its 2 classes are not 0 to 1"),
        ("index,mid,display_name\nx,/m/0,a\n", "the indices of its 1 classes are not 0 to 0"),
        ("index,mid,display_name\n0,/m/0,a, b\n", "line 2 has 4 cells and the table 3 columns"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message) -> None:
    file = tmp_path / "class_labels_indices.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=f"data.dir: {file}: {message}") as error:
        read_class_labels(file)
    assert error.value.on_every_rank
