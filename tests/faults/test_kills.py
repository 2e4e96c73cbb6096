"""Killed without warning, at any moment: nothing is lost, and the end is the same."""

import os
import zlib
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.cli import shell
from ae_jax.data.sources import cache
from ae_jax.train.checkpoints import latest_step
from faults.shared import (
    Account,
    environment,
    forking,
    lines_of,
    records_of,
    start,
    two_clusters,
    wait_until,
)

OPTIONS = {"latent_dim": 2, "hidden": [4], "batch_size": 16}


def fit(kind: str, folder: str | Path, name: str, epochs: int):
    """A run of that kind; returns what it ended with."""
    folder, options = Path(folder), {**OPTIONS, "epochs": epochs}
    data = ae_jax.data.load(str(folder / "x.npy"))
    if kind == "codec":
        return ae_jax.fit(data, workdir=folder / name, codec="kmeans", latent_dim=5).params
    if kind == "grid":
        from ae_jax.api import configure
        from ae_jax.train.grid import Member, train_grid

        configs = [configure(None, {**options, "seed": seed}) for seed in range(3)]
        members = [Member(f"seed={c.train.seed}", c) for c in configs]
        ends = train_grid(members, data, folder / name, stack="always")
        return {one: end.state for one, end in ends.items()}
    more = {"data__memory_budget": 3 * 1000 * 24} if kind == "streamed" else {}
    return ae_jax.fit(data, workdir=folder / name, **options, **more).params


@pytest.mark.slow_cases("1-12-streamed", "1-12-grid", "1-12-codec")
@pytest.mark.parametrize("kind", ["single", "streamed", "grid", "codec"])
@pytest.mark.parametrize("kills, epochs", [(1, 12), pytest.param(50, 60, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_bits_of_one_never_killed(kind, kills, epochs, tmp_path):
    """One that has come to its end in spite of all is followed by another."""
    two_clusters(tmp_path / "x.npy")
    rng, account = np.random.default_rng(int.from_bytes(os.urandom(4))), Account()
    whole = jax.device_get(fit(kind, tmp_path, "whole", epochs))
    run, runs = tmp_path / "run 0", [tmp_path / "run 0"]
    imports = "import ae_jax.train.grid; from ae_jax.train import loop; "
    imports += "from faults.test_kills import fit; loop.LOOK_SECONDS = 0.0"
    with forking(tmp_path, imports) as forked:
        for kill in range(kills):
            process = forked(f"fit({kind!r}, '.', {run.name!r}, {epochs})")
            if kill % 2:  # it trains or saves, further on than the one before
                known = lines_below(run)
                wait_until(process, lambda run=run, known=known: lines_below(run) > known)
                process.kill(after=rng.exponential(0.3))
            else:  # it compiles, mostly
                wait_until(
                    process,
                    lambda run=run: any(
                        one.exists() for one in (run / ".lock", *run.glob("*/.lock"))
                    ),
                )
                process.kill(after=rng.exponential(1.0))
            said = (tmp_path / "errors").read_text()
            account.took(
                f"kill {kill}: {said}", "tracebacks" if "Traceback" in said else "answered"
            )
            if steps_of(run) == steps_of(tmp_path / "whole"):
                run = tmp_path / f"run {len(runs)}"
                runs.append(run)
    for run in runs:
        chex.assert_trees_all_equal(jax.device_get(fit(kind, tmp_path, run.name, epochs)), whole)
        for file in (tmp_path / "whole").rglob("metrics.jsonl"):
            here = run / file.parent.relative_to(tmp_path / "whole")
            assert records_of(here) == records_of(file.parent)
    account.settle(f"kills of {kind} runs, {len(runs)} of them")


def lines_below(run: Path) -> int:
    """The records of a run, or of all members of a grid."""
    return sum(map(lines_of, [run, *run.glob("*/")]))


def steps_of(run: Path) -> dict[str, int]:
    """Where a run, or each member of a grid, was saved last."""
    folders = run.rglob("checkpoints")
    return {str(folder.relative_to(run)): latest_step(folder) for folder in folders}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_while_it_prepares_data_the_next_one_prepares_them(kills, tmp_path, monkeypatch):
    rng, folder = np.random.default_rng(int.from_bytes(os.urandom(4))), tmp_path / "cache/digits"
    account, imports = Account(), "import sklearn.datasets; from ae_jax.data import load"
    with forking(tmp_path, imports) as forked:
        for kill in range(kills):
            process = forked("load('digits')")
            wait_until(process, lambda: (tmp_path / "cache").exists())
            process.kill(after=rng.exponential(0.02))
            said = (tmp_path / "errors").read_text()
            account.took(
                f"kill {kill}: {said}", "tracebacks" if "Traceback" in said else "answered"
            )
    monkeypatch.setenv("AE_JAX_CACHE", environment(tmp_path)["AE_JAX_CACHE"])
    assert (
        len(ae_jax.data.load("digits", protocol="full").splits["test"]) == 180
    )  # a tenth of 1,797
    cache.verify(folder)
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == ["digits"]
    account.settle("kills of a preparation")


def test_a_compiled_program_that_a_kill_cut_short_goes(tmp_path, monkeypatch, capsys):
    whole = zlib.compress(bytes(1000))
    for name, content in {"a": whole, "b": whole[:-5], "c": b"\x28\xb5\x2f\xfd" + whole}.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    said = "Error reading persistent compilation cache entry for 'jit_f': error: incomplete"
    shell._show_warning(None, UserWarning(said), UserWarning)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-cache", "c-cache"]
    assert "b-cache was damaged; it is compiled anew next time" in capsys.readouterr().err


@pytest.mark.slow
def test_such_a_program_is_compiled_anew_once(tmp_path):
    """JAX warns of it at every start, and writes no other in its place."""
    data = two_clusters(tmp_path / "x.npy")
    cache = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    said = []
    for turn in range(3):
        for path in sorted((tmp_path / "compiled").glob("*-cache"))[:3] if turn == 1 else ():
            path.write_bytes(path.read_bytes()[:-20])
        command = ("train", data, "--codec", "pca", "--latent-dim", 2, "--workdir", f"run {turn}")
        process = start(tmp_path, *command, more=cache)
        said.append(process.communicate()[1])
        assert process.returncode == 0, said
    assert "compiled anew" not in said[0] + said[2] and "persistent" not in said[1] + said[2]
    assert said[1].count("was damaged; it is compiled anew next time") == 3
    assert records_of(tmp_path / "run 1") == records_of(tmp_path / "run 0")
