import pytest
from pydantic import Field, model_validator

from dcls.errors import UserError
from reproduction.checked_yaml import load_checked
from training.config import Count, Section


class Pair(Section):
    first: Count = 1
    second: str = "x"

    @model_validator(mode="after")
    def _consistent(self) -> "Pair":
        if self.second == "odd":
            raise UserError("is odd", "say even", key="second")
        return self


class Pairs(Section):
    pairs: dict[str, Pair] = Field(default={})
    name: str = "none"


def test_values_that_are_given_win_over_the_files(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("{name: file, pairs: {one: {first: 3}}}")
    loaded = load_checked(tmp_path / "a.yaml", Pairs, name="given", pairs=None)
    assert (loaded.name, loaded.pairs["one"].first, loaded.pairs["one"].second) == ("given", 3, "x")
    (tmp_path / "empty.yaml").touch()
    assert load_checked(tmp_path / "empty.yaml", Pairs).name == "none"


@pytest.mark.parametrize(
    "content, message",
    [
        ("pairs: {one: {first: 0}}", r"a.yaml: pairs.one.first: .*greater.*, got 0"),
        ("pairs: {one: {third: 0}}", r"a.yaml: pairs.one.third: Extra"),
        ("pairs: {one: {second: odd}}", r"a.yaml: pairs.one.second: is odd; say even"),
        ("[1, 2]", r"a.yaml must hold keys; allowed are pairs, name"),
        ("a: [", r"cannot read .*a.yaml"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path, content, message) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_checked(tmp_path / "a.yaml", Pairs)


def test_every_mistake_is_told(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("{name: 3, nmae: x}")
    with pytest.raises(UserError) as error:
        load_checked(tmp_path / "a.yaml", Pairs)
    assert len(str(error.value).splitlines()) == 2
