"""Generated tables are put where documents ask for them."""

import pytest

from dcls.errors import UserError
from reproduction.documents import documents, fill_blocks


def test_a_block_is_replaced_and_the_rest_is_kept() -> None:
    old = "before\n<!-- table: published -->\nold\n<!-- end -->\nbetween\n<!-- table: published -->\n<!-- end -->\nafter\n"
    text = fill_blocks(old)
    assert text.startswith("before\n<!-- table: published -->\n| row ") and text.endswith("|\n<!-- end -->\nafter\n")
    assert "old" not in text and text.count("| ConvNeXt-T, 7x7 / 49 ") == 2 and "\nbetween\n" in text
    assert fill_blocks(text) == text


def test_documents_are_the_readme_and_everything_below_docs(tmp_path) -> None:
    nested = tmp_path / "docs" / "guides" / "train.md"
    nested.parent.mkdir(parents=True)
    for file in (tmp_path / "README.md", nested):
        file.write_text("text")
    assert documents(tmp_path) == {tmp_path / "README.md": "text", nested: "text"}


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(UserError, match="no table 'result'; take results, rows, models"):
        fill_blocks("<!-- table: result -->\n<!-- end -->\n")


@pytest.mark.parametrize("name", ["benchmarks/results/fast.md", "parity/results/same.md", "results/finetune/tuned.md"])
def test_a_file_of_results_that_is_not_there_is_named(name) -> None:
    with pytest.raises(UserError, match=f"there is no file {name}; run its benchmark"):
        fill_blocks(f"<!-- table: {name} -->\n<!-- end -->\n")
