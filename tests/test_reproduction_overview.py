import pytest
from processes import table_rows

from reproduction import overview
from reproduction.results import RowScore
from reproduction.rows import find_rows


@pytest.fixture
def scores(monkeypatch) -> None:
    """Two settings of which all but one variant were trained."""
    found = {
        "fashion_convnext_dense": RowScore(3, 90.0, 0.1, None),
        "fashion_convnext_gaussian": RowScore(3, 91.0, 0.2, 1.0),
        "cifar10_convnext_dense": RowScore(1, 70.0, None, None),
        "cifar10_convnext_gaussian": RowScore(1, 73.0, None, 3.0),
    }
    monkeypatch.setattr(overview, "read_scores", lambda table: found if table == "small" else {})


def test_variants_are_columns_and_their_differences_are_pooled(scores) -> None:
    text = overview.variants_table("small")
    head = [cell.strip() for cell in text.splitlines()[0].strip("| ").split("|")]
    column = next(index for index, cell in enumerate(head) if cell.startswith("gaussian"))
    lines = {row[0]: row for row in table_rows(text)}
    assert lines["Fashion-MNIST, ConvNeXt"][column] == "91.00 ± 0.20"
    pooled = next(row for name, row in lines.items() if name.startswith("over dense"))
    assert pooled[column].startswith("+2.00 ± 1.41")
    assert "not trained yet" in text


def test_a_configuration_begins_with_what_is_known_of_its_row(scores) -> None:
    here, elsewhere = find_rows(["fashion_convnext_gaussian"]) + find_rows(["imagenet/convnext_tiny_dcls_gaussian"])
    assert overview.config_header(here).endswith("# Expect:  top-1 here: 91.00 ± 0.20 (results/small)\n")
    header = overview.config_header(elsewhere)
    assert f"# Run:     {elsewhere.command}\n" in header and "82.6 % top-1 (arXiv:2306.00817" in header
    assert header.endswith("; top-1 here: not trained yet\n")
