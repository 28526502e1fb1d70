import pytest

from dcls.errors import UserError
from training.data.batches import plan_batches


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ((4096, 128, 8), (128, 4)),
        ((4096, 128, 32), (128, 1)),
        ((4096, 128, 1), (128, 32)),
        ((4096, None, 1), (4096, 1)),
        ((24, 5, 2), (4, 3)),
    ],
)
def test_a_global_batch_is_divided_exactly(arguments, expected) -> None:
    plan = plan_batches(*arguments)
    assert (plan.micro_batch_size, plan.accumulation) == expected
    assert plan.micro_batch_size * plan.accumulation * arguments[2] == plan.batch_size


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="training.batch_size: 10 images cannot be divided over 3 processes"):
        plan_batches(10, None, 3)
    with pytest.raises(
        UserError, match="training.batch_size: 127 images a process only divide into 127 batches of 1, far"
    ):
        plan_batches(254, 64, 2)
