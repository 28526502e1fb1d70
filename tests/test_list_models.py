import runpy

from conftest import REPOSITORY
from processes import table_rows

from evaluation import model_list


def test_the_guide_lists_the_models_as_they_are(monkeypatch, capsys) -> None:
    """Two of them; that the guide has the whole table is held by scripts/write_tables.py --check."""
    monkeypatch.setattr(
        model_list, "NAMES", ["convnext_tiny", "convnext_tiny_dcls_gaussian", "resnet50_dcls_bilinear_unnormalized"]
    )
    runpy.run_path(str(REPOSITORY / "scripts" / "list_models.py"), run_name="__main__")
    guide = (REPOSITORY / "docs/guides/evaluate.md").read_text()
    in_the_guide = table_rows(guide[guide.index("| name") :])
    lines = table_rows(capsys.readouterr().out)
    assert len(lines) == 2 and all(line in in_the_guide for line in lines)
