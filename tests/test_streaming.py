"""Streamed runs have the numbers of runs from device memory."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from compile_counts import compilations
from test_records import EXAMPLE, scramble, write_bars
from timeless import CLOCK, timeless
from two_processes import run_in_two

from ae_jax.api import configure, fit
from ae_jax.api import load as load_run
from ae_jax.core import interrupts
from ae_jax.core.errors import Stopped, UserError
from ae_jax.data import Split, load
from ae_jax.data.batches import sequential_order, shuffled_order
from ae_jax.data.streaming import CHUNK_BYTES, chunks, steps_in_chunk
from ae_jax.train import processes
from ae_jax.train import streamed as streamed_module
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.config import from_dict, to_dict
from ae_jax.train.engines import Single
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.streamed import Streamed

# Two chunks of three batches of 16 bars: the 13 batches of 200 are four chunks and a batch more.
BUDGET = 2 * 3 * 16 * EXAMPLE
OPTIONS = {
    "hidden": [12],
    "latent_dim": 3,
    "batch_size": 16,
    "epochs": 3,
    "eval__every": 2,
    "eval__batch_size": 24,
    "eval__train_examples": 50,
    "data__preprocess": "dynamic_binarization",
}
STREAMED = OPTIONS | {"data__memory_budget": BUDGET}


def prepared(dataset, options):
    return prepare_run(configure(None, options), dataset)


def trained(dataset, options, directory=None, **how):
    return train(prepared(dataset, options), directory, **how)


@pytest.fixture(scope="module")
def folder(image_set, tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("records") / "bars", image_set)


@pytest.fixture(scope="module")
def on_device(image_set):
    return trained(image_set, OPTIONS)


def test_chunks_are_the_rows_of_the_shuffled_order(image_set):
    split = image_set.splits["valid"]
    orders = [
        jax.device_get(shuffled_order(jnp.uint32(5), jnp.uint32(epoch), 40, 12)) for epoch in (0, 1)
    ]
    stream = list(chunks(split, lambda epoch: orders[epoch], 4, 3, passes=2))
    assert [chunk["id"].shape for chunk in stream] == [(3, 12), (1, 12)] * 2
    for epoch, order in enumerate(orders):
        parts = stream[2 * epoch : 2 * epoch + 2]
        joined = {k: np.concatenate([part[k] for part in parts]) for k in ("x", "y", "id", "mask")}
        np.testing.assert_array_equal(joined["id"], order.index + split.first_id)
        np.testing.assert_array_equal(joined["mask"], order.mask)
        np.testing.assert_array_equal(joined["x"], split.x[order.index])
        np.testing.assert_array_equal(joined["y"], split.y[order.index])
    later = list(chunks(split, lambda epoch: orders[epoch], 4, 3, first_pass=1, passes=2))
    chex.assert_trees_all_equal(later, stream[2:])
    places = np.array([3, 4, 5, 9])
    part = next(chunks(split, lambda epoch: orders[epoch], 4, 3, places=places))
    np.testing.assert_array_equal(part["x"], stream[0]["x"][:, places])


@pytest.mark.parametrize("budget, steps", [(10, 1), (600, 3), (10**12, 7), (699, 3)])
def test_two_chunks_stay_within_the_budget(budget, steps):
    assert steps_in_chunk(100, budget, 7) == steps
    assert steps_in_chunk(1, 10**12, 10**12) == CHUNK_BYTES


@pytest.mark.slow
def test_a_streamed_run_is_the_run_from_device_memory(folder, image_set, on_device):
    """In every bit of parameters and optimiser state; running means to the order of their sum."""
    for dataset in (load(str(folder)), image_set):
        setup = prepared(dataset, STREAMED)
        assert setup.streams and setup.dataset is dataset
        outcome = train(setup)
        chex.assert_trees_all_equal(*jax.device_get((outcome.state, on_device.state)))
        both = timeless(outcome.records), timeless(on_device.records)
        for streamed, placed in zip(*both, strict=True):
            assert streamed == pytest.approx(placed, rel=1e-6)


def test_the_engines_choose_by_bytes(image_set):
    total = 280 * EXAMPLE
    for budget, streams in ((total - 1, True), (total, False), (None, False)):
        assert prepared(image_set, OPTIONS | {"data__memory_budget": budget}).streams == streams
    assert prepared(image_set, STREAMED).config.data.memory_budget == BUDGET


@pytest.mark.slow
def test_labels_and_every_example_reach_the_step(image_set):
    """Against the engine on the device, chunk by chunk: the same reports of epochs and looks."""
    streamed, placed = prepared(image_set, STREAMED), prepared(image_set, OPTIONS)
    engines = [
        Streamed(streamed, streamed.initial_state()),
        Single(placed, placed.initial_state()),
    ]
    for epoch in (1, 2):
        (one,), (other,) = (engine.epoch(epoch) for engine in engines)
        assert one.totals.count == other.totals.count == 200
        chex.assert_trees_all_close(one, other, rtol=1e-6)
    (one,), (other,) = (engine.look() for engine in engines)
    assert {name: totals.count for name, totals in one.items()} == {
        "train": 50,
        "valid": 40,
        "test": 40,
    }
    chex.assert_trees_all_close(one, other, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sharded", "shard_map"])
def test_streaming_over_devices_gives_the_update_of_one(mode, folder):
    # Less than an eighth of the examples: in parts over the devices they would not stream.
    small = {"data__memory_budget": 2 * 16 * EXAMPLE, "eval__batch_size": 16}
    options = STREAMED | small | {"train__parallel": mode, "optim__name": "sgd"}
    assert prepared(load(str(folder)), options).streams
    expected = trained(load(str(folder)), options | {"train__parallel": "jit"}, until=1)
    result = trained(load(str(folder)), options, until=1)
    chex.assert_trees_all_close(
        *jax.device_get((result.state, expected.state)), rtol=2e-5, atol=2e-6
    )
    ours, theirs = timeless(result.records)[-1], timeless(expected.records)[-1]
    assert ours == pytest.approx(theirs, rel=2e-5)


@pytest.mark.slow
def test_a_chunk_is_compiled_twice_whatever_the_epochs(image_set):
    """Once for whole chunks and once for the rest of an epoch; another seed adds nothing."""
    with compilations() as counts:
        for seed in (1, 2):
            trained(image_set, STREAMED | {"seed": seed, "latent_dim": 5})
    assert counts["jit(run_chunk)"] == 2


def test_a_streamed_run_continues_with_the_same_bits(folder, tmp_path):
    whole = trained(load(str(folder)), STREAMED, RunDirectory(tmp_path / "whole"))
    first = trained(load(str(folder)), STREAMED, RunDirectory(tmp_path / "parts"), until=2)
    assert int(first.state.step) == 2 * 13
    second = trained(load(str(folder)), STREAMED, RunDirectory(tmp_path / "parts"))
    chex.assert_trees_all_equal(*jax.device_get((second.state, whole.state)))
    assert timeless(second.records) == timeless(whole.records)


def train_a_share(folder, out):
    """What each of two processes does: trains, and says which places of a batch it has read."""
    for mode in ("sharded", "shard_map"):
        setup = prepared(load(folder), SHARED | {"train__parallel": mode})
        assert setup.streams
        train(setup, RunDirectory(Path(out) / mode), until=1)
        train(setup, RunDirectory(Path(out) / mode))
        engine = Streamed(setup, setup.initial_state())
        shapes = {chunk["x"].shape[1] for chunk in engine._stream_from(3)}
        places = engine._programs.places(16).tolist()
        file = Path(out) / f"{mode}-{jax.process_index()}.json"
        file.write_text(json.dumps({"places": places, "batch": list(shapes)}))


def stop_and_go_on(folder, out):
    """What each of two processes does, of which the second is told to stop within an epoch."""
    run = RunDirectory(Path(out) / "stopped")
    setup = prepared(load(folder), SHARED | {"train__parallel": "sharded"})
    take, seen = Streamed._so_far, []

    def told(engine):
        seen.append(engine)
        if len(seen) == 3 and jax.process_index() == 1:
            signal.raise_signal(signal.SIGTERM)
        return take(engine)

    Streamed._so_far, processes.ASK_SECONDS = told, 0.0
    try:
        train(setup, run)
    except Stopped as stop:
        (Path(out) / f"stopped-{jax.process_index()}").write_text(str(stop))
    Streamed._so_far = take
    train(setup, run)


# Less than a quarter of the examples, as above: chunks of two batches.
SHARED = STREAMED | {
    "optim__name": "sgd",
    "learning_rate": 0.01,
    "data__memory_budget": 2 * 2 * 16 * EXAMPLE,
}


@pytest.mark.slow
def test_each_of_two_processes_reads_its_share_of_every_batch(folder, tmp_path):
    run_in_two("test_streaming", "train_a_share", str(folder), str(tmp_path))
    alone = trained(load(str(folder)), SHARED).records
    for mode in ("sharded", "shard_map"):
        shares = [json.loads((tmp_path / f"{mode}-{i}.json").read_text()) for i in range(2)]
        assert [share["batch"] for share in shares] == [[8], [8]]
        assert sorted(shares[0]["places"] + shares[1]["places"]) == list(range(16))
        records = RunDirectory(tmp_path / mode).records()
        assert [record["epoch"] for record in records] == [1, 2, 3]
        for one, other in zip(records, alone, strict=True):
            common = (one.keys() & other.keys()) - CLOCK  # the first part ends with a look
            assert {k: one[k] for k in common} == pytest.approx(
                {k: other[k] for k in common}, rel=2e-5
            )


@pytest.mark.slow
def test_two_processes_stop_within_an_epoch_and_go_on(folder, tmp_path):
    run_in_two("test_streaming", "stop_and_go_on", str(folder), str(tmp_path))
    said = {(tmp_path / f"stopped-{index}").read_text() for index in range(2)}
    assert len(said) == 1 and re.fullmatch(r"step 4, within epoch 1 of 3, is saved", *said)
    both = (
        timeless(RunDirectory(tmp_path / "stopped").records()),
        timeless(trained(load(str(folder)), SHARED).records),
    )
    for ours, alone in zip(*both, strict=True):
        assert ours == pytest.approx(alone, rel=2e-5)


LONG = STREAMED | {"epochs": 40}
SCRIPT = "import sys; from test_streaming import fit_folder; fit_folder(*sys.argv[1:])"


def fit_folder(folder, workdir):
    return fit(load(str(folder)), workdir=workdir, **LONG)


@pytest.mark.slow
def test_a_killed_streamed_run_ends_with_the_bits_of_one_never_killed(folder, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "killed")]
    metrics = tmp_path / "killed" / "metrics.jsonl"
    with subprocess.Popen(command, cwd=Path(__file__).parent) as process:
        while process.poll() is None and not (
            metrics.exists() and metrics.read_bytes().count(b"\n") >= 3
        ):
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    killed = fit_folder(folder, tmp_path / "killed")
    whole = fit_folder(folder, tmp_path / "whole")
    chex.assert_trees_all_equal(*jax.device_get((killed.params, whole.params)))
    assert timeless(killed.records) == timeless(whole.records)


@pytest.mark.slow
def test_a_run_on_records_from_the_command_line_can_be_looked_at(folder, tmp_path, monkeypatch):
    from ae_jax.cli import cli

    monkeypatch.chdir(folder.parent)
    run = tmp_path / "run"
    options = ["--epochs", "1", "--hidden", "4", "--latent-dim", "2", "--batch-size", "16"]
    sets = [f"--set=data.memory_budget={BUDGET}", "--set=eval.batch_size=24"]
    done = CliRunner().invoke(cli, ["train", "./bars", *options, *sets, "--workdir", str(run)])
    assert done.exit_code == 0, done.output
    model = load_run(run)
    assert model.config.data.name == str(folder)
    assert model.config.data.memory_budget == BUDGET
    evaluated = model.evaluate("test")
    assert evaluated["elbo"] == pytest.approx(model.records[-1]["test/elbo"], rel=1e-5)
    test = model.setup.dataset.splits["test"]
    np.testing.assert_array_equal(
        model.encode(test), model.encode(dataclasses.replace(test, x=np.asarray(test.x)))
    )


def test_the_configuration_keeps_the_budget():
    config = from_dict({"data": {"memory_budget": 5}})
    assert to_dict(config)["data"]["memory_budget"] == 5
    with pytest.raises(UserError, match=r"data\.memory_budget"):
        from_dict({"data": {"memory_budget": 0}})


def test_damage_met_while_reading_ahead_is_a_user_error(copy):
    x = load(str(copy)).splits["train"].x
    scramble(copy)
    order = jax.device_get(sequential_order(200, 50))
    with pytest.raises(UserError, match=r"records in .* cannot be read"):
        list(chunks(Split(x), lambda _: order, 4, 1))


@pytest.mark.slow
def test_damage_ends_the_command_with_status_2(copy, tmp_path):
    scramble(copy)
    command = [
        *(sys.executable, "-m", "ae_jax.cli", "train", str(copy), "--batch-size", "16"),
        *("--epochs", "1", "--hidden", "4", "--workdir", str(tmp_path / "run")),
        *(f"--set=data.memory_budget={BUDGET}", "--set=eval.batch_size=24"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot be read" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def copy(image_set, tmp_path):
    return write_bars(tmp_path / "bars", image_set)


@pytest.mark.slow
def test_a_budget_below_two_batches_is_refused(image_set):
    for option, name in (("batch_size", "train"), ("eval__batch_size", "eval")):
        options = STREAMED | {option: 49}
        with pytest.raises(UserError, match=rf"{name}\.batch_size 49: 2 batches take 6,272 bytes"):
            prepared(image_set, options)
    with pytest.raises(UserError, match="pmap cannot stream"):
        prepared(image_set, STREAMED | {"train__parallel": "pmap"})


class StopAt:
    """A signal that comes while chunk number `chunk` of the training is taken."""

    def __init__(self, monkeypatch, chunk: int):
        self.seen, self.chunk = 0, chunk
        take = streamed_module.Streamed._so_far

        def counted(engine):
            self.seen += 1
            return take(engine)

        monkeypatch.setattr(streamed_module.Streamed, "_so_far", counted)
        monkeypatch.setattr(interrupts, "asked", lambda: self.seen == self.chunk)


# Chunks take three of the 13 steps of an epoch: the second of the first, the fourth of the second.
@pytest.mark.parametrize(("chunk", "step"), [(2, 6), (5 + 1 + 4, 13 + 12)])
def test_told_to_stop_within_an_epoch_it_ends_with_the_same_bits(
    chunk, step, image_set, tmp_path, monkeypatch
):
    whole = trained(image_set, STREAMED)
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as patched:
        StopAt(patched, chunk)
        with pytest.raises(Stopped, match=rf"step {step}, within epoch {step // 13 + 1} of 3"):
            trained(image_set, STREAMED, run)
    assert latest_step(run.checkpoints) == step
    assert [record["epoch"] for record in run.records()] == list(range(1, step // 13 + 1))
    assert len(load_run(run.path, data=image_set).records) == step // 13
    again = trained(image_set, STREAMED, run)
    chex.assert_trees_all_equal(*jax.device_get((again.state, whole.state)))
    assert timeless(again.records) == timeless(whole.records)


@pytest.mark.slow
def test_an_epoch_begun_in_chunks_ends_on_the_device_or_in_other_chunks(
    image_set, tmp_path, monkeypatch
):
    """As on another machine: the device that runs on has more memory, or less."""
    whole = trained(image_set, STREAMED, until=1)
    setup = prepared(image_set, STREAMED)
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as patched:
        StopAt(patched, 2)
        with pytest.raises(Stopped):
            train(setup, run)
    for name, engine in {"all": Single, "chunks of two": Streamed}.items():
        shutil.copytree(run.path, tmp_path / name)
        with monkeypatch.context() as patched:
            if engine is Single:
                other = dataclasses.replace(prepared(image_set, OPTIONS), config=setup.config)
            else:
                other = setup
                patched.setattr(Streamed, "_steps_in_chunk", lambda *_: 2)
            outcome = train(other, RunDirectory(tmp_path / name), until=1)
        chex.assert_trees_all_equal(*jax.device_get((outcome.state, whole.state)))
        assert timeless(outcome.records)[0] == pytest.approx(timeless(whole.records)[0], rel=1e-6)
