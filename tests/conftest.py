"""The strict ground that all tests stand on, and small data for all of them.

Settings come before JAX is imported: eight CPU devices, so that every mode of parallel execution
can be tested anywhere, and an error wherever arrays of different rank broadcast by accident.
Programs here are tiny and mostly run once, so that compiling them is what takes time: XLA leaves
most of its optimisations out, unless JAX_DISABLE_MOST_OPTIMIZATIONS=0 asks for them, and the new
emitters of fused loops, which take twice as long to compile what then runs faster; and it does not
split a program into parts, as there are few cores and small programs (XLA_FLAGS= asks for both).
"""

import fnmatch
import gc
import importlib.metadata
import os
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA ends at a flag it has not
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

if "ae_jax" not in sys.modules:
    from jaxtyping import install_import_hook

    # What these rooms say of shapes in their signatures is checked at every call of every test.
    install_import_hook(["ae_jax.distributions.divergence", "ae_jax.eval"], "shapes.checked")

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ae_jax.cli import main
from ae_jax.data import DataSet, Split

# Without what a first import leaves behind, each child of a test compiles the library's code anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the tests in the background has them ignore Ctrl-C, and nohup that their
# terminal is gone; their children would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(config, items):
    """Marks the cases as slow that `slow_cases` names of a parametrised test.

    The dearer members of a family are named, and not those that stay: a new one is tested by
    `make test` too. A name may be a pattern; one that is no case any more ends the collection.
    """
    named, found = set(), set()
    for item in items:
        for mark in item.iter_markers("slow_cases"):
            for name in mark.args:
                case = item.path, item.originalname, name
                named.add(case)
                if fnmatch.fnmatchcase(item.callspec.id, name):
                    found.add(case)
                    item.add_marker("slow")
    if named - found and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"slow cases that there are not: {sorted(named - found)}")


def pytest_collection_finish():
    """Spares the garbage collector what stays to the end, and it looks at the rest less often."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _compile_once():
    """Reads a program that an earlier test had compiled from a folder of this process alone.

    Its children have one of their own: what a killed one has half written is not read here. The
    user's folder is not touched.
    """
    always = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for option, value in {**always, "jax_compilation_cache_dir": f"{folder}/own"}.items():
            jax.config.update(option, value)
        for option, value in {**always, "jax_compilation_cache_dir": f"{folder}/children"}.items():
            patch.setenv(option.upper(), str(value))
        compilation_cache.reset_cache()
        yield


@pytest.fixture(scope="session", autouse=True)
def _remember_nothing():
    """Keeps what is remembered of the user apart, in the children too."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AE_JAX_STATE", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def _leave_no_reports():
    """Trains at the command line without the report that it ends with, unless a test asks for it:
    to draw one takes longer than such a training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AE_JAX_REPORT", "0")
        yield


@pytest.fixture(scope="module", autouse=True)
def _drop_compiled_programs():
    """Lets compiled programs go when they hold many memory maps: a process may have 65,530 on
    Linux, and XLA ends with a segmentation fault where it gets no more."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 40_000:
        jax.clear_caches()


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Runs `ae-jax` in this process, in the `folder` of the test's module.

    Returns the exit status, standard output and standard error.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AE_JAX_CACHE", str(folder / "cache"))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ae-jax", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def image_set() -> DataSet:
    """8x8x1 uint8 images of one bar each, at a random place; labels: upright (1) or lying (0)."""
    return DataSet(
        "bars",
        {
            "train": _bars(200, seed=1),
            "valid": _bars(40, seed=2),
            "test": _bars(40, seed=3),
        },
        max_value=255.0,
    )


@pytest.fixture(scope="session")
def vector_set() -> DataSet:
    """Real vectors [6] near a plane: two normal factors, mixed, with noise of 0.1; no labels."""
    return DataSet(
        "plane",
        {
            "train": _plane(200, seed=1),
            "valid": _plane(40, seed=2),
            "test": _plane(40, seed=3),
        },
    )


def _bars(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    upright = rng.integers(0, 2, count)
    place = rng.uniform(1, 7, count)[:, None]
    profile = np.exp(-0.5 * ((np.arange(8) - place) / 0.8) ** 2)  # [N, 8]
    flat, tall = profile[:, :, None], profile[:, None, :]
    bars = np.where(upright[:, None, None] == 1, tall, flat) * np.ones((count, 8, 8))
    grey = np.clip(230 * bars + rng.normal(0, 8, bars.shape), 0, 255)
    return Split(grey.astype(np.uint8)[..., None], upright.astype(np.int32))


def _plane(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    mixing = np.linspace(-1, 1, 12).reshape(2, 6) ** 3 + np.eye(2, 6)
    x = rng.normal(size=(count, 2)) @ mixing + 0.1 * rng.normal(size=(count, 6))
    return Split(x.astype(np.float32))
