"""scripts/fetch_weights.py against a server on this machine."""

import hashlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.runtime.entry import run
from RSDM.bme.model import BlurMagnitudeEstimator
from scripts import fetch_weights
from scripts.preparation import download as downloads
from scripts.preparation.published_weights import WEIGHTS, Published


class Server(ThreadingHTTPServer):
    """Serves `files` by name. breaks: after how many bytes an answer ends, once. asked: the ranges asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: int | None = None
        self.asked: list[str | None] = []
        self.sized, self.tagged = True, True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        content, asked = server.files.get(self.path.rpartition("/")[2]), self.headers.get("Range")
        server.asked.append(asked)
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        start = 0
        if asked and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if server.tagged:
            self.send_header("ETag", tag)
        if server.sized:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part, server.breaks = content[start:][: server.breaks], None
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CONTENT = bytes(range(256)) * 2000


def get(server: Server, target: Path, **keywords: object) -> None:
    downloads.download(f"{server.address}/x/file.pth", target, lambda part: None, **keywords)


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    server.files["file.pth"] = CONTENT
    for sized in (True, False):
        server.sized = sized
        get(server, tmp_path / str(sized) / "own.pth")
        assert {path.name: path.read_bytes() for path in (tmp_path / str(sized)).iterdir()} == {
            "own.pth": CONTENT
        }


def test_a_download_that_broke_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.files["file.pth"], server.breaks = CONTENT, 300_000
    with pytest.raises(UserError, match="broke off after 300,000 of 512,000 bytes; start again to go on"):
        get(server, tmp_path / "own.pth")
    assert not (tmp_path / "own.pth").exists()
    get(server, tmp_path / "own.pth")
    assert server.asked == [None, "bytes=300000-"]
    assert (tmp_path / "own.pth").read_bytes() == CONTENT and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("now", [CONTENT[::-1], CONTENT[:1000]], ids=["another", "shorter"])
def test_another_file_by_now_is_fetched_anew(server: Server, tmp_path: Path, now: bytes) -> None:
    server.files["file.pth"], server.breaks = CONTENT, 300_000
    with pytest.raises(UserError):
        get(server, tmp_path / "own.pth")
    server.files["file.pth"] = now
    get(server, tmp_path / "own.pth")
    assert (tmp_path / "own.pth").read_bytes() == now


def test_a_part_without_a_tag_is_not_trusted(server: Server, tmp_path: Path) -> None:
    server.files["file.pth"], server.tagged = CONTENT, False
    server.breaks = 1000
    with pytest.raises(UserError):
        get(server, tmp_path / "own.pth")
    get(server, tmp_path / "own.pth")
    assert (tmp_path / "own.pth").read_bytes() == CONTENT


def test_a_whole_part_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    """As left by a process that ended between the last byte and the check."""
    server.files["file.pth"] = CONTENT
    with pytest.raises(KeyboardInterrupt):
        downloads.download(f"{server.address}/file.pth", tmp_path / "own.pth", interrupt)
    get(server, tmp_path / "own.pth")
    assert (tmp_path / "own.pth").read_bytes() == CONTENT and len(list(tmp_path.iterdir())) == 1


def interrupt(part: Path) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\n <!DOCTYPE html><html>Quota exceeded</html>", "sent a page of text in place of the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "sent a page of text"),
        (None, "the server answers 404"),
    ],
)
def test_what_is_no_file_is_one_line(
    server: Server, tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        server.files["file.pth"] = content
    with pytest.raises(UserError, match=words):
        get(server, tmp_path / "own.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sized", [True, False])
def test_more_than_the_limit_is_refused(server: Server, tmp_path: Path, sized: bool) -> None:
    server.files["file.pth"], server.sized = CONTENT, sized
    with pytest.raises(UserError, match=r"more than the (300,000 that|300,000 bytes that) are accepted"):
        get(server, tmp_path / "own.pth", limit=300_000)
    assert not list(tmp_path.iterdir())


def test_no_server_and_a_dead_proxy_are_one_line(server: Server, tmp_path: Path, monkeypatch) -> None:
    gone = Server()
    gone.server_close()
    with pytest.raises(UserError, match="cannot be reached .*behind a proxy set https_proxy"):
        get(gone, tmp_path / "own.pth")
    monkeypatch.setenv("http_proxy", gone.address)
    monkeypatch.setenv("no_proxy", "")
    server.files["file.pth"] = CONTENT
    with pytest.raises(UserError, match="cannot be reached"):
        get(server, tmp_path / "own.pth")
    monkeypatch.setenv("http_proxy", server.address)
    get(gone, tmp_path / "own.pth")
    assert (tmp_path / "own.pth").read_bytes() == CONTENT


def test_a_connection_that_fails_in_the_middle_is_one_line(
    server: Server, tmp_path: Path, monkeypatch
) -> None:
    def broken(*_: object) -> int:
        raise ssl.SSLError(1, "decryption failed or bad record mac")

    server.files["file.pth"] = CONTENT
    monkeypatch.setattr(downloads, "_copied", broken)
    with pytest.raises(UserError, match="bad record mac.*start again to go on"):
        get(server, tmp_path / "own.pth")


@pytest.mark.parametrize("address", ["example.org/weights", "ftp://example.org/weights", "/mnt/weights"])
def test_what_is_no_web_address_is_one_line(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="no address to download from; it has to begin with https://"):
        downloads.download(f"{address}/own.pth", tmp_path / "own.pth", lambda part: None)
    assert not list(tmp_path.iterdir())


class TestScript:
    @pytest.fixture
    def bme(self, server: Server, tmp_path: Path) -> bytes:
        torch.save(BlurMagnitudeEstimator().state_dict(), tmp_path / "bme.pth")
        server.files["best_net.pth"] = (tmp_path / "bme.pth").read_bytes()
        return server.files["best_net.pth"]

    def main(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["fetch_weights.py", *arguments])
        fetch_weights.main()

    def test_a_mirror_gives_what_a_drive_keeps(self, server, bme, tmp_path, monkeypatch, capsys) -> None:
        out, path = tmp_path / "weights", tmp_path / "weights" / "BME" / "best_net.pth"
        for words in ("downloaded", "is there"):
            self.main(monkeypatch, "BME", "--out", str(out), "--mirror", server.address)
            line = capsys.readouterr().out
            digest = hashlib.sha256(bme).hexdigest()
            assert f"{path}: {words}, BME (ResNet-50), loads strictly, SHA-256 {digest}\n" == line
        assert server.asked == [None]

    def test_the_wrong_network_is_refused(self, server, bme, tmp_path, monkeypatch, capsys) -> None:
        server.files["ID_Blau.pth"] = bme
        server.files["raft_large_C_T_V1-22a6c225.pth"] = b"PK\x03\x04 not a checkpoint"
        out = ("--out", str(tmp_path / "weights"), "--mirror", server.address)
        with pytest.raises(SystemExit) as end:
            run(lambda: self.main(monkeypatch, "ID_Blau", "BME", "RAFT", *out))
        said = capsys.readouterr()
        assert end.value.code == 2 and "error: not downloaded: ID_Blau, RAFT, see above\n" in said.err
        assert (
            "ID_Blau: failed: " in said.out and "is BME (ResNet-50), loads strictly, not ID-Blau" in said.out
        )
        # The others are fetched all the same.
        files = [path for path in (tmp_path / "weights").rglob("*") if path.is_file()]
        assert files == [tmp_path / "weights" / "BME" / "best_net.pth"]

    def test_two_downloads_at_a_time_are_refused(self, server, bme, tmp_path, monkeypatch) -> None:
        out = tmp_path / "weights"
        out.mkdir()
        program = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
        program += "print('held', flush=True); time.sleep(60)"
        command = [sys.executable, "-c", program, str(out / ".lock")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            with pytest.raises(UserError, match="in use by another run"):
                self.main(monkeypatch, "BME", "--out", str(out), "--mirror", server.address)
            other.kill()
        assert server.asked == []

    def test_a_drive_is_named(self, tmp_path, monkeypatch, capsys) -> None:
        self.main(monkeypatch, "ESTRNN", "--out", str(tmp_path))
        assert "best_ESTRNN_baseline.pth: missing, and not to be had without a browser; see https://" in (
            capsys.readouterr().out
        )

    def test_another_version_of_known_weights_is_refused(self, server, bme, tmp_path, monkeypatch) -> None:
        server.files["file.pth"] = bme
        weights = Published("BME/best_net.pth", "page", "BME", f"{server.address}/file.pth", "00000000")
        with pytest.raises(UserError, match="does not begin with 00000000"):
            fetch_weights.fetched(weights, tmp_path / "weights", None, 1 << 30)
        assert not [path for path in (tmp_path / "weights").rglob("*") if path.is_file()]

    def test_unknown_names_are_refused(self, monkeypatch) -> None:
        with pytest.raises(UserError, match="IDBlau: no such weights; there are BME, ID_Blau, RAFT"):
            self.main(monkeypatch, "IDBlau")


def test_places_are_where_the_configurations_expect_the_files() -> None:
    text = "".join(path.read_text() for path in (Path(__file__).parents[1] / "configs").rglob("*.yaml"))
    for weights in WEIGHTS.values():
        assert f"weights/{weights.place}" in text
