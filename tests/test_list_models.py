from conftest import REPOSITORY
from processes import run_script, table_rows

import models

DCLS = [name for name in models.NAMES if "_dcls_" in name]


def test_the_guide_lists_every_model_as_it_is() -> None:
    table = run_script("scripts/list_models.py").stdout
    assert len(table_rows(table)) == len(DCLS) and table in (REPOSITORY / "docs/guides/evaluate.md").read_text()
