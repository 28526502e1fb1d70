import pytest

from dcls.errors import UserError
from training.extras import require_package


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    require_package("torch", "train", "logging.wandb")
    with pytest.raises(
        UserError, match=r"logging.wandb: no_such_package is not installed; install it with .*'\.\[wandb\]'"
    ):
        require_package("no_such_package", "wandb", "logging.wandb")
