"""The kinds of data set that a name can mean, behind one interface."""

import dataclasses
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ae_jax.core.errors import UserError, present
from ae_jax.core.files import cache_root
from ae_jax.data.arrays import admitted, check_split
from ae_jax.data.base import DataSet, refuse_partly
from ae_jax.data.protocols import Stored
from ae_jax.data.sources import cache
from ae_jax.data.sources.cache import Damaged, Log


class Source(Protocol):
    """One data set: where it comes from and what it holds."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it looks, in words and in order."""

    def cached_at(self) -> Path:
        """Where its arrays lie, or will lie once prepared."""

    def stored(self, log: Log) -> Stored:
        """The arrays, prepared first if need be. Raises UserError."""

    def peek(self, log: Log) -> Stored | None:
        """The arrays if they can be had without preparing anything, else None."""


@dataclasses.dataclass(frozen=True)
class CachedSource:
    """A set that is prepared once into the cache folder and memory-mapped from then on.

    `build(work, log)` makes the arrays, given an empty folder for its intermediate files.
    `sources` says in words where it looks, in order.
    """

    name: str
    build: Callable[[Path, Log], Stored]
    sources: tuple[str, ...]

    def cached_at(self) -> Path:
        return cache_root() / self.name

    def stored(self, log: Log) -> Stored:
        """The memory-mapped arrays. Raises UserError when they cannot be prepared."""
        ready = self.peek(log)
        return self._prepare(log) if ready is None else ready

    def peek(self, log: Log) -> Stored | None:
        """The memory-mapped arrays, or None where they are absent or damaged."""
        return self._usable(log, cache.read)

    def prepare(self, log: Log) -> Path:
        """Makes sure that the arrays are there with the recorded sha256. Raises UserError."""
        if self._usable(log, _read_and_verify) is None:
            self._prepare(log)
        else:
            log(f"{self.name}: prepared already, sha256 verified")
        return self.cached_at()

    def _usable(self, log: Log, read: Callable[[Path], Stored | None]) -> Stored | None:
        try:
            return read(self.cached_at())
        except Damaged as error:
            log(f"{self.name}: the prepared files are damaged ({error}) and are made again")
            return None
        except OSError as error:
            raise UserError(f"cannot read {self.cached_at()}: {error.strerror}") from error

    def _prepare(self, log: Log) -> Stored:
        """Builds under the lock, unless another process has done so meanwhile."""
        folder = self.cached_at()
        try:
            with cache.exclusive(folder, log):
                stored = self._usable(lambda line: None, _read_and_verify)
                if stored is None:
                    with cache.replaced_whole(folder) as fresh:
                        self._build_into(fresh, log)
                    log(f"{self.name}: prepared in {folder}")
                return present(cache.read(folder), str(folder))
        except OSError as error:
            raise UserError(
                f"cannot prepare data set {self.name} in {folder} ({error.strerror or error}); "
                "AE_JAX_CACHE may name another folder"
            ) from error

    def _build_into(self, fresh: Path, log: Log) -> None:
        work = fresh / "work"
        work.mkdir()
        cache.write(fresh, self.build(work, log))
        shutil.rmtree(work)


def _read_and_verify(folder: Path) -> Stored | None:
    stored = cache.read(folder)
    if stored is not None:
        cache.verify(folder)
    return stored


def _takes_nothing(function: Any) -> bool:
    """Whether it can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:  # also of what is no function
        return False
    except ValueError:  # a function that does not say what it takes
        return True
    return True


@dataclasses.dataclass(frozen=True)
class UserFunction:
    """`path/to/file.py:function`, a user's function without arguments that returns a DataSet."""

    name: str
    function: Callable[[], DataSet]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.name,)

    def cached_at(self) -> Path:
        """The user's file: nothing is cached."""
        return Path(self.name.rpartition(":")[0])

    def stored(self, log: Log) -> Stored:
        """The user's splits; "full" joins valid into train. Raises UserError."""
        if not _takes_nothing(self.function):
            raise UserError(
                f"{self.name} has to be a function without arguments that returns a DataSet"
            )
        made = self.function()
        if not isinstance(made, DataSet) or not {"train", "test"} <= set(made.splits):
            raise UserError(f"{self.name} has to return a DataSet with the splits train and test")
        made = admitted(made)
        refuse_partly(made.splits, self.name)
        train, valid = made.splits["train"], made.splits.get("valid")
        for split in made.splits.values():
            check_split(split, made.shape, self.name, missing=True, counts=made.is_counts)
        return Stored(
            train=train if valid is None else valid.after(train),
            test=made.splits["test"],
            valid_count=0 if valid is None else len(valid),
            max_value=made.max_value,
            classes=made.classes,
            facts=made.facts,
            declared_classes=made.declared_classes,
        )

    peek = stored
