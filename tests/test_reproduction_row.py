import dataclasses

from reproduction.rows import find_rows


def test_names_command_and_title_of_a_row() -> None:
    (row,) = find_rows(["finetune/cifar10_mobilenetv2_gaussian"])
    assert row.names == ("finetune/cifar10_mobilenetv2_gaussian", "cifar10_mobilenetv2_gaussian")
    assert row.command == "python train.py --config configs/finetune/cifar10_mobilenetv2_gaussian.yaml data.dir=DIR"
    assert row.title == "CIFAR-10, MobileNetV2, 7x7 / 9, Gaussian" and row.variant == "gaussian"
    changed = dataclasses.replace(row, config_name="other", overrides=("a.b={c: 1}",), studies=("reach",))
    assert changed.command == "python train.py --config configs/finetune/other.yaml data.dir=DIR 'a.b={c: 1}'"
    assert changed.names[2:] == ("reach/cifar10_mobilenetv2_gaussian",)
