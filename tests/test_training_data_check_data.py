import pytest

from dcls.errors import UserError
from training.config_file import load_config
from training.data.check_data import check_data


def test_every_broken_image_has_a_line_and_the_end_counts_them(tiny_config, image_folder, capsys) -> None:
    config = load_config(tiny_config())
    check_data(config)
    assert capsys.readouterr().out == "train: 36 images, 0 broken\nval: 15 images, 0 broken\n"
    victims = [image_folder / "train" / "top" / "3.png", image_folder / "val" / "middle" / "1.png"]
    for victim in victims:
        victim.write_bytes(b"broken")
    with pytest.raises(UserError, match="2 of 51 images are broken"):
        check_data(config)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("broken")] == [
        "train: 36 images, 1 broken",
        "val: 15 images, 1 broken",
    ]
    for victim in victims:
        assert sum(str(victim) in line for line in lines) == 1
