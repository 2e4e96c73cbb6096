"""Flips, cuts and replacements of every file of a run."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import RunWarning, UserError
from faults.shared import Account, is_sentence, two_clusters

# Orbax leaves its failed reads of damaged files behind it, unawaited.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 3, "batch_size": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return two_clusters(tmp_path_factory.mktemp("data") / "x.npy")


@pytest.fixture(scope="module", params=["network", "codec"])
def run(request, data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "run"
    options = SMALL if request.param == "network" else {"codec": "kmeans", "latent_dim": 3}
    ae_jax.fit(ae_jax.data.load(str(data)), workdir=path, data__name=str(data), **options)
    return path


def damaged(content: bytes, how: str, rng: np.random.Generator) -> bytes:
    if how == "flip" and content:
        place, out = int(rng.integers(len(content))), bytearray(content)
        out[place] ^= 1 << int(rng.integers(8))
        return bytes(out)
    return {"cut": content[: len(content) // 2], "empty": b"", "flip": b"x"}.get(how, b"\0{[" * 50)


def codes_or_sentence(run: Path, right: np.ndarray, account: Account, what: str) -> None:
    """Loads a run and encodes with it; takes down what came of it."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            codes = ae_jax.load(run).encode(right["x"])
        except UserError as error:
            account.took(what, "answered" if "\n" not in str(error) else "tracebacks")
            return
    said = any(issubclass(one.category, RunWarning) for one in heard)
    same = np.array_equal(codes, right["z"])
    account.took(what, "answered" if same or said else "wrong")


def copies(run: Path, folder: Path, repeats: int):
    """Copies of the run, each with one file damaged in one way, and what was done to it."""
    rng = np.random.default_rng(0)
    for file in sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file()):
        for how in ("flip",) * repeats + ("cut", "empty", "garbage"):
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(run, copy)
            (copy / file).write_bytes(damaged((copy / file).read_bytes(), how, rng))
            yield copy, f"{how} of {file}"


@pytest.mark.slow_cases("codec-1")
@pytest.mark.parametrize("repeats", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_damage_to_any_file_is_a_sentence_or_the_same_codes(run, data, tmp_path, repeats):
    x, account = np.load(data)[:50], Account()
    right = {"x": x, "z": ae_jax.load(run).encode(x)}
    for copy, what in copies(run, tmp_path, repeats):
        codes_or_sentence(copy, right, account, what)
    account.settle("damage")


FILES = ("config.json", "data.json", "metrics.jsonl", "provenance.json", "results.json", ".lock")


@pytest.mark.slow_cases(
    "codec-metrics.jsonl", "codec-data.json", "network-config.json", "codec-config.json"
)
@pytest.mark.parametrize("name", FILES)
def test_commands_on_a_damaged_run_end_with_a_sentence(name, run, command, tmp_path):
    """What is there instead: another type, a folder, a link to itself, nothing."""
    account = Account()
    train = ("train", "--config", run / "config.json", "--workdir")
    for what in ("[]", '{"runs": [3]}', "folder", "link", "nothing"):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        (copy / name).unlink(missing_ok=True)
        if what == "folder":
            (copy / name).mkdir()
        elif what == "link":
            (copy / name).symlink_to(name)
        elif what != "nothing":
            (copy / name).write_text(what)
        for arguments in (("evaluate", copy), (*train, copy)):
            status, _, err = command(*arguments)
            fine = status == 0 or (status == 2 and is_sentence(err))
            account.took(
                f"{arguments[0]} with {what} for {name}: {status} {err}",
                "answered" if fine else "tracebacks",
            )
    account.settle(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("commands")


def test_a_shortened_account_of_a_fit_does_not_change_how_it_ended(data, tmp_path):
    whole = ae_jax.fit(ae_jax.data.load(str(data)), workdir=tmp_path, codec="kmeans", latent_dim=3)
    assert whole.records[-1]["converged"]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:1]))
    for again in (
        lambda: ae_jax.fit(
            ae_jax.data.load(str(data)), workdir=tmp_path, codec="kmeans", latent_dim=3
        ),
        lambda: ae_jax.load(tmp_path, data=ae_jax.data.load(str(data))),
    ):
        with pytest.warns(RunWarning, match="that of its checkpoint is used"):
            records = again().records
        assert records[-1] == whole.records[-1]
