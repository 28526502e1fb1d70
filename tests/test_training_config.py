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
