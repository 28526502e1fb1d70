import pytest
import torch

from dcls.errors import UserError
from training.data.labels import check_labels, check_same_classes


def test_labels_that_are_no_outputs_are_named() -> None:
    check_labels(torch.tensor([0, 2]), 3)
    with pytest.raises(UserError, match="model.num_classes: labels go from 0 to 3, the model has 3 outputs"):
        check_labels(torch.tensor([3, 0]), 3)
    with pytest.raises(UserError, match="labels go from -1 to 0, .*the split has no labels"):
        check_labels(torch.tensor([-1, 0]), 3)


def test_other_classes_than_those_of_the_checkpoint_are_refused() -> None:
    for before, now in ((None, ["a"]), (["a"], None), (["a", "b"], ("a", "b"))):
        check_same_classes(before, now, "last.pt")
    with pytest.raises(UserError, match="last.pt was trained on other classes .*only one of them has: b, c"):
        check_same_classes(["a", "b"], ["a", "c"], "last.pt")
    with pytest.raises(UserError, match="the same in another order"):
        check_same_classes(["a", "b"], ["b", "a"], "last.pt")
