import pytest
import torch

from dcls.errors import UserError
from training.memory import batch_that_fits


@pytest.mark.parametrize("size, lower", [(128, "64"), (6, "2"), (10, "4"), (3, "1"), (2, "1")])
def test_the_key_to_lower_is_named_and_to_what(size, lower) -> None:
    with pytest.raises(UserError) as error, batch_that_fits("training.micro_batch_size", size, "do that"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert str(error.value) == (
        f"training.micro_batch_size: {size} images do not fit into memory; lower it to {lower}, or do that"
    )


def test_one_image_cannot_be_lowered() -> None:
    with (
        pytest.raises(UserError, match="1 images do not fit into memory; do that$"),
        batch_that_fits("k", 1, "do that"),
    ):
        torch.empty(2**60)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"), batch_that_fits("k", 2, "do that"):
        raise RuntimeError("a bug")
