import pytest

from dcls.errors import UserError
from training.config import Config, describe_keys, list_keys
from training.config_file import load_config, valid_keys

MINIMAL = "model: {name: convnext_tiny_dcls_gaussian}\ndata: {dir: /images}\n"


def test_defaults_are_the_recipe_of_the_papers(write_config) -> None:
    config = load_config(write_config(MINIMAL))
    assert (config.training.batch_size, config.optimizer.lr, config.optimizer.weight_decay) == (4096, 4e-3, 0.05)
    assert (config.schedule.epochs, config.schedule.warmup_epochs, config.schedule.warmup_prefix) == (280, 20, True)
    assert (config.augmentation.mixup, config.augmentation.cutmix, config.augmentation.label_smoothing) == (0.8, 1, 0.1)
    assert config.augmentation.auto_augment == "rand-m9-mstd0.5-inc1"
    assert (config.optimizer.positions_lr_scale, config.training.ema_decay) == (5.0, 0.9999)


def test_help_documents_every_key() -> None:
    text = describe_keys()
    for key in valid_keys():
        assert f"  {key}" in text
    assert "model.dcls.kernel_count" in valid_keys()
    for name, section in Config.model_fields.items():
        assert all(field.description for field in list_keys(section.annotation, name).values())


def test_a_section_within_a_section_is_set_key_by_key_and_left_out_by_null(write_config) -> None:
    text = MINIMAL.replace("gaussian}", "gaussian, dcls: {dilated_kernel_size: 9, kernel_count: 5}}")
    config = load_config(write_config(text), ["model.dcls.kernel_count=6", "model.dcls.dilated_kernel_size=[7, 9]"])
    assert config.model.dcls.model_dump() == {
        "dilated_kernel_size": [7, 9], "kernel_count": 6, "interpolation": "gaussian", "match": 7, "share": "stage",
        "initial_positions": "normal", "initial_sigma": None, "weight_std": None,
    }  # fmt: skip
    assert load_config(write_config(text), ["model.dcls=null"]).model.dcls is None
    with pytest.raises(
        UserError, match=r"m.yaml:1: unknown key model.dcls.kernel_cuont; did you mean model.dcls.kernel_count"
    ):
        load_config(write_config(text.replace("kernel_count", "kernel_cuont"), "m.yaml"))
    with pytest.raises(UserError, match=r"command line: model.dcls.dilated_kernel_size: 0 is neither a side"):
        load_config(write_config(text), ["model.dcls.dilated_kernel_size=0"])


@pytest.mark.parametrize(
    "override",
    [
        "data.image_size=100000", "data.crop_pct=0.0001", "data.std=[0, 0, 0]", "data.std=[-1, 1, 1]",
        "data.mean=[124, 117, 104]", "data.val_batch_size=100000000000000000000", "data.num_workers=100000",
        "data.val_split=train", "data.val_split=./train", "data.dir=''", 'data.dir="a\\0b"', "model.drop_rate=1",
        "model.drop_path_rate=1", "model.num_classes=100000000000", "model.options={x: [.nan]}",
        "model.options={x: 2020-01-01}", "model.options.x=!!binary aGk=", "optimizer.options={x: [{1: 2}]}",
        "optimizer.betas=[1, 1]", "optimizer.momentum=1", "optimizer.lr=1e31", "optimizer.eps=10", "optimizer.lr=" + "9" * 400,
        "schedule.epochs=100000000000000000000", "schedule.epochs=" + "9" * 5000, "schedule.warmup_lr=1e30",
        "schedule.warmup_lr=0.5", "schedule.decay_milestones=[-1]", "schedule.decay_milestones=[5, 5]",
        "schedule.cooldown_epochs=100000000000", "checkpoint.name=../../x", "checkpoint.name=''", "checkpoint.name=..",
        "checkpoint.name=/tmp/x", "checkpoint.dir=" + "x" * 300, "checkpoint.every=" + "9" * 400 + " minutes",
        "augmentation.crop_scale=[5, 10]", "augmentation.crop_ratio=[1, 1e9]", "augmentation.auto_augment=rand-mX",
        "augmentation.auto_augment=rand-m9-x3", "augmentation.auto_augment=rand-m9.5", "augmentation.auto_augment=''",
        "augmentation.auto_augment=augmix-q3", "augmentation.auto_augment=rand-n100000", "augmentation.auto_augment=augmix-a0", "augmentation.auto_augment=rand-tfoo", "augmentation.color_jitter=1e9",
        "augmentation.random_erasing_count=1000000000", "augmentation.mixup=1e300", "training.seed=" + "9" * 30,
        "training.timeout_minutes=1e300", "training.seed=!!int abc", "training.seed=!!float ''", "training.seed=!!bool maybe",
        "training.seed=!!timestamp x", "training.seed=2020-13-45", "training.seed=!!python/object/apply:os.system [ls]",
        "training.seed=&a [*a]", "training.seed=" + "[" * 5000, "training.seed=" + "[" * 500 + "]" * 500, "training.seed=? [1]",
        "training.seed={[1]: 2}", "model.options=&a {x: *a}", "training.seed=\x00",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_file_and_command_line(write_config, override) -> None:
    key, _, value = override.partition("=")
    *sections, name = key.split(".")
    text = MINIMAL + "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(sections))
    text = text.replace("data: {dir: /images}\n", "") if sections[0] == "data" else text
    text = text.replace("model: {name: convnext_tiny_dcls_gaussian}\nmodel:", "model:\n  name: x\nmodel:")
    if sections[0] == "data" and name != "dir":
        text += "  dir: /images\n"
    text = text.replace("model:\n  name: x\nmodel:\n", "model:\n  name: x\n")
    path = write_config(text + "  " * len(sections) + f"{name}: {value}\n")
    for attempt in (lambda: load_config(write_config(MINIMAL, "m.yaml"), [override]), lambda: load_config(path)):
        with pytest.raises(UserError) as error:
            attempt()
        assert (name in str(error.value) or "run.yaml" in str(error.value)) and len(str(error.value)) < 1500


def test_values_that_are_meant_are_accepted(write_config) -> None:
    policies = [
        "rand-m9-n3-mstd0.5",
        "rand-m7-mstd101-inc1-p0.5-tweights",
        "augmix-m5-w4-d2",
        "original-mstd0.5",
        "v0",
        "3a",
    ]
    for policy in policies:
        assert (
            load_config(write_config(MINIMAL), [f"augmentation.auto_augment={policy}"]).augmentation.auto_augment
            == policy
        )
    load_config(
        write_config(MINIMAL), ["data.train_split=.", "data.val_split=.", "model.options={a: [1, {b: null}], c: text}"]
    )


def test_a_data_set_left_empty_means_image_folders(write_config) -> None:
    for override in ("data.dataset=", "data.dataset=null", 'data.dataset=""'):
        assert load_config(write_config(MINIMAL), [override]).data.dataset == ""
