import subprocess
import sys

from conftest import REPOSITORY
from processes import run_script
from report_runs import report_run

import train


def test_the_command_names_the_file_it_wrote_and_what_is_wrong(tmp_path) -> None:
    folder = report_run(tmp_path, "some")
    result = run_script("scripts/report.py", folder, "--out", tmp_path / "x.html")
    assert result.stdout == f"{tmp_path / 'x.html'}\n", result.stderr
    result = run_script("scripts/report.py", folder / "positions")
    assert result.returncode == 1 and result.stderr.startswith(f"error: {folder / 'positions'} holds no run")


def test_without_plotly_there_is_one_line() -> None:
    code = "import sys; sys.modules['plotly'] = None; sys.argv = ['report.py', 'run']; import report; report.main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY / "scripts")
    assert result.returncode == 1 and result.stderr == (
        "error: scripts/report.py: plotly is not installed; install it with pip install --editable '.[report]'\n"
    )


def test_a_run_that_is_asked_to_writes_its_report(tiny_config, tmp_path, capsys) -> None:
    config = tiny_config(schedule="{epochs: 1, warmup_epochs: 0}", logging="{report: true}")
    train.main(["--config", str(config)])
    file = tmp_path / "output" / "tiny" / "report.html"
    assert file.is_file() and capsys.readouterr().out.splitlines()[-1] == f"report: {file}"


def test_a_finished_run_ends_well_without_its_report(tiny_config, tmp_path, capsys) -> None:
    config = tiny_config(schedule="{epochs: 1, warmup_epochs: 0}", logging="{report: true}")
    file = tmp_path / "output" / "tiny" / "report.html"
    file.parent.mkdir(parents=True)
    file.write_text("a page of somebody's own")
    train.main(["--config", str(config)])
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"warning: no report: {file}")
    assert file.read_text() == "a page of somebody's own"
