"""Looking at a run while it trains, and saving very often."""

import os
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.train.checkpoints import Checkpoints, latest_step
from ae_jax.train.grid import Member, train_grid
from faults.shared import Account, start, two_clusters, wait_until

SAVE_OFTEN = "from ae_jax.train import loop; loop.LOOK_SECONDS = 0.0"


@pytest.mark.slow
@pytest.mark.parametrize("looks", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_that_trains_can_always_be_looked_at(looks, tmp_path):
    data, run, account = two_clusters(tmp_path / "x.npy"), tmp_path / "run", Account()
    options = ("--latent-dim", 2, "--hidden", 4, "--epochs", 100_000, "--workdir", "run")
    process = start(tmp_path, "train", data, *options, before=SAVE_OFTEN)
    try:
        # The first one is there: its line is, while it is written still.
        first = run / "checkpoints"
        assert wait_until(process, lambda: latest_step(first) > 0), process.communicate()
        x, seen = np.load(data), set()
        for turn in range(looks):
            try:
                model = ae_jax.load(run, ("latest", "best")[turn % 2])
            except UserError as error:
                account.took(f"look {turn}: {error}", "lost")
                continue
            seen.add(model.step)
            account.took("look", "answered" if np.isfinite(model.encode(x)).all() else "wrong")
        assert process.poll() is None and len(seen) > 1
    finally:
        process.kill()
        process.communicate()
    account.settle("live looks")


def memory() -> int:
    """Resident KiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to count in")
@pytest.mark.parametrize("looks", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_open_files_threads_and_memory_do_not_grow_with_looks(looks, tmp_path):
    from test_checkpoints import state_at

    state = state_at(0, "adam", width=100)
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:

        def save(steps: range) -> tuple[int, int, int]:
            for step in steps:
                one = state.replace(step=np.int32(step))
                checkpoints.save(one, {"elbo": float(step)}, {"step": step})
            checkpoints.wait()
            return len(os.listdir("/proc/self/fd")), threading.active_count(), memory()

        files, threads, before = save(range(1, 51))
        files_after, threads_after, after = save(range(51, 51 + looks))
    print(
        f"\n{looks} looks: {files_after} files, {threads_after} threads, {after - before} KiB more"
    )
    assert (files_after, threads_after) == (files, threads)
    assert after - before < 20_000 + 5 * looks


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to count in")
def test_open_files_and_threads_do_not_grow_in_a_stacked_grid(tmp_path):
    data = ae_jax.data.load(str(two_clusters(tmp_path / "x.npy")))
    options = {"latent_dim": 2, "hidden": [4], "batch_size": 48, "epochs": 12}
    configs = [configure(None, {**options, "seed": seed}) for seed in range(8)]
    members = [Member(f"seed={config.train.seed}", config) for config in configs]
    counts: dict[int, list[int]] = {}

    def count(record):
        found = len(os.listdir("/proc/self/fd")) + threading.active_count()
        counts.setdefault(record["epoch"], []).append(found)

    train_grid(members, data, tmp_path, stack="always", listener_for=lambda _: nullcontext(count))
    # A few are open while a member is saved.
    assert max(counts[12]) <= max(counts[2] + counts[3]) + 2 * len(members)
