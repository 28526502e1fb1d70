from PIL import Image
from processes import run_script


def test_configurations_are_drawn_beside_each_other(tiny_config, tmp_path) -> None:
    config, widths = tiny_config(), []
    for count in (1, 2):
        out = tmp_path / f"{count}.png"
        result = run_script(
            "scripts/plot_schedule.py", *[config] * count, "--images", "36", "--classes", "3", "--out", out
        )
        assert result.returncode == 0 and result.stdout == f"{out}\n", result.stderr
        widths.append(Image.open(out).width)
    assert widths[1] == 2 * widths[0]
