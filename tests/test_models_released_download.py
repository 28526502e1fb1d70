"""Downloads from a stand-in for Zenodo: resumed, checked, loaded."""

import hashlib
import io
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import timm
import torch
from released_files import released_names

from models.released import RELEASES, download


class Zenodo(BaseHTTPRequestHandler):
    """Serves one file and its record; the first answer may end early, as a lost connection does."""

    content, name = b"", ""
    cut_after: int | None = None
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if "/api/" in self.path:
            digest = hashlib.md5(self.content).hexdigest()
            record = {"files": [{"key": self.name, "size": len(self.content), "checksum": f"md5:{digest}"}]}
            body, status = json.dumps(record).encode(), 200
        else:
            wanted = self.headers.get("Range")
            self.ranges.append(wanted)
            start = int(wanted[6:-1]) if wanted else 0
            body, status = self.content[start:], 206 if wanted else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if "/api/" not in self.path and type(self).cut_after is not None:
            body, type(self).cut_after = body[: type(self).cut_after], None
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def zenodo(monkeypatch, tmp_path):
    """A stand-in for Zenodo on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Zenodo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "ZENODO", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    Zenodo.ranges.clear()
    Zenodo.cut_after = None
    yield Zenodo
    server.shutdown()


def test_a_download_that_was_cut_off_is_resumed_and_checked(zenodo, tmp_path) -> None:
    release = RELEASES[0]
    zenodo.name, zenodo.content, zenodo.cut_after = release.file, os.urandom(300_000), 100_000
    with pytest.raises(ValueError, match=r"cannot download .*100000 of 300000 bytes.*the next try continues"):
        download.fetch(release, tmp_path)
    path = download.fetch(release, tmp_path)
    assert path.read_bytes() == zenodo.content
    assert zenodo.ranges == [None, "bytes=100000-"]
    assert download.fetch(release, tmp_path) == path and len(zenodo.ranges) == 2, "what is there is not fetched again"
    assert {f.name for f in tmp_path.iterdir() if f.is_file()} == {release.file, f"{release.file}.lock"}


def test_a_damaged_download_is_thrown_away(zenodo, tmp_path) -> None:
    release = RELEASES[0]
    zenodo.name, zenodo.content = release.file, b"right"
    (tmp_path / f"{release.file}.part").write_bytes(b"wrong")
    with pytest.raises(ValueError, match="arrived damaged"):
        download.fetch(release, tmp_path)
    assert download.fetch(release, tmp_path).read_bytes() == b"right"


def test_pretrained_fetches_converts_and_loads(zenodo) -> None:
    sizes = dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    source = timm.create_model("convnext_tiny_dcls_gaussian", **sizes).eval()
    file = io.BytesIO()
    torch.save({"model": released_names(source)}, file)
    zenodo.name, zenodo.content = "convnext_dcls_gauss_tiny_1k_224_ema.pth", file.getvalue()
    x = torch.randn(1, 3, 64, 64)
    for name in ("convnext_tiny_dcls_gaussian", "convnext_tiny_dcls_gaussian.released"):
        model = timm.create_model(name, pretrained=True, **sizes).eval()
        assert torch.equal(model(x), source(x))
    fewer = timm.create_model("convnext_tiny_dcls_gaussian", pretrained=True, num_classes=3, in_chans=1, **sizes)
    assert fewer.head.fc.out_features == 3
    assert torch.equal(fewer.stages[2].blocks[0].conv_dw.positions, source.stages[2].blocks[0].conv_dw.positions)
    assert timm.models.is_model_pretrained("convnext_tiny_dcls_gaussian")
