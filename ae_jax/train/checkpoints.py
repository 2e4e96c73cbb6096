"""Checkpoints through Orbax: the latest and the best of a run, kept apart."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from ae_jax.core.errors import UserError

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints below a folder; at most two are kept, the latest and the best.

    One that was saved without metrics can be the latest and never the best.

    A checkpoint is written while training goes on, and complete at the latest when the next is
    saved or the object is closed; several processes complete it together at once. Writing is
    atomic: a crash leaves the ones before it. Only the process that has claimed the run may open
    them for writing; `read_only` leaves alone what another process may be writing.
    """

    def __init__(self, path: Path, headline: str, maximise: bool, *, read_only: bool = False):
        sign = 1.0 if maximise else -1.0
        best = _policies.BestN(
            get_metric_fn=lambda metrics: sign * metrics[headline],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self.path = path
        self._score = lambda checkpoint: sign * checkpoint.metrics[headline]
        with _readable(path):
            self._checkpointer = ocp.training.Checkpointer(
                path.absolute(),
                preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(1), best]),
                cleanup_tmp_directories=not read_only,
            )

    def save(self, state: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Starts to save the state under its step; `metrics`, if any, hold the headline.

        The state may change or go once this returns. Raises UserError where this checkpoint or
        the one before cannot be written.
        """
        known = None if metrics is None else dict(metrics)
        self.wait()
        with self._writing():
            self._checkpointer.save_async(int(state.step), state, metrics=known, force=True)
        if jax.process_count() > 1:
            # They meet on the devices to finish a checkpoint, and must not meet there to train
            # in the meantime: each would wait for the others at another place.
            self.wait()

    def wait(self) -> None:
        """Returns when what was saved is complete. Raises UserError if it cannot be written."""
        with self._writing():
            self._checkpointer.wait()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write a checkpoint in {self.path}: {error}") from error

    def step(self, which: Literal["latest", "best"] = "latest") -> int | None:
        """The step of the latest or best checkpoint; None if there is none. Raises UserError."""
        if which not in ("latest", "best"):
            raise UserError(f"unknown checkpoint {which!r}: valid: best, latest")
        self.wait()
        found = self._checkpointer.checkpoints
        with _readable(self.path):
            if which == "best":
                found = sorted((one for one in found if one.metrics), key=self._score)
        return found[-1].step if found else None

    def restore(self, like: Any, which: Literal["latest", "best"] = "latest") -> Any:
        """The latest or best state, with the structure and placement of `like`.

        Raises UserError if there is none, or if it belongs to another model or optimiser.
        """
        step = self.step(which)
        if step is None:
            raise UserError(f"{self.path} holds no checkpoint")
        try:
            return self._load(step, like)
        except UserError:
            # A live run may have replaced the checkpoint since the folder was listed.
            self._checkpointer.reload()
            newer = self.step(which)
            if newer in (None, step):
                raise
            return self._load(newer, like)

    def _load(self, step: int, like: Any) -> Any:
        self._check_structure(step, like)
        abstract = jax.tree.map(_abstract, like)
        with _readable(self.path / str(step)):
            return self._checkpointer.load(step, abstract)

    def _check_structure(self, step: int, like: Any) -> None:
        with _readable(self.path / str(step)):
            saved = _shapes(self._checkpointer.metadata(step).metadata)
        if not saved:
            raise UserError(f"the checkpoint {self.path / str(step)} is corrupt: it holds nothing")
        expected = _shapes(like)
        changes = [
            f"{name}: {saved.get(name, 'absent')} saved, {expected.get(name, 'absent')} expected"
            for name in sorted({*saved, *expected})
            if saved.get(name) != expected.get(name)
        ]
        if changes:
            raise UserError(
                f"the checkpoint {self.path / str(step)} is of another model: {'; '.join(changes)}"
            )

    def close(self) -> None:
        """Waits for what was saved. Raises UserError if it cannot be written."""
        with self._writing():
            self._checkpointer.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def latest_step(path: Path) -> int:
    """The step of the latest complete checkpoint below a folder, 0 without any; opens nothing."""
    if not path.is_dir():
        return 0
    return max((int(folder.name) for folder in path.iterdir() if folder.name.isdigit()), default=0)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    # Orbax raises whatever its readers meet in damaged files; none of it names the cause.
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the checkpoint {folder} is corrupt: {reason}") from error


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(np.shape(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
