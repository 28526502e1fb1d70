import ctypes
import subprocess

import pytest

from dcls.native_library import compiled_library


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.cpp"
    path.write_text('extern "C" long answer() { return ANSWER; }')
    return path


def test_options_belong_to_the_library(source) -> None:
    for answer in (1, 42):
        assert ctypes.CDLL(str(compiled_library(source, f"-DANSWER={answer}"))).answer() == answer


def test_a_library_is_compiled_once(source, monkeypatch) -> None:
    library = compiled_library(source, "-DANSWER=1")
    monkeypatch.setattr(subprocess, "run", None)
    assert compiled_library(source, "-DANSWER=1") == library
    assert list(library.parent.iterdir()) == [library]


def test_errors_of_the_compiler_are_raised_and_leave_nothing_behind(source) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        compiled_library(source)
    assert "ANSWER" in error.value.stderr
    assert not list((source.parent / "cache" / "dcls").iterdir())


def test_without_a_compiler(source, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OSError, match="no C\\+\\+ compiler"):
        compiled_library(source, "-DANSWER=1")
