import os

import pytest

from dcls.errors import UserError
from training.config import Config, describe_keys
from training.config_file import dump_config, load_config, valid_keys

MINIMAL = "model: {name: convnext_tiny_dcls_gaussian}\ndata: {dir: /images}\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "run.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_defaults_are_the_recipe_of_the_papers(write) -> None:
    config = load_config(write(MINIMAL))
    assert (config.training.batch_size, config.optimizer.lr, config.optimizer.weight_decay) == (4096, 4e-3, 0.05)
    assert (config.schedule.epochs, config.schedule.warmup_epochs, config.schedule.warmup_prefix) == (280, 20, True)
    assert (config.augmentation.mixup, config.augmentation.cutmix, config.augmentation.label_smoothing) == (0.8, 1, 0.1)
    assert config.augmentation.auto_augment == "rand-m9-mstd0.5-inc1"
    assert (config.optimizer.positions_lr_scale, config.training.ema_decay) == (5.0, 0.9999)


def test_command_line_over_file_over_base_over_defaults(write) -> None:
    write(
        "optimizer: {lr: 1e-1, weight_decay: 2e-1}\ntraining: {seed: 5}\nmodel: {options: {kernel_count: 3}}", "b.yaml"
    )
    path = write(
        MINIMAL.replace("}", ", options: {dilated_kernel_size: 9}}", 1) + "base: b.yaml\noptimizer:\n  lr: 2e-1\n"
    )
    config = load_config(path, ["training.seed=7", "model.options.kernel_count=4", "augmentation.auto_augment=null"])
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.eps) == (0.2, 0.2, 1e-8)
    assert config.training.seed == 7
    assert config.model.options == {"kernel_count": 4, "dilated_kernel_size": 9}
    assert config.augmentation.auto_augment is None


@pytest.mark.parametrize("text, number", [("4e-3", 4e-3), ("4E3", 4e3), ("1", 1.0), (".5", 0.5), ("-0", None)])
def test_numbers_are_numbers(write, text, number) -> None:
    path = write(MINIMAL + f"optimizer: {{lr: {text}}}\nschedule: {{min_lr: 0}}")
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
        ("optimiser: {lr: 0.1}", [], r"run.yaml:3: unknown key optimiser; did you mean optimizer\?"),
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
def test_mistakes_are_named_with_their_origin(write, text, overrides, message) -> None:
    with pytest.raises(UserError, match=r"(?s)" + message):
        load_config(write(MINIMAL + text), overrides)


def test_several_mistakes_are_all_named(write) -> None:
    with pytest.raises(UserError) as error:
        load_config(write("model: {}\ndata: {dir: 3}"))
    assert str(error.value).splitlines()[0].startswith("model.name is required")
    assert "run.yaml:2: data.dir: Input should be a valid string, got 3" in str(error.value)


def test_a_base_of_a_base_is_refused(write) -> None:
    write("base: other.yaml", "b.yaml")
    with pytest.raises(UserError, match=r"b.yaml:1: a base may not have a base"):
        load_config(write(MINIMAL + "base: b.yaml"))


def test_a_resolved_configuration_reads_back_equal(write) -> None:
    config = load_config(write(MINIMAL), ["optimizer.lr=3e-5", "optimizer.betas=[0.9, 0.95]"])
    assert load_config(write(dump_config(config), "resolved.yaml")) == config


def test_help_documents_every_key() -> None:
    text = describe_keys()
    for key in valid_keys():
        assert f"  {key}" in text
    for section in Config.model_fields.values():
        assert all(field.description for field in section.annotation.model_fields.values())


