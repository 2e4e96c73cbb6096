"""Raw files from the first source that has them, each verified before it is used."""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from ae_jax.core.errors import UserError
from ae_jax.data.sources.cache import Log, sha256_of

DATA_FOLDER = "AE_JAX_DATA"


@dataclasses.dataclass(frozen=True)
class RawFile:
    """A file as its authors published it, with the sha256 of its bytes in hexadecimal.

    `size` is in bytes; None where it is not known.
    """

    name: str
    url: str
    sha256: str
    size: int | None = None


class Unavailable(Exception):
    """A source that cannot deliver; the message is the reason in a few words."""


class Fetcher(Protocol):
    """One place that may have the files of a data set; `of_the_users` if that is their folder."""

    @property
    def label(self) -> str:
        """The place in words."""

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        """Puts what it has of `files` into `folder`. Raises Unavailable."""


def fetch(
    name: str, files: Sequence[RawFile], fetchers: Sequence[Fetcher], folder: Path, log: Log
) -> None:
    """Puts all files of a data set into `folder`, asking the fetchers in turn.

    The folder that a user names comes first, where one is named: nothing is downloaded that is
    there already. Each try is one line in the log. A file with the wrong sha256 is removed and the
    next source asked for it. Raises UserError when files are still missing after the last source.
    """
    missing = list(files)
    if os.environ.get(DATA_FOLDER):
        fetchers = sorted(fetchers, key=lambda one: not getattr(one, "of_the_users", False))
    for fetcher in fetchers:
        outcome = _try(fetcher, missing, folder)
        missing = [file for file in missing if not (folder / file.name).exists()]
        log(f"{name}: {fetcher.label}: {outcome}")
        if not missing:
            return
    tried = ", ".join(fetcher.label for fetcher in fetchers)
    raise UserError(
        f"data set {name} could not be prepared from any source (tried: {tried}); set "
        f"{DATA_FOLDER} to a folder that holds {', '.join(file.name for file in missing)}"
    )


def _try(fetcher: Fetcher, missing: Sequence[RawFile], folder: Path) -> str:
    """What came of asking one source, in a few words; wrong files are gone afterwards."""
    try:
        fetcher.deliver(missing, folder)
        problem = ""
    except Unavailable as error:
        problem = str(error)
    refused = [file.name for file in missing if not _verified(folder / file.name, file)]
    delivered = len(missing) - len(refused)
    if not refused:
        return f"{delivered} files, all with the recorded sha256"
    return problem or f"wrong or missing, so not used: {', '.join(refused)}"


def _verified(path: Path, file: RawFile) -> bool:
    """Whether the file is there with the recorded bytes; a wrong one is removed."""
    if not path.exists():
        return False
    if sha256_of(path) == file.sha256:
        return True
    path.unlink()
    return False


def data_folder() -> Path:
    """The user's folder of raw files. Raises Unavailable where none is named."""
    chosen = os.environ.get(DATA_FOLDER)
    if not chosen:
        raise Unavailable(f"{DATA_FOLDER} is not set")
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise Unavailable(f"{DATA_FOLDER} names {folder}, which is not a folder")
    return folder


def find_in_data_folder(name: str, file: str) -> Path | None:
    """The user's file of that name, in the folder or its subfolder named as the data set."""
    root = data_folder()
    candidates = (root / name / file, root / file)
    return next((path for path in candidates if path.is_file()), None)


@dataclasses.dataclass(frozen=True)
class LocalFolder:
    """The folder named by AE_JAX_DATA. A user's own file is never changed or removed."""

    of_the_users: ClassVar[bool] = True

    name: str
    label: str = f"the folder named by {DATA_FOLDER}"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        problems = []
        for file in files:
            path = find_in_data_folder(self.name, file.name)
            if path is None:
                problems.append(f"no {file.name}")
            elif sha256_of(path) != file.sha256:
                problems.append(f"{path} is not the published file; left as it is, not used")
            else:
                shutil.copyfile(path, folder / file.name)
        if problems:
            raise Unavailable("; ".join(problems))
