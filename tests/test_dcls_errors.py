import pickle

import pytest

from dcls.errors import UserError
from training.loop import NonFiniteLossError


@pytest.mark.parametrize(
    "error, text",
    [
        (UserError("no such file"), "no such file"),
        (UserError("no such file", "create it"), "no such file; create it"),
        (UserError("is negative", key="optimizer.lr"), "optimizer.lr: is negative"),
        (
            UserError("is negative", "raise it", key="optimizer.lr", origin="run.yaml:3"),
            "run.yaml:3: optimizer.lr: is negative; raise it",
        ),
    ],
)
def test_an_error_reads_as_one_sentence(error, text) -> None:
    assert str(error) == text and isinstance(error, ValueError)


@pytest.mark.parametrize("kind", [UserError, NonFiniteLossError])
def test_every_field_survives_another_process(kind) -> None:
    error = kind("is negative", "raise it", key="optimizer.lr", origin="run.yaml:3", on_every_rank=True)
    received = pickle.loads(pickle.dumps(error))
    assert type(received) is kind and str(received) == str(error)
    assert (received.key, received.fix, received.on_every_rank) == ("optimizer.lr", "raise it", True)


def test_a_copy_differs_in_the_fields_that_were_given() -> None:
    error = UserError("is negative", "raise it", key="optimizer.lr")
    copy = error.replace(key="--lr")
    assert (str(copy), str(error)) == ("--lr: is negative; raise it", "optimizer.lr: is negative; raise it")
