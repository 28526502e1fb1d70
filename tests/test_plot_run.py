from processes import run_script

import train


def test_a_finished_run_is_drawn_and_another_folder_named(tiny_config, tmp_path) -> None:
    train.main(["--config", str(tiny_config(schedule="{epochs: 1, warmup_epochs: 0}"))])
    folder = tmp_path / "output" / "tiny"
    metrics = folder / "metrics.csv"
    head, row = metrics.read_text().splitlines()
    metrics.write_text(f"{head},not_measured\n{row},\n")
    result = run_script("scripts/plot_run.py", folder)
    assert result.stdout.splitlines() == [str(folder / name) for name in ("curves.png", "kernels.png")], result.stderr
    assert all((folder / name).stat().st_size > 10_000 for name in ("curves.png", "kernels.png"))
    result = run_script("scripts/plot_run.py", tmp_path)
    assert result.returncode == 1 and result.stderr.startswith(f"error: no {tmp_path / 'metrics.csv'}")