@pytest.mark.parametrize(
    "override",
    [
        "data.image_size=100000", "data.crop_pct=0.0001", "data.std=[0, 0, 0]", "data.std=[-1, 1, 1]",
        "data.mean=[124, 117, 104]", "data.val_batch_size=100000000000000000000", "data.num_workers=100000",
        "data.val_split=train", "data.val_split=./train", "data.dir=''", 'data.dir="a\\0b"', "model.drop_rate=1",
        "model.drop_path_rate=1", "model.num_classes=100000000000", "model.options={x: [.nan]}",
        "model.options={x: 2020-01-01}", "model.options.x=!!binary aGk=", "optimizer.options={x: [{1: 2}]}",
        "optimizer.betas=[1, 1]", "optimizer.momentum=1", "optimizer.lr=1e30", "optimizer.eps=10", "optimizer.lr=" + "9" * 400,
        "schedule.epochs=100000000000000000000", "schedule.epochs=" + "9" * 5000, "schedule.warmup_lr=1e30",
        "schedule.warmup_lr=0.5", "schedule.decay_milestones=[-1]", "schedule.decay_milestones=[5, 5]",
        "schedule.cooldown_epochs=100000000000", "checkpoint.name=../../x", "checkpoint.name=''", "checkpoint.name=..",
        "checkpoint.name=/tmp/x", "checkpoint.dir=" + "x" * 300, "checkpoint.every=" + "9" * 400 + " minutes",
        "augmentation.crop_scale=[5, 10]", "augmentation.crop_ratio=[1, 1e9]", "augmentation.auto_augment=rand-mX",
        "augmentation.auto_augment=rand-m9-x3", "augmentation.auto_augment=rand-m9.5", "augmentation.auto_augment=''",
        "augmentation.auto_augment=augmix-q3", "augmentation.auto_augment=rand-n100000", "augmentation.color_jitter=1e9",
        "augmentation.random_erasing_count=1000000000", "augmentation.mixup=1e300", "training.seed=" + "9" * 30,
        "training.timeout_minutes=1e300", "training.seed=!!int abc", "training.seed=!!float ''", "training.seed=!!bool maybe",
        "training.seed=!!timestamp x", "training.seed=2020-13-45", "training.seed=!!python/object/apply:os.system [ls]",
        "training.seed=&a [*a]", "training.seed=" + "[" * 5000, "training.seed=" + "[" * 500 + "]" * 500, "training.seed=? [1]",
        "training.seed={[1]: 2}", "model.options=&a {x: *a}", "training.seed=\x00",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_file_and_command_line(write, override) -> None:
    key, _, value = override.partition("=")
    *sections, name = key.split(".")
    text = MINIMAL + "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(sections))
    text = text.replace("data: {dir: /images}\n", "") if sections[0] == "data" else text
    text = text.replace("model: {name: convnext_tiny_dcls_gaussian}\nmodel:", "model:\n  name: x\nmodel:")
    if sections[0] == "data" and name != "dir":
        text += "  dir: /images\n"
    text = text.replace("model:\n  name: x\nmodel:\n", "model:\n  name: x\n")
    path = write(text + "  " * len(sections) + f"{name}: {value}\n")
    for attempt in (lambda: load_config(write(MINIMAL, "m.yaml"), [override]), lambda: load_config(path)):
        with pytest.raises(UserError) as error:
            attempt()
        assert (name in str(error.value) or "run.yaml" in str(error.value)) and len(str(error.value)) < 1500


def test_values_that_are_meant_are_accepted(write) -> None:
    policies = [
        "rand-m9-n3-mstd0.5",
        "rand-m7-mstd101-inc1-p0.5-tweights",
        "augmix-m5-w4-d2",
        "original-mstd0.5",
        "v0",
        "3a",
    ]
    for policy in policies:
        assert load_config(write(MINIMAL), [f"augmentation.auto_augment={policy}"]).augmentation.auto_augment == policy
    load_config(
        write(MINIMAL), ["data.train_split=.", "data.val_split=.", "model.options={a: [1, {b: null}], c: text}"]
    )


def test_files_that_are_no_configuration_are_one_message(write, tmp_path) -> None:
    deep = write("a: " + "[" * 3000 + "]" * 3000, "deep.yaml")
    billion = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 1}]\n" for i in range(9))
    recursive = write("model: &m\n  name: x\n  options: *m\n", "recursive.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: {name: \xe9}")
    files = [
        deep,
        write(billion, "billion.yaml"),
        recursive,
        write("? [a]\n: 3\n", "key.yaml"),
        write("x: !!python/name:os.system\n", "tag.yaml"),
    ]
    files += [write("base: 'a\\0b'\n".replace("'", '"'), "base.yaml"), tmp_path / "pipe.yaml", tmp_path / "latin.yaml"]
    files += [tmp_path, "nowhere.yaml", "a\0b.yaml", "x" * 300, write("#" * 2**21, "long.yaml"), "/dev/zero"]
    for file in files:
        with pytest.raises(UserError, match="yaml|no configuration|a file|cannot read") as error:
            load_config(file)
        assert len(str(error.value)) < 1500
