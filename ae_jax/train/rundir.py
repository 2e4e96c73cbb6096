"""A run's directory: who may use it, what it is a run of, and its records."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ae_jax.core.errors import UserError
from ae_jax.core.files import finite_or_none, make_directory, read_json, write_json, write_text
from ae_jax.data.base import DataSet
from ae_jax.train.config import AnyConfig, differences, from_dict, to_dict


class RunDirectory:
    """Paths and records below one folder; `claim` it before writing."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.data_file = self.path / "data.json"
        self.start_file = self.path / "start.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.results_file = self.path / "results.json"
        self.report_file = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"

    @contextmanager
    def claim(
        self, config: AnyConfig, dataset: DataSet, start: str | None = None
    ) -> Iterator["RunDirectory"]:
        """Holds the directory for one run of this configuration on these examples.

        `start` is the fingerprint of the parameters that the run was given, if it was. Raises
        UserError if a live process holds the directory, or if it holds another run.
        """
        make_directory(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{self.path} is in use by a run that is still going on") from error
        try:
            self._identify(config, dataset, start)
            yield self
        finally:
            lock.release()

    def _identify(self, config: AnyConfig, dataset: DataSet, start: str | None) -> None:
        values = to_dict(config)
        if self.config_file.exists():
            # Read back through the dataclasses: options that are newer than the run have defaults.
            found = to_dict(from_dict(read_json(self.config_file)))
            changes = differences(found, values) + self._data_changes(dataset)
            changes += differences({"start": self.start()}, {"start": start})
            if changes:
                raise UserError(
                    f"{self.path} holds a run of another configuration ({'; '.join(changes)}); "
                    "choose another --workdir"
                )
            return
        write_json(self.data_file, describe(dataset))
        if start is not None:
            write_json(self.start_file, {"sha256": start})
        else:  # of a claim that was cut short before its configuration was written
            self.start_file.unlink(missing_ok=True)
        write_json(self.config_file, values)

    def config(self) -> AnyConfig:
        """The configuration of the run. Raises UserError if there is none."""
        if not self.config_file.is_file():
            raise UserError(f"{self.path} is not a run's directory: it has no config.json")
        return from_dict(read_json(self.config_file))

    def start(self) -> str | None:
        """The fingerprint of the parameters that the run started from; None if it drew its own."""
        return read_json(self.start_file)["sha256"] if self.start_file.is_file() else None

    def check_data(self, dataset: DataSet) -> None:
        """Raises UserError if the examples are not those that the run was trained on."""
        changes = self._data_changes(dataset)
        if changes:
            raise UserError(f"the data of {self.path} has changed: {'; '.join(changes)}")

    def _data_changes(self, dataset: DataSet) -> list[str]:
        """In what the examples differ from those of the run; their name and place do not count."""
        found, now = read_json(self.data_file), describe(dataset)
        return differences(found | {"name": ""}, now | {"name": ""})

    def records(self, step: int | None = None) -> list[dict[str, Any]]:
        """The records so far, or up to a step; what comes after a damaged line is left out."""
        if not self.metrics_file.exists():
            return []
        records = []
        for line in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            if not (isinstance(record, dict) and "step" in record):
                break
            records.append(record)
        return records if step is None else [r for r in records if r["step"] <= step]

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one record to metrics.jsonl; what is not finite becomes null, as JSON has it."""
        line = json.dumps(finite_or_none(record), allow_nan=False) + "\n"
        try:
            with self.metrics_file.open("a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            raise UserError(f"cannot write {self.metrics_file}: {error.strerror}") from error

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drops the records after a step, which a resumed run will write again."""
        records = self.records(step)
        self.check_records(records, step)
        if self.metrics_file.exists():
            write_text(self.metrics_file, "".join(json.dumps(r) + "\n" for r in records))
        return records

    def check_records(self, records: Sequence[Mapping[str, Any]], step: int) -> None:
        """Raises UserError where the record of the checkpoint at a step is lost."""
        if step and all(record["step"] != step for record in records):
            raise UserError(
                f"{self.metrics_file} is damaged: the record of step {step}, at which the run was "
                "saved, is not in it; another --workdir trains anew"
            )


def describe(dataset: DataSet) -> dict[str, Any]:
    """What tells one data set from another: name, sizes, shape and the sha256 of its bytes."""
    return {
        "name": dataset.name,
        "shape": list(dataset.shape),
        "examples": {name: len(split) for name, split in sorted(dataset.splits.items())},
        "sha256": dataset.fingerprint,
    }
