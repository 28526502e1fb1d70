import dataclasses

from reproduction.rows import find_rows


def test_names_command_and_title_of_a_row() -> None:
    (row,) = find_rows(["small/fashion_convnext_gaussian"])
    assert row.names == ("small/fashion_convnext_gaussian", "fashion_convnext_gaussian")
    assert row.command == "python train.py --config configs/small/fashion_convnext_gaussian.yaml"
    assert row.title == "Fashion-MNIST, ConvNeXt, 15x15 / 16, Gaussian" and row.variant == "gaussian"
    changed = dataclasses.replace(row, config_name="other", overrides=("a.b={c: 1}",), studies=("reach",))
    assert changed.command == "python train.py --config configs/small/other.yaml 'a.b={c: 1}'"
    assert changed.names[2:] == ("reach/fashion_convnext_gaussian",)
