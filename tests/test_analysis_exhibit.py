import math

from analysis.exhibit import NumberTable, short_names


def test_cells_read_as_people_write_them() -> None:
    table = NumberTable(["a", "b", "c", "d", "e"], [["x", 28_590_000, 0.123456, None, 12_345.6]])
    assert table.texts() == [["x", "28,590,000", "0.1235", "–", "12,346"]]
    assert NumberTable(["a", "b"], [[math.nan, -math.inf]]).texts() == [["–", "–"]]


def test_names_of_layers_lose_what_all_end_with() -> None:
    names = ["stages.0.blocks.0.conv_dw", "stages.1.blocks.0.conv_dw"]
    assert list(short_names(names).values()) == ["stages.0", "stages.1"]
    assert short_names(["one.conv"]) == {"one.conv": "one.conv"}
    assert short_names(["conv", "block.conv"]) == {"conv": "conv", "block.conv": "block.conv"}
