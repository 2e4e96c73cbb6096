"""A file of a run that is JSON still, and says something else: the same codes or a sentence."""

import contextlib
import io
import json
import random
import shutil
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import ae_jax
from ae_jax.cli import runs
from ae_jax.core.errors import RunWarning, UserError
from ae_jax.report.pages import evaluated_tables, markdown_table
from ae_jax.train.rundir import RunDirectory, _check_of
from faults.shared import Account, two_clusters

OPTIONS = {
    "network": {"latent_dim": 2, "hidden": [4], "epochs": 2, "batch_size": 64},
    "codec": {"codec": "kmeans", "latent_dim": 3},
}
FILES = ("config.json", "data.json", "metrics.jsonl", "provenance.json", "results.json")
WILD = (
    *(None, True, -1, 0, 1.5, 10**320, 2**63, -(2**63), 1e300, float("nan"), float("inf")),
    *("", "x", "a.py:B", "\0", "9" * 400, "../..", [], [[]], [1, 2, 3], {}, {"a": 1}),
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder with a run of each kind, the data and the codes that are right."""
    folder = tmp_path_factory.mktemp("kept")
    data = ae_jax.data.load(str(two_clusters(folder / "x.npy")))
    for kind, options in OPTIONS.items():
        model = ae_jax.fit(data, workdir=folder / kind, data__name=data.name, **options)
        np.save(folder / f"{kind}.npy", model.encode(np.load(folder / "x.npy")))
        rows = [{"split": "test", "checkpoint": "latest", "squared_error": 1.0}]
        (folder / kind / "results.json").write_text(json.dumps({"claims": [], "runs": rows}))
    return folder


def places(value, path=()):
    """The path of every value inside of a value of JSON, and of itself."""
    yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


def changed(value, choose: random.Random):
    """The value with another one in some place, or one more or less there."""
    path, new = choose.choice(list(places(value))), choose.choice(WILD)
    if not path:
        return new
    value, how = json.loads(json.dumps(value)), choose.choice(["set", "leave out", "add"])
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if how == "leave out":
        del inner[path[-1]]
    elif how == "add" and isinstance(inner, list):
        inner.append(new)
    else:
        inner[path[-1] if how == "set" else "new"] = new
    return value


def change(file: Path, choose: random.Random) -> None:
    """Changes a file; a line of metrics.jsonl may have the check of what it says now."""
    if file.suffix != ".jsonl":
        file.write_text(json.dumps(changed(json.loads(file.read_text()), choose)))
        return
    lines = file.read_text().splitlines()
    place = choose.randrange(len(lines))
    record = changed(json.loads(lines[place]), choose)
    if isinstance(record, dict) and choose.random() < 0.7:
        record.pop("check", None)
        record["check"] = _check_of(record)
    file.write_text("\n".join([*lines[:place], json.dumps(record), *lines[place + 1 :]]) + "\n")


def told(run: Path) -> None:
    """What lists and reports say of a run."""
    with contextlib.redirect_stdout(io.StringIO()):
        runs.show(run.parent)
    for table in evaluated_tables(RunDirectory(run)):
        markdown_table(table.rows)


def gone_on_with(run: Path, right: Path, data) -> None:
    """What a command that trains finds there, with the right configuration."""
    config = RunDirectory(right).config()
    directory = RunDirectory(run)
    with directory.claim(config, data):
        directory.rewind(0)
    assert directory.config() == config


@pytest.mark.slow
@pytest.mark.parametrize("count", [26, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_changed_file_is_a_sentence_or_the_same_codes(count, kept, tmp_path):
    x, account = np.load(kept / "x.npy"), Account()
    data, run = ae_jax.data.load(str(kept / "x.npy")), tmp_path / "copies/run"

    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        derandomize=True,
    )  # fmt: skip
    @given(
        st.sampled_from(list(OPTIONS)), st.sampled_from(FILES), st.integers(0, 2**32), st.booleans()
    )
    def of(kind, name, seed, alone):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(kept / kind, run)
        if alone:  # nothing else knows what run it is
            shutil.rmtree(run / "checkpoints")
        change(run / name, random.Random(seed))
        what = f"{name} of a {kind}, change {seed}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunWarning)
            for use in (
                lambda: told(run),
                lambda: ae_jax.load(run, data=data).encode(x),
                lambda: gone_on_with(run, kept / kind, data),
            ):
                try:
                    codes = use()
                except UserError as error:
                    account.took(what, "answered" if "\n" not in str(error) else "tracebacks")
                    continue
                same = codes is None or np.array_equal(codes, np.load(kept / f"{kind}.npy"))
                account.took(what, "answered" if same else "wrong")

    of()
    account.settle("changed files")
