import os

import pytest

from dcls.errors import UserError
from training.config_file import dump_config, load_config

MINIMAL = "model: {name: convnext_tiny_dcls_gaussian}\ndata: {dir: /images}\n"


def test_command_line_over_file_over_base_over_defaults(write_config) -> None:
    write_config(
        "optimizer: {lr: 1e-1, weight_decay: 2e-1}\ntraining: {seed: 5}\nmodel: {options: {kernel_count: 3}}", "b.yaml"
    )
    path = write_config(
        MINIMAL.replace("}", ", options: {dilated_kernel_size: 9}}", 1) + "base: b.yaml\noptimizer:\n  lr: 2e-1\n"
    )
    config = load_config(path, ["training.seed=7", "model.options.kernel_count=4", "augmentation.auto_augment=null"])
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.eps) == (0.2, 0.2, 1e-8)
    assert config.training.seed == 7
    assert config.model.options == {"kernel_count": 4, "dilated_kernel_size": 9}
    assert config.augmentation.auto_augment is None


@pytest.mark.parametrize("text, number", [("4e-3", 4e-3), ("4E3", 4e3), ("1", 1.0), (".5", 0.5), ("-0", None)])
def test_numbers_are_numbers(write_config, text, number) -> None:
    path = write_config(MINIMAL + f"optimizer: {{lr: {text}}}\nschedule: {{min_lr: 0}}")
    if number is None:
        with pytest.raises(UserError, match=r"run.yaml:3: optimizer.lr: .* greater than 0, got 0"):
            load_config(path)
    else:
        assert load_config(path).optimizer.lr == number


@pytest.mark.parametrize(
    "text, overrides, message",
    [
        ("optimizer:\n  weight_decai: 0.1", [], r"run.yaml:4: unknown key optimizer.weight_decai; did you mean optimizer.weight_decay\?"),
        ("lr: 0.1", [], r"run.yaml:3: unknown key lr; did you mean optimizer.lr\?"),
        ("optimzer: {lr: 0.1}", [], r"run.yaml:3: unknown key optimzer; did you mean optimizer\?"),
        ("training: {lr: 0.1}", [], r"unknown key training.lr; did you mean optimizer.lr\?"),
        ("", ["training.sead=1"], r"command line: unknown key training.sead; did you mean training.seed\?"),
        ("optimizer: {lr: fast}", [], r"run.yaml:3: optimizer.lr: Input should be a valid number, got 'fast'"),
        ("training: {seed: 1.5}", [], r"run.yaml:3: training.seed: .*integer, got 1.5"),
        ("training: {compile: 1}", [], r"training.compile: .*boolean, got 1"),
        ("training: {precision: half}", [], r"training.precision: .*'float32', 'bfloat16' or 'float16', got 'half'"),
        ("optimizer: 3", [], r"run.yaml:3: optimizer: .*got 3"),
        ("", ["training.seed"], r"command line: expected section.key=value, got 'training.seed'"),
        ("", ["training.seed=[1"], r"command line: the value of training.seed is not valid YAML"),
        ("training: {seed: 1, seed: 2}", [], r"run.yaml:3: duplicate key training.seed"),
        ("base: nowhere.yaml", [], r"no configuration file .*nowhere.yaml"),
        ("a: [", [], r"run.yaml is not valid YAML: .*line 3"),
        ("schedule: {epochs: 5, warmup_prefix: false}", [], r"run.yaml:3: schedule.warmup_epochs: 20 epochs of warm-up"),
        ("schedule: {min_lr: 1.0}", [], r"run.yaml:3: schedule.min_lr: 1.0 is above optimizer.lr, 0.004"),
        ("augmentation: {color_jitter: 0.4}", [], r"run.yaml:3: augmentation.color_jitter: timm ignores it"),
        ("augmentation:\n  crop_scale: [1, 0.5]", [], r"run.yaml:4: augmentation.crop_scale: needs 0 < smallest"),
        ("", ["model.pretrained=true", "model.initial_checkpoint=x"], r"command line: model.initial_checkpoint: contradicts"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_origin(write_config, text, overrides, message) -> None:
    with pytest.raises(UserError, match=r"(?s)" + message):
        load_config(write_config(MINIMAL + text), overrides)


def test_several_mistakes_are_all_named(write_config) -> None:
    with pytest.raises(UserError) as error:
        load_config(write_config("model: {}\ndata: {dir: 3}"))
    assert str(error.value).splitlines()[0].startswith("model.name is required")
    assert "run.yaml:2: data.dir: Input should be a valid string, got 3" in str(error.value)


def test_a_base_of_a_base_is_refused(write_config) -> None:
    write_config("base: other.yaml", "b.yaml")
    with pytest.raises(UserError, match=r"b.yaml:1: a base may not have a base"):
        load_config(write_config(MINIMAL + "base: b.yaml"))


def test_a_resolved_configuration_reads_back_equal(write_config) -> None:
    config = load_config(write_config(MINIMAL), ["optimizer.lr=3e-5", "optimizer.betas=[0.9, 0.95]"])
    assert load_config(write_config(dump_config(config), "resolved.yaml")) == config


def test_files_that_are_no_configuration_are_one_message(write_config, tmp_path) -> None:
    deep = write_config("a: " + "[" * 3000 + "]" * 3000, "deep.yaml")
    billion = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 1}]\n" for i in range(9))
    recursive = write_config("model: &m\n  name: x\n  options: *m\n", "recursive.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: {name: \xe9}")
    files = [
        deep,
        write_config(billion, "billion.yaml"),
        recursive,
        write_config("? [a]\n: 3\n", "key.yaml"),
        write_config("x: !!python/name:os.system\n", "tag.yaml"),
    ]
    files += [
        write_config("base: 'a\\0b'\n".replace("'", '"'), "base.yaml"),
        tmp_path / "pipe.yaml",
        tmp_path / "latin.yaml",
    ]
    files += [tmp_path, "nowhere.yaml", "a\0b.yaml", "x" * 300, write_config("#" * 2**21, "long.yaml"), "/dev/zero"]
    for file in files:
        with pytest.raises(UserError, match="yaml|no configuration|a file|cannot read") as error:
            load_config(file)
        assert len(str(error.value)) < 1500
