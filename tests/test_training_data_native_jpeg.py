"""What the function does with files in order is in tests/test_training_data_encoded_jpeg.py."""

import io
import subprocess

import pytest
from PIL import Image

from training.data import native_jpeg

needs_libjpeg = pytest.mark.skipif(not native_jpeg.is_available(), reason="no headers of libjpeg-turbo")


@pytest.fixture
def content() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 30), 80).convert("RGB").save(file, "JPEG")
    return file.getvalue()


@needs_libjpeg
def test_a_file_of_another_size_is_refused(content) -> None:
    assert native_jpeg.decode_rectangle(content, (30, 40), (2, 3, 10, 20)).shape == (10, 20, 3)
    assert native_jpeg.decode_rectangle(content, (40, 30), (2, 3, 10, 20)) is None


@needs_libjpeg
def test_files_that_are_not_in_order_are_refused_again_and_again(content) -> None:
    for end in range(0, len(content) - 2, len(content) // 50):
        assert native_jpeg.decode_rectangle(content[:end], (30, 40), (0, 0, 30, 40)) is None


@pytest.mark.parametrize("error", [OSError("no compiler"), subprocess.CalledProcessError(1, "c++"), RuntimeError()])
def test_it_is_not_available_where_it_cannot_be_compiled(monkeypatch, error) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(native_jpeg, "compiled_library", fail)
    assert native_jpeg._decode_function.__wrapped__() is None
