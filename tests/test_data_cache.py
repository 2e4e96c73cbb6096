"""Preparation on disk: whole or not at all, once for many processes, and light to reopen."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.core.files import cache_root
from ae_jax.data.base import Split
from ae_jax.data.protocols import Stored
from ae_jax.data.sources import cache
from ae_jax.data.sources.base import CachedSource

X = np.arange(60, dtype=np.uint8).reshape(10, 6)
Y = np.arange(10, dtype=np.int32)
LIBRARY = str(Path(ae_jax.__file__).parent.parent)


def build(work, log):
    (work / "scratch").write_bytes(b"intermediate")
    with (cache_root() / "builds").open("a") as file:
        file.write("built\n")
    return Stored(Split(X[:8], Y[:8]), Split(X[8:], Y[8:]), valid_count=2, max_value=59.0)


def build_slowly(work, log):
    time.sleep(0.5)
    return build(work, log)


TOY = CachedSource("toy", build, ("prepared files", "a function"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path))
    return tmp_path / "toy"


def times_built():
    return (cache_root() / "builds").read_text().count("built")


def silent(line):
    pass


def test_prepared_once_then_memory_mapped(folder):
    assert TOY.peek(silent) is None
    TOY.stored(silent)
    stored = TOY.stored(silent)
    assert times_built() == 1
    for array, expected in [
        (stored.train.x, X[:8]),
        (stored.train.y, Y[:8]),
        (stored.test.x, X[8:]),
        (stored.test.y, Y[8:]),
    ]:
        assert isinstance(array, np.memmap) and not array.flags.writeable
        np.testing.assert_array_equal(array, expected)
    assert (stored.valid_count, stored.max_value) == (2, 59.0)
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "x_test.npy",
        "x_train.npy",
        "y_test.npy",
        "y_train.npy",
    ]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def another_shape(path):
    path.write_bytes(path.read_bytes().replace(b"(8, 6)", b"(6, 8)"))


def another_header(path):
    path.write_bytes(b"?" + path.read_bytes()[1:])


def flipped_bit(path):
    """Also where the clock of the file system tells nothing: another process opens it."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 8
    path.write_bytes(content)
    cache._verified.clear()


@pytest.mark.parametrize(
    "harm", [truncate, another_shape, another_header, flipped_bit, Path.unlink]
)
def test_damaged_arrays_are_noticed_on_opening_and_made_again(folder, harm):
    TOY.stored(silent)
    harm(folder / "x_train.npy")
    lines = []
    np.testing.assert_array_equal(TOY.stored(lines.append).train.x, X[:8])
    assert "damaged (x_train.npy" in lines[0]
    assert times_built() == 2


FORMS = [
    '{"version": 2, "arrays": {}}',
    '{"version": 2, "arrays": [1]}',
    '{"version": 2, "arrays": {"x_train": 3}}',
    '{"version": 2, "arrays": {"x_train": {"bytes": []}}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", ["", "[]", "{}", *FORMS])
def test_damaged_manifest_is_noticed(folder, text):
    TOY.stored(silent)
    (folder / "manifest.json").write_text(text)
    TOY.stored(silent)
    assert times_built() == 2


def test_a_folder_for_a_manifest_is_noticed(folder):
    TOY.stored(silent)
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    TOY.stored(silent)
    assert times_built() == 2


def test_a_process_looks_at_the_bytes_once(folder, monkeypatch):
    TOY.stored(silent)
    monkeypatch.setattr(cache, "sha256_of", None)
    TOY.stored(silent)


def test_prepare_verifies_every_byte(folder):
    TOY.prepare(silent)
    path = folder / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    lines = []
    assert TOY.prepare(lines.append) == folder
    assert "x_train.npy has another sha256" in lines[0]
    np.testing.assert_array_equal(TOY.stored(silent).train.x, X[:8])
    assert TOY.prepare(lines.append) and "sha256 verified" in lines[-1]
    assert times_built() == 2


def test_failed_preparation_leaves_the_old_state(folder):
    def fail(work, log):
        (work / "half").write_bytes(b"half")
        raise UserError("no source")

    with pytest.raises(UserError, match="no source"):
        CachedSource("toy", fail, ()).stored(silent)
    assert not folder.exists() and not (folder.parent / ".toy.new").exists()
    assert len(TOY.stored(silent).train) == 8


def prepare_slowly(root, barrier):
    os.environ["AE_JAX_CACHE"] = root
    barrier.wait()
    CachedSource("toy", build_slowly, ()).stored(silent)


@pytest.mark.slow
def test_two_processes_at_once_prepare_once(folder):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [
        context.Process(target=prepare_slowly, args=(str(folder.parent), barrier)) for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=30)
    assert [process.exitcode for process in both] == [0, 0]
    assert times_built() == 1
    assert len(TOY.stored(silent).train) == 8


KILLED = """
import os, signal
from ae_jax.data.sources.base import CachedSource

def build(work, log):
    (work / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

CachedSource("toy", build, ()).stored(print)
"""


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": LIBRARY, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_killed_preparation_does_not_break_the_next(folder):
    assert run_python(KILLED).returncode == -9
    assert (folder.parent / ".toy.new" / "work" / "half").exists()
    assert TOY.peek(silent) is None
    assert len(TOY.stored(silent).train) == 8
    assert not (folder.parent / ".toy.new").exists()


def test_cache_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot prepare data set toy in .*AE_JAX_CACHE"):
        TOY.stored(silent)


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    assert cache_root() == tmp_path
    monkeypatch.delenv("AE_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "ae_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "ae_jax"


@pytest.mark.slow
def test_reopening_imports_nothing_heavy():
    """Once prepared, a set opens without its builder's libraries and without jax."""
    code = "import sys; from ae_jax.data import load; load('digits'); print(*sys.modules)"
    assert run_python(code).returncode == 0
    modules = set(run_python(code).stdout.split())
    heavy = {"tensorflow_datasets", "tensorflow", "jax", "sklearn", "scipy", "PIL", "pooch"}
    assert not heavy & modules
