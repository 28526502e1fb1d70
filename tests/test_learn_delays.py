import re

import pytest
from PIL import Image
from processes import run_script


def test_the_delays_that_were_put_in_come_out(tmp_path) -> None:
    pytest.importorskip("snntorch")
    out = tmp_path / "delays.png"
    result = run_script("scripts/learn_delays.py", "--epochs", "40", "--out", out)
    assert result.returncode == 0, result.stderr
    *_, last, picture = result.stdout.splitlines()
    accuracy, right, close = map(float, re.findall(r"([\d.]+)%", last))
    assert accuracy >= 99 and close >= right >= 90
    assert picture == str(out) and Image.open(out).width > 500
