"""Killed without warning, at any moment: nothing is lost, and the end is the same."""

import os
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.data.sources import cache
from faults.shared import Account, environment, forking, records_of, two_clusters, wait_until

EPOCHS = 12
OPTIONS = {"latent_dim": 2, "hidden": [4], "batch_size": 16, "epochs": EPOCHS}


def fit(kind: str, folder: str | Path, name: str = "run"):
    """A run of that kind; returns what it ended with, on the host."""
    folder = Path(folder)
    data = ae_jax.data.load(str(folder / "x.npy"))
    if kind == "codec":
        return ae_jax.fit(data, workdir=folder / name, codec="kmeans", latent_dim=5).params
    if kind == "grid":
        from ae_jax.api import configure
        from ae_jax.train.grid import Member, train_grid

        configs = [configure(None, {**OPTIONS, "seed": seed}) for seed in range(3)]
        members = [Member(f"seed={c.train.seed}", c) for c in configs]
        ends = train_grid(members, data, folder / name, stack="always")
        return {one: end.state for one, end in ends.items()}
    more = {"data__memory_budget": 3 * 1000 * 24} if kind == "streamed" else {}
    return ae_jax.fit(data, workdir=folder / name, **OPTIONS, **more).params


@pytest.mark.parametrize("kind", ["single", "streamed", "grid", "codec"])
@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_bits_of_one_never_killed(kind, kills, tmp_path):
    two_clusters(tmp_path / "x.npy")
    rng, account = np.random.default_rng(int.from_bytes(os.urandom(4))), Account()
    run = tmp_path / "run"
    with forking(tmp_path, "import ae_jax.train.grid; from faults.test_kills import fit") as start:
        for kill in range(kills):
            process = start(f"fit({kind!r}, '.')")
            wait_until(process, lambda: any(run.rglob(".lock")))
            process.kill(after=rng.exponential(1.0))  # it compiles, trains, saves or has ended
            said = (tmp_path / "errors").read_text()
            account.took(
                f"kill {kill}: {said}", "tracebacks" if "Traceback" in said else "answered"
            )
    whole, ended = fit(kind, tmp_path, "whole"), fit(kind, tmp_path)
    chex.assert_trees_all_equal(jax.device_get(ended), jax.device_get(whole))
    for file in (tmp_path / "whole").rglob("metrics.jsonl"):
        here = tmp_path / "run" / file.parent.relative_to(tmp_path / "whole")
        assert records_of(here) == records_of(file.parent)
    account.settle(f"kills of a {kind} run")


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_while_it_prepares_data_the_next_one_prepares_them(kills, tmp_path, monkeypatch):
    rng, folder = np.random.default_rng(int.from_bytes(os.urandom(4))), tmp_path / "cache/digits"
    account, imports = Account(), "import sklearn.datasets; from ae_jax.data import load"
    with forking(tmp_path, imports) as start:
        for kill in range(kills):
            process = start("load('digits')")
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
