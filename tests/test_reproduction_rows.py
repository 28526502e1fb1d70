import pytest

from dcls.errors import UserError
from reproduction.rows import find_rows


def test_rows_are_found_by_name_and_pattern() -> None:
    assert [row.full_name for row in find_rows(["convnext_tiny"])] == ["imagenet/convnext_tiny"]
    assert len(find_rows(["comparison/*", "comparison/cifar10_*"])) == 15
    with pytest.raises(UserError, match="no row 'convnext_tinny'; did you mean convnext_tiny"):
        find_rows(["convnext_tinny"])
    with pytest.raises(
        UserError, match=r"no row 'comparison/embedded_\*'; comparison has (comparison/\w+, ){3}\.\.\.; `r"
    ):
        find_rows(["comparison/embedded_*"])
