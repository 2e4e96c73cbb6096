"""Checkpoints through Orbax: the latest and the best of a run, kept apart and sealed."""

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from ae_jax.core.errors import UserError, warn
from ae_jax.core.files import make_directory
from ae_jax.train import processes, seal
from ae_jax.train.identity import Identity
from ae_jax.train.locks import deleting, reading
from ae_jax.train.seal import BrokenSeal, Seal

# What fails in the background is raised to whoever waits for it: to log its traceback as well
# would bury the one sentence.
logging.getLogger("absl").addFilter(lambda line: "_SignalingThread.run()" not in str(line.msg))

Which = Literal["latest", "best"]

# Orbax writes one array, the bytes of all leaves: the libraries below it keep some memory of every
# array that they write, for as long as the process lives.
_VALUES = "values"
_METADATA = "_CHECKPOINT_METADATA"


class Damaged(UserError):
    """A checkpoint that is not what was written."""


@dataclasses.dataclass(frozen=True)
class _Held:
    """A state on the host that is not written yet, the bytes of its leaves, and its seal less their
    digest."""

    step: int
    values: np.ndarray
    seal: Seal


class Checkpoints:
    """The checkpoints below a folder; at most two are kept, the latest and the best.

    One that was saved without metrics can be the latest and never the best.

    A checkpoint is written while training goes on, and complete at the latest when the next is
    written or the object is closed; several processes complete it together at once. One that need
    not be written now is held in memory until the next that must, or until the object is closed;
    of several that are held the latest and the best remain. Writing is atomic: a crash leaves the
    ones before it. Only the process that has claimed the run may open them for writing; `read_only`
    leaves alone what another process may be writing, and keeps it from deleting what is being read.

    What is read is compared with its seal. Where a checkpoint is damaged the next one that is
    intact takes its place, with a warning that names it. One older than seals is taken with a
    warning that it cannot be verified. With a `run`, a checkpoint of another one is refused.
    """

    def __init__(
        self,
        path: Path,
        headline: str,
        maximise: bool,
        *,
        read_only: bool = False,
        run: Identity | None = None,
    ):
        self.path, self._run = path, run
        self._headline, self._sign = headline, 1.0 if maximise else -1.0
        self._seals: dict[int, Seal | None] = {}  # of the steps that were looked at
        self._running: tuple[int, Seal, Any] | None = None
        self._held: list[_Held] = []  # by step
        self._writes = not read_only and processes.is_first()
        if self._writes:
            make_directory(path)
            self._remove_leftovers()

    def save(
        self,
        state: Any,
        metrics: Mapping[str, float] | None = None,
        record: Mapping[str, Any] | None = None,
        part: Mapping[str, Any] | None = None,
        *,
        now: bool = True,
    ) -> None:
        """Starts to save the state under its step; `metrics`, if any, hold the headline.

        `record` is the last one of the run, `part` what is known of an epoch that is not over. The
        state may change or go once this returns. Unless `now`, it is held for the time being.
        Raises UserError where this checkpoint or the one before cannot be written.
        """
        values, form = seal.packed(state)
        known = None if metrics is None else {n: float(value) for n, value in metrics.items()}
        run = None if self._run is None else self._run.as_table()
        held = _Held(int(state.step), values, Seal("", form, known, record, run, part))
        scores = [(self._score(each.seal), each) for each in (held, *reversed(self._held))]
        scored = [(score, each) for score, each in scores if score is not None]
        _, best = max(scored, key=itemgetter(0), default=(None, held))  # of equals the newest
        self._held = [held] if best is held else [best, held]
        if now:
            self.write()

    @property
    def holds(self) -> bool:
        """Whether a checkpoint waits to be written."""
        return bool(self._held)

    def write(self) -> None:
        """Starts to write what is held. Raises UserError where it cannot be written."""
        while self._held:
            self._start(self._held.pop(0))

    def _start(self, held: _Held) -> None:
        self.wait()
        sealed = dataclasses.replace(held.seal, values=seal.digest_of(held.values))
        with self._writing():
            response = ocp.save_async(
                self._folder(held.step).absolute(),
                {_VALUES: held.values},
                custom_metadata=sealed.as_metadata(),
            )
            self._running = held.step, sealed, response
        if jax.process_count() > 1:
            # They meet on the devices to finish a checkpoint, and must not meet there to train
            # in the meantime: each would wait for the others at another place.
            self.wait()

    def wait(self) -> None:
        """Returns when what was written is complete. Raises UserError if it cannot be written."""
        if self._running is None:
            return
        (step, sealed, response), self._running = self._running, None
        with self._writing():
            response.result()  # which also ends the thread and the event loop of this one save
            self._seals[step] = sealed
            self._keep_latest_and_best()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the writers below Orbax make of a full disk
            if self._writes:
                self._remove_leftovers()
            raise UserError(
                f"cannot write a checkpoint in {self.path}: {_reason(error)}; the one before it is "
                "kept, and the same command continues from there"
            ) from error

    def step(self, which: Which = "latest") -> int | None:
        """The step of the latest or best checkpoint; None if there is none. Raises UserError."""
        self.close()
        steps, _ = self._ranked(which)
        return steps[0] if steps else None

    def restore(self, like: Any, which: Which = "latest") -> Any:
        """The latest or best state, with the structure and placement of `like`.

        Raises UserError if there is none intact, or if it belongs to another model or optimiser.
        """
        return self.load(like, which)[0]

    def load(self, like: Any, which: Which = "latest") -> tuple[Any, Seal | None]:
        """As `restore`, with the seal of what was read."""
        self.close()
        with reading(self.path):
            while True:
                listed = self._steps()
                try:
                    state, found, damage = self._first_intact(like, which)
                except Damaged:
                    if self._steps() == listed:
                        raise
                    continue
                # A live run that knows no locks may have replaced what was listed.
                if not damage or self._steps() == listed:
                    break
        for step, error in damage.items():
            warn(f"{error}; {self._folder(int(state.step))} is used instead")
            if which == "latest":
                self._set_aside(step)
        return state, found

    def _first_intact(self, like: Any, which: Which) -> tuple[Any, Seal | None, dict[int, Damaged]]:
        """The first in order that is whole, and what is wrong with those before it."""
        steps, damage = self._ranked(which)
        for step in steps:
            try:
                return *self._load(step, like), damage
            except Damaged as error:
                damage[step] = error
        if not damage:
            raise UserError(f"{self.path} holds no checkpoint")
        raise Damaged(
            f"{next(iter(damage.values()))}; no other is left: without {self.path} the run "
            "begins anew"
        )

    def _ranked(self, which: Which) -> tuple[list[int], dict[int, Damaged]]:
        """Steps in the order of preference, and those of which it cannot be told."""
        if which not in ("latest", "best"):
            raise UserError(f"unknown checkpoint {which!r}: valid: best, latest")
        steps = self._steps()[::-1]
        if which == "latest":
            return steps, {}
        scores, damage = {}, {}
        for step in steps:
            try:
                sealed = self._seal(step)
            except Damaged as error:
                damage[step] = error
                continue
            score = self._score(sealed)
            if score is not None:
                scores[step] = score
        # A stable sort: of equals the newest.
        return sorted(scores, key=scores.__getitem__, reverse=True), damage

    def _score(self, sealed: Seal | None) -> float | None:
        """What makes a checkpoint the best where it is largest, None where there is no such."""
        if sealed is None or not sealed.metrics or self._headline not in sealed.metrics:
            return None
        return self._sign * sealed.metrics[self._headline]

    def _load(self, step: int, like: Any) -> tuple[Any, Seal | None]:
        folder, sealed = self._folder(step), self._seal(step)
        if sealed is None or not sealed.form:
            return self._load_unsealed(folder, like), sealed
        if self._run is not None and sealed.run is not None:
            changes = self._run.changes_from(sealed.run)
            if changes:
                raise UserError(f"the checkpoint {folder} is of another run: {'; '.join(changes)}")
        _check_form(folder, sealed.form, seal.form_of(like))
        with _readable(folder):
            values = np.asarray(ocp.load(folder.absolute())[_VALUES])
        if seal.digest_of(np.ascontiguousarray(values)) != sealed.values:
            raise Damaged(f"the checkpoint {folder} is corrupt: its values are not those saved")
        return seal.unpacked(values, like), sealed

    def _load_unsealed(self, folder: Path, like: Any) -> Any:
        """A checkpoint as they were before seals: a tree of arrays, and metrics beside it."""
        with _readable(folder):
            saved = ocp.metadata(folder.absolute()).metadata
        if not saved:
            raise Damaged(f"the checkpoint {folder} is corrupt: it holds nothing")
        form = seal.form_of(saved)
        if [name for name, *_ in form] == [_VALUES]:
            raise Damaged(f"the checkpoint {folder} is corrupt: its seal is lost")
        _check_form(folder, form, seal.form_of(like))
        with _readable(folder):
            state = ocp.load(folder.absolute(), jax.tree.map(_abstract, like))
        bad = seal.not_finite(state.params)
        if bad is not None:
            raise Damaged(f"the checkpoint {folder} is corrupt: params.{bad} is not finite")
        warn(f"the checkpoint {folder} is older than seals: nothing tells whether it is damaged")
        return state

    def _seal(self, step: int) -> Seal | None:
        """The seal of a step, with no form where there is only what was before seals."""
        if step not in self._seals:
            self._seals[step] = _seal_in(self._folder(step))
        return self._seals[step]

    def _keep_latest_and_best(self) -> None:
        """Deletes all others, unless somebody reads: then after the next save."""
        if not self._writes:
            return
        best, damage = self._ranked("best")
        for step, error in damage.items():
            warn(f"{error}; it can be deleted")
            self._set_aside(step)
        kept = {*self._steps()[-1:], *best[:1]}
        superfluous = [step for step in self._steps() if step not in kept]
        with deleting(self.path) as allowed:
            for step in superfluous if allowed else ():
                # Out of sight first: what is killed in the midst is no checkpoint.
                gone = self.path / f".{step}.deleted"
                os.rename(self._folder(step), gone)
                shutil.rmtree(gone, ignore_errors=True)
                self._seals.pop(step, None)

    def _set_aside(self, step: int) -> None:
        """Keeps a damaged checkpoint under another name: the run will come to its step again."""
        if not self._writes:
            return
        target = self.path / f"{step}.damaged"
        shutil.rmtree(target, ignore_errors=True)
        try:
            os.rename(self._folder(step), target)
        except OSError as error:
            raise UserError(f"cannot rename {self._folder(step)}: {error.strerror}") from error
        self._seals.pop(step, None)

    def _remove_leftovers(self) -> None:
        """What a killed or failed process has half written or half deleted."""
        for entry in self.path.iterdir():
            if ".orbax-checkpoint-tmp" in entry.name or entry.name.endswith(".deleted"):
                shutil.rmtree(entry, ignore_errors=True)

    def _steps(self) -> list[int]:
        return steps_in(self.path)

    def _folder(self, step: int) -> Path:
        return self.path / str(step)

    def close(self) -> None:
        """Waits for all that was saved. Raises UserError if it cannot be written."""
        if jax.process_count() == 1:  # several must all come to `write`
            self.write()
        self.wait()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def steps_in(path: Path) -> list[int]:
    """The steps of the complete checkpoints below a folder, ascending. Raises UserError."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read the checkpoints in {path}: {error.strerror}") from error
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def latest_step(path: Path) -> int:
    """The step of the latest complete checkpoint below a folder, 0 without any; opens nothing."""
    return max(steps_in(path), default=0)


def runs_below(path: Path) -> list[Mapping[str, Any]]:
    """What the checkpoints below a folder say of their run, from the oldest; of damaged ones
    nothing."""
    found = []
    for step in steps_in(path):
        try:
            sealed = _seal_in(path / str(step))
        except Damaged:
            continue
        if sealed is not None and sealed.run is not None:
            found.append(sealed.run)
    return found


def _seal_in(folder: Path) -> Seal | None:
    """The seal of a checkpoint, with no form where there is only what was before seals."""
    with _readable(folder):
        # Read here, as Orbax takes a file that it cannot read for an empty one.
        metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
        found = seal.read_seal(metadata.get("custom_metadata"))
        if found is None and (folder / "metrics/metrics").is_file():
            metrics = json.loads((folder / "metrics/metrics").read_text(encoding="utf-8"))
            found = Seal("", [], metrics)
    return found


def _check_form(folder: Path, saved: seal.Form, expected: seal.Form) -> None:
    changes = seal.changes_of(saved, expected)
    if changes:
        raise UserError(f"the checkpoint {folder} is of another model: {'; '.join(changes)}")


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    # Orbax raises whatever its readers meet in damaged files; none of it names the cause.
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, BrokenSeal) else _reason(error)
        raise Damaged(f"the checkpoint {folder} is corrupt: {reason}") from error


def _reason(error: Exception) -> str:
    """What is wrong in a few words, whatever the libraries say around it."""
    text = str(error)
    for known in (
        "No space left on device",
        "Disk quota exceeded",
        "Permission denied",
        "File too large",
    ):
        if known in text:
            return known
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (text.splitlines() or [type(error).__name__])[0]


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
