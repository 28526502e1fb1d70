from processes import table_rows

from evaluation.markdown import csv_table, markdown_table


def test_a_markdown_table_keeps_texts_as_they_are() -> None:
    rows = [{"name": "a", "value": "0.10"}, {"name": "`b`", "value": "1e3"}]
    assert table_rows(markdown_table(rows)) == [["a", "0.10"], ["`b`", "1e3"]]
    assert markdown_table(rows).splitlines()[0].replace(" ", "") == "|name|value|"


def test_a_csv_has_every_column_and_leaves_empty_what_a_row_lacks() -> None:
    assert csv_table([{"a": 1, "b": None}, {"a": "x, y", "c": 2.5}]) == 'a,b,c\n1,,\n"x, y",,2.5\n'
