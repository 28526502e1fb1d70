import pytest

from dcls.errors import UserError
from reproduction.cluster import load_cluster


@pytest.mark.parametrize(
    "content, message",
    [
        ("nodes: 0", "nodes: Input should be greater"),
        ("node: 1", "node: Extra"),
        ("- 1", "must hold keys"),
        ("{", "cannot"),
    ],
)
def test_a_wrong_cluster_file_is_named(tmp_path, content, message) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_cluster(file)
