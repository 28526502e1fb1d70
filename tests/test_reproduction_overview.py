import pytest

from reproduction import overview
from reproduction.results import RowScore
from reproduction.rows import find_rows


@pytest.fixture
def scores(monkeypatch) -> None:
    """One row that was trained."""
    found = {"cifar10_mobilenetv2_gaussian": RowScore(3, 91.0, 0.2)}
    monkeypatch.setattr(overview, "read_scores", lambda table: found if table == "finetune" else {})


def test_a_configuration_begins_with_what_is_known_of_its_row(scores) -> None:
    here, elsewhere = find_rows(["cifar10_mobilenetv2_gaussian"]) + find_rows(["imagenet/convnext_tiny_dcls_gaussian"])
    assert overview.config_header(here).endswith("# Expect:  top-1 here: 91.00 ± 0.20 (results/finetune)\n")
    header = overview.config_header(elsewhere)
    assert f"# Run:     {elsewhere.command}\n" in header and "82.6 % top-1 (arXiv:2306.00817" in header
    assert header.endswith("; top-1 here: not trained yet\n")
