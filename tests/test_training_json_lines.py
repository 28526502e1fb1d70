import json

import pytest
from linear_training import ALONE, linear_config, linear_training

from training.checkpoints import snapshot
from training.json_lines import JsonLines


@pytest.fixture
def state():
    return linear_training(linear_config())[0]


def write(folder, *updates: int, end: str = "") -> None:
    written = [{"kind": "update", "epoch": 0, "update": update} for update in updates]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written) + end)


def append(lines: JsonLines, *updates: int) -> None:
    for update in updates:
        lines.append({"kind": "update", "epoch": 0, "update": update, "loss": 1.25})


def updates(folder) -> list[int]:
    return [json.loads(line)["update"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def begin(folder, state) -> str | None:
    return JsonLines(folder / "metrics.jsonl", 1, state).begin()


def test_lines_after_the_checkpoint_are_dropped_but_where_the_run_continued_stays(tmp_path, state) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2)
    known = {"log_size": state.log_size, "log_checksum": state.log_checksum}
    state.updates = 2
    lines.append({"kind": "continued", "epoch": 0, "update": 2, "changes": {}})
    append(lines, 3)
    with lines.file.open("a") as file:
        file.write('{"kind": "upd')
    state.log_size, state.log_checksum = known.values()
    assert begin(tmp_path, state) is None
    assert updates(tmp_path) == [1, 2, 2]
    assert state.log_size == lines.file.stat().st_size > known["log_size"]
    assert begin(tmp_path, state) is None


@pytest.mark.parametrize("damage", [(b"1.25", b"1.24"), (b"\n", b"\r"), (b'"loss"', b'"lorr"')], ids=str)
def test_a_value_that_changed_is_told_once(tmp_path, state, damage) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2, 3)
    state.updates = 3
    lines.file.write_bytes(lines.file.read_bytes().replace(*damage, 1))
    assert f"{lines.file} was damaged, " in begin(tmp_path, state)
    assert begin(tmp_path, state) is None


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "gone"])
def test_a_log_that_is_empty_or_gone_is_told(tmp_path, state, content) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2, 3)
    state.updates = 3
    lines.file.unlink()
    if content is not None:
        lines.file.write_bytes(content)
    assert "lines are missing between updates 0 and 4" in begin(tmp_path, state)


def test_a_line_without_its_end_is_lost(tmp_path, state) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2, 3)
    state.updates = 3
    lines.file.write_bytes(lines.file.read_bytes()[:-1])
    assert "lines are missing between updates 2 and 4" in begin(tmp_path, state)
    lines.append({"kind": "continued", "epoch": 0, "update": 3, "changes": {}})
    assert updates(tmp_path) == [1, 2, 3]


def test_what_came_after_an_older_checkpoint_is_dropped(tmp_path, state) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2)
    known = state.log_size, state.log_checksum
    append(lines, 3, 4)
    lines.append({"kind": "continued", "epoch": 0, "update": 4, "changes": {}})
    (state.log_size, state.log_checksum), state.updates = known, 2
    assert begin(tmp_path, state) is None
    assert updates(tmp_path) == [1, 2]


def test_a_checkpoint_knows_the_log(tmp_path, state) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1)
    content = snapshot.take(state)
    restored = linear_training(linear_config())[0]
    snapshot.restore(restored, content, tmp_path / "last.pt", ALONE)
    assert restored.log_size == lines.file.stat().st_size
    lines.file.write_text(lines.file.read_text().replace("1.25", "1.24"))
    restored.updates = 1
    assert "some of its values have changed" in begin(tmp_path, restored)


def test_a_log_that_the_checkpoint_does_not_know_keeps_its_lines(tmp_path, state) -> None:
    write(tmp_path, 1, 2, 6, 7, 8, end='{"kind": "upd')
    state.updates = 7
    assert begin(tmp_path, state) is None
    assert updates(tmp_path) == [1, 2, 6, 7]


@pytest.mark.parametrize("key", ["kind", "update"])
def test_a_line_whose_key_has_a_flipped_bit_is_dropped_and_told(tmp_path, state, key) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl", 1, state)
    append(lines, 1, 2, 3)
    first, second, third = lines.file.read_text().splitlines(keepends=True)
    lines.file.write_text(first + second.replace(f'"{key}":', f'"{key[:-1]}x":') + third)
    state.updates = 3
    assert "metrics.jsonl was damaged, lines are missing between updates 1 and 3" in begin(tmp_path, state)
