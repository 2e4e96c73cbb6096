"""A run's directory: who may use it, what it is a run of, and its records."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, overload

from filelock import FileLock, Timeout

from ae_jax.core.commit import UNKNOWN, commit
from ae_jax.core.errors import UserError, warn
from ae_jax.core.files import (
    finite_or_none,
    make_directory,
    parse_json,
    read_table,
    write_json,
    write_text,
)
from ae_jax.core.registry import code_of, user_files
from ae_jax.core.trust import are_known, check_all, only_known_code
from ae_jax.data.base import DataSet
from ae_jax.train import identity
from ae_jax.train.checkpoints import runs_below
from ae_jax.train.config import AnyConfig, RunConfig, from_dict
from ae_jax.train.identity import Identity, describe, identity_of

__all__ = ["RunDirectory", "describe"]

_LOST = {"at": UNKNOWN, "commit": UNKNOWN}  # of a start of which nothing is known
_DIVERGED = "diverged"  # of the provenance
_CHECK = "check"  # of a line of metrics.jsonl: the first half of its md5


class RunDirectory:
    """Paths and records below one folder; `claim` it before writing.

    A small file that is lost or damaged is made again from what the checkpoints say of their run.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.data_file = self.path / "data.json"
        self.start_file = self.path / "start.json"
        self.provenance_file = self.path / "provenance.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.results_file = self.path / "results.json"
        self.facts_file = self.path / "facts.npz"
        self.report_file = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        # How the run that is claimed came about, until the first record of this claim is added.
        self._history: dict[str, Any] | None = None

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here, which may be any."""
        return self.config_file.exists() or self.checkpoints.is_dir()

    @contextmanager
    def claim(
        self,
        config: AnyConfig,
        dataset: DataSet,
        start: str | None = None,
        *,
        accept_code: bool = False,
    ) -> Iterator["RunDirectory"]:
        """Holds the directory for one run of this configuration on these examples.

        `start` is the fingerprint of the parameters that the run was given, if it was. A run may
        be given more epochs than it had. With `accept_code` so may the code of files of the user's
        that have changed since. Raises UserError if a live process holds the directory, or if it
        holds another run.
        """
        now = identity_of(config, dataset, start)
        make_directory(self.path)
        try:
            lock = _locked(self.path / ".lock", wait=False)
        except Timeout as error:
            raise UserError(f"{self.path} is in use by a run that is still going on") from error
        try:
            self._identify(now, config, accept_code)
            yield self
        finally:
            self._history = None
            lock.release()

    def _identify(self, now: Identity, config: AnyConfig, accept_code: bool) -> None:
        """Writes down what run this is, or compares it with what is written."""
        saved = self._saved_run()
        began: dict[str, Any] = {"environment": identity.environment(), "code": now.code}
        objective = config.objective if isinstance(config, RunConfig) else None
        began["headline"] = None if objective is None else objective.headline
        began["maximise"] = None if objective is None else objective.maximise
        if saved is None:
            self._write(now)
            self._write_provenance(began)
            self._history = began
            return
        changes = now.changes_from({**saved, "code": now.code})
        if changes:
            others = all(change.startswith(identity.OF_DATA) for change in changes)
            what = "on other data" if others else "of another configuration"
            raise UserError(
                f"{self.path} holds a run {what} ({'; '.join(changes)}); choose another workdir"
            )
        history = self._provenance(saved)
        noted = self._code_accepted(history, now, accept_code)
        noted |= self._said_of_environment(history)
        before = saved["config"].get("train", {}).get("epochs")
        if identity.is_extension(saved["config"], now.config):
            identity.say_if_not_as_in_one_go(config, before)
            noted["epochs"] = [before, now.config["train"]["epochs"]]
        if noted or saved["mended"]:
            self._write(now)
        if noted or {**history, **began} != history:
            if noted:
                history["changes"] = [*history["changes"], noted]
            self._write_provenance(history | began)
        self._history = history | began

    def _write(self, now: Identity) -> None:
        write_json(self.data_file, now.data)
        if now.start is not None:
            write_json(self.start_file, {"sha256": now.start})
        else:  # of a claim that was cut short before its configuration was written
            self.start_file.unlink(missing_ok=True)
        write_json(self.config_file, now.config)

    def _write_provenance(self, history: Mapping[str, Any]) -> None:
        write_json(self.provenance_file, history)

    def _code_accepted(
        self, history: Mapping[str, Any], now: Identity, accept_code: bool
    ) -> dict[str, Any]:
        """What to note of changed code. Raises UserError where the user has not accepted it."""
        before = history["code"]
        files = [] if before is None else identity.changed_files(before, now.code)
        if not files:
            return {}
        if not accept_code:
            raise _edited(self.path, files)
        return {"code": before}

    def _said_of_environment(self, history: Mapping[str, Any]) -> dict[str, Any]:
        """What to note of other versions or another device, which the user is told of."""
        before, now = history.get("environment"), identity.environment()
        if not isinstance(before, Mapping):
            return {}
        changes = [
            f"{name} {before.get(name)} -> {value}"
            for name, value in now.items()
            if before.get(name) != value
        ]
        if not changes:
            return {}
        warn(f"{self.path} was trained with {', '.join(changes)}: the last bits may differ")
        return {"environment": dict(before)}

    def _provenance(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """How the run came about so far; what is lost is taken from its checkpoints.

        The `code` of a run older than this is None: not known.
        """
        if os.path.lexists(self.provenance_file):
            try:
                return self._read_provenance()
            except UserError as error:
                warn(f"{error}; it is begun anew")
        return {"environment": None, "code": saved["code"], "changes": []}

    def _read_provenance(self) -> dict[str, Any]:
        kept = read_table(self.provenance_file, "environment", "code")
        history = {"changes": [], "trained": [], **kept}
        tables, lists = [history["environment"], history["code"]], ("changes", "trained")
        if (
            all(isinstance(history[name], list) for name in lists)
            and all(isinstance(table, dict) for table in [*tables, *history["changes"]])
            and all(map(_is_start, history["trained"]))
        ):
            return history
        raise UserError(f"{self.provenance_file} is damaged: it has another form")

    def identity(self, dataset: DataSet | None) -> Identity:
        """What run this is, on data that were found to be its own; None where they are not at
        hand. Raises UserError."""
        saved = self._saved_run(required=True)
        history = self._provenance(saved)
        code = code_of(saved["config"]) if history["code"] is None else history["code"]
        earlier = [change["code"] for change in history["changes"] if "code" in change]
        data = saved["data"] if dataset is None else describe(dataset)
        return Identity(saved["config"], data, saved["start"], code, earlier)

    def check_code(self, *, accept_code: bool = False) -> bool:
        """Whether the run is of this user and its files of code may have been edited since.

        Raises UserError where they were, unless that is accepted.
        """
        saved = self._saved_run(required=True)
        recorded = self._provenance(saved)["code"]
        if accept_code:
            return recorded is not None and are_known(recorded.values())
        if recorded is not None:
            files = identity.changed_files(recorded, code_of(saved["config"]))
            # What made the data is not executed where it is gone: facts of them may be kept.
            made_data = {str(path) for path in user_files(saved["config"].get("data"))}
            files = [file for file in files if file not in made_data or Path(file).exists()]
            if files:
                raise _edited(self.path, files)
        return False

    def config(self, *, trust: bool = True) -> AnyConfig:
        """The configuration of the run. Raises UserError if there is none.

        Without `trust`, it may name code only that this user has run before.
        """
        saved = self._saved_run(required=True)
        with only_known_code(trust):
            check_all(user_files(saved["config"]))
            return from_dict(saved["config"])

    def headline(self) -> str | None:
        """The metric that the run is compared by, which it wrote down itself: to know it, nothing
        of the user's code need be executed. None of a codec, an older run, or a damaged file."""
        try:
            said = self._read_provenance().get("headline")
        except UserError:
            return None
        return said if isinstance(said, str) else None

    def maximises(self) -> bool | None:
        """Whether the headline is better where it is larger, as `headline` knows it."""
        try:
            said = self._read_provenance().get("maximise")
        except UserError:
            return None
        return said if isinstance(said, bool) else None

    def start(self) -> str | None:
        """The fingerprint of the parameters that the run started from; None if it drew its own."""
        return self._saved_run(required=True)["start"]

    def check_data(self, dataset: DataSet) -> None:
        """Raises UserError if the examples are not those that the run was trained on."""
        saved = self._saved_run(required=True)
        changes = identity.data_changes(saved["data"], describe(dataset))
        if changes:
            raise UserError(f"the data of {self.path} has changed: {'; '.join(changes)}")

    @overload
    def _saved_run(self, required: Literal[True]) -> dict[str, Any]: ...

    @overload
    def _saved_run(self) -> dict[str, Any] | None: ...

    def _saved_run(self, required: bool = False) -> dict[str, Any] | None:
        """What run the directory holds, as plain data; None where it holds none.

        Files that are lost or damaged are replaced by what the checkpoints say. Raises UserError
        where those do not know either.
        """
        if not self.holds_run:
            if required:
                raise UserError(f"{self.path} is not a run's directory: it has no config.json")
            return None
        try:
            code = self._read_provenance()["code"]
        except UserError:
            code = None  # what is wrong is said where it is needed
        try:
            return {
                "config": read_table(self.config_file),
                "data": read_table(self.data_file, "sha256"),
                "start": read_table(self.start_file, "sha256")["sha256"]
                if self.start_file.exists()
                else None,
                "code": code,
                "mended": False,
            }
        except UserError as error:
            kept = runs_below(self.checkpoints)
            if kept:
                warn(f"{error}; what the checkpoints say of their run is taken instead")
                return {"start": None, "code": None, **kept[-1], "mended": True}
            if not self.config_file.exists():
                if not required and not any(self.checkpoints.iterdir()):
                    return None  # of a claim that was cut short
                raise UserError(
                    f"{self.path} is not a run's directory: it has no config.json, and nothing "
                    "tells what its checkpoints are of"
                ) from error
            raise

    def evaluated(self) -> list[dict[str, Any]]:
        """What `evaluate` has found so far, a row for each split and checkpoint. Raises UserError
        for a results.json that is damaged."""
        if not os.path.lexists(self.results_file):
            return []
        rows = read_table(self.results_file, "runs")["runs"]
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return rows
        raise UserError(f"{self.results_file} is damaged: it has to hold a list of runs; delete it")

    @contextmanager
    def adding_results(self) -> Iterator[list[dict[str, Any]]]:
        """What was evaluated, for one who adds to it: another who does waits. Raises UserError."""
        lock = _locked(self.path / ".results.lock", wait=True)
        try:
            yield self.evaluated()
        finally:
            lock.release()

    def records(self, step: int | None = None) -> list[dict[str, Any]]:
        """The records so far, or up to a step; damaged lines are left out.

        What was cut short at the end, as by a crash, is no damage.
        """
        if not self.metrics_file.exists():
            return []
        try:
            text = self.metrics_file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            warn(f"cannot read {self.metrics_file}: {error.strerror}; no record is known")
            return []
        lines = text.removesuffix("\n").split("\n")
        found = [_record_in(line) for line in lines]
        if any(one is not None and one[1] for one in found):  # then each line had its check
            found = [one if one is None or one[1] else None for one in found]
        damaged = [
            number
            for number, one in enumerate(found, 1)
            if one is None and text and (number < len(lines) or text.endswith("\n"))
        ]
        if damaged:
            some = ", ".join(map(str, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
            warn(f"{self.metrics_file} is damaged in line {some}, which is left out")
        records = [one[0] for one in found if one is not None]
        return records if step is None else [r for r in records if r["step"] <= step]

    def trained(self) -> list[dict[str, str]]:
        """Each time that training began or went on: when (`at`), and at which `commit`.

        Both are "unknown" of what was trained before this was kept, or whose provenance is lost.
        """
        try:
            starts = self._read_provenance()["trained"]
        except UserError:
            starts = []
        return starts or ([_LOST] if self._has_trained() else [])

    def _has_trained(self) -> bool:
        return self.metrics_file.exists() or any(self.checkpoints.glob("*"))

    def note_training(self) -> None:
        """Adds to the provenance that training begins or goes on, once after a claim.

        To be called before anything of it is written.
        """
        if self._history is None:
            return
        known = self._history.get("trained") or ([_LOST] if self._has_trained() else [])
        now = {"at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit()}
        history = {name: value for name, value in self._history.items() if name != _DIVERGED}
        self._write_provenance(history | {"trained": [*known, now]})
        self._history = None

    def note_divergence(self, how: str) -> None:
        """Adds to the provenance that training ended so, until it goes on or begins again."""
        self.note_training()
        try:
            history = self._read_provenance()
        except UserError:
            return  # which whoever opens the run next is told
        self._write_provenance(history | {_DIVERGED: how})

    def diverged(self) -> str | None:
        """How training diverged, where that is how it ended last."""
        try:
            how = self._read_provenance().get(_DIVERGED)
        except UserError:
            return None
        return how if isinstance(how, str) else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one record to metrics.jsonl; what is not finite becomes null, as JSON has it.

        With the first one after a claim, the provenance says when the run was trained.
        """
        self.note_training()
        try:
            with self.metrics_file.open("a", encoding="utf-8") as stream:
                stream.write(_line_of(record))
        except OSError as error:
            raise UserError(f"cannot write {self.metrics_file}: {error.strerror}") from error

    def rewind(self, step: int, last: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Drops the records after a step, which a resumed run will write again.

        `last` is the record of that step as its checkpoint has it, which stands in for a lost one.
        """
        records = self.with_last(self.records(step), step, last)
        self.check_records(records, step)
        text = "".join(map(_line_of, records))
        if (self.metrics_file.exists() or records) and not self._has_records(text):
            write_text(self.metrics_file, text)
        return records

    def _has_records(self, text: str) -> bool:
        """Whether the records on disk are these, so that they keep their time: a report has it."""
        try:
            return self.metrics_file.read_bytes() == text.encode()
        except OSError:
            return False

    def with_last(
        self, records: Sequence[Mapping[str, Any]], step: int, last: Mapping[str, Any] | None
    ) -> list[dict[str, Any]]:
        """Records with that of a step, taken from its checkpoint where they lack it."""
        known = [dict(record) for record in records]
        if last is None or any(record["step"] == step for record in known):
            return known
        warn(f"{self.metrics_file} lacks the record of step {step}: that of its checkpoint is used")
        return sorted([*known, dict(last)], key=lambda record: record["step"])

    def check_records(self, records: Sequence[Mapping[str, Any]], step: int) -> None:
        """Raises UserError where the record of the checkpoint at a step is lost."""
        if step and all(record["step"] != step for record in records):
            raise UserError(
                f"{self.metrics_file} is damaged: the record of step {step}, at which the run was "
                f"saved, is not in it; without {self.checkpoints} the run begins anew"
            )


def _is_start(entry: object) -> bool:
    if not isinstance(entry, dict) or entry.keys() != {"at", "commit"}:
        return False
    return all(isinstance(value, str) for value in entry.values())


def _locked(path: Path, wait: bool) -> FileLock:
    """The lock of a file, acquired. Raises Timeout where another has it and there is no waiting,
    and UserError where the file system has no locks."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot lock {path}: {reason}") from error
    return lock


def _edited(path: Path, files: Sequence[str]) -> UserError:
    gone = [file for file in files if not Path(file).exists()]
    if gone:
        return UserError(f"{', '.join(gone)}, which {path} was trained with, is gone: put it back")
    return UserError(
        f"{', '.join(files)} was edited since {path} was trained with it: go on with the code as "
        "it is now by --accept-code (in Python accept_code=True), or choose another --workdir"
    )


def _line_of(record: Mapping[str, Any]) -> str:
    """A line of metrics.jsonl, whose last entry tells whether a bit of it has changed."""
    values = finite_or_none(record)
    return json.dumps({**values, _CHECK: _check_of(values)}, allow_nan=False) + "\n"


def _record_in(line: str) -> tuple[dict[str, Any], bool] | None:
    """The record of a line and whether it had a check, as all but older lines have; None for one
    that is damaged."""
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(record, dict) and isinstance(record.get("step"), int)):
        return None
    check = record.pop(_CHECK, None)
    return (record, check is not None) if check in (None, _check_of(record)) else None


def _check_of(values: Mapping[str, Any]) -> str:
    text = json.dumps(values)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]
