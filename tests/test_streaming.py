"""Streamed runs have the numbers of runs from device memory; records come back as written."""

import dataclasses
import itertools
import json
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

from ae_jax.api import configure, fit
from ae_jax.api import load as load_run
from ae_jax.config import from_dict, to_dict
from ae_jax.data import DataSet, Split, info, load, prepare, write_records
from ae_jax.data.batches import shuffled_order
from ae_jax.data.streaming import CHUNK_BYTES, chunks, steps_in_chunk
from ae_jax.errors import UserError
from ae_jax.train.engines import Single
from ae_jax.train.loop import train
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import prepare_run
from ae_jax.train.streaming import Streamed

EXAMPLE = 64  # bytes of a bar
# Two chunks of three batches of 16 bars: 200 bars are four chunks, 4 x 3 and 1 x 1 batches.
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


def values(record):
    return {k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")}


@pytest.fixture(scope="module")
def folder(image_set, tmp_path_factory):
    """The bars as records, in files of 70 at most and from blocks of 33."""
    path = tmp_path_factory.mktemp("records") / "bars"

    def blocks(split):
        for i in range(0, len(split), 33):
            yield Split(split.x[i : i + 33], split.y[i : i + 33])

    splits = {name: blocks(split) for name, split in image_set.splits.items()}
    return write_records(path, splits, max_value=255.0, file_bytes=70 * EXAMPLE)


@pytest.fixture(scope="module")
def on_device(image_set):
    return trained(image_set, OPTIONS)


def test_records_come_back_as_they_were_written(folder, image_set):
    data = load(str(folder))
    assert len(list(folder.glob("train-*.array_record"))) == 3
    assert (data.shape, data.max_value) == ((8, 8, 1), 255.0)
    rows = np.random.default_rng(0).integers(0, 40, (3, 5))
    for name, split in image_set.splits.items():
        x = data.splits[name].x
        assert (x.shape, x.dtype, x.nbytes) == (split.x.shape, np.uint8, split.x.nbytes)
        np.testing.assert_array_equal(np.asarray(x), split.x)
        np.testing.assert_array_equal(x[rows], split.x[rows])
        np.testing.assert_array_equal(np.asarray(x[7:21][3:]), split.x[10:21])
        np.testing.assert_array_equal(data.splits[name].y, split.y)
        assert data.splits[name].first_id == split.first_id
    with pytest.raises(IndexError):
        data.splits["test"].x[np.array([60])]


def test_full_protocol_joins_files_and_a_limit_cuts_them(folder, image_set):
    joined = np.concatenate([image_set.splits[name].x for name in ("train", "valid")])
    full = load(str(folder), protocol="full").splits["train"]
    np.testing.assert_array_equal(np.asarray(full.x), joined)
    assert len(full.y) == 240
    limited = load(str(folder), limit=90)
    np.testing.assert_array_equal(np.asarray(limited.splits["train"].x), joined[:90])
    prints = {load(str(folder), limit=n).fingerprint for n in (None, 90, 91)}
    assert len(prints) == 3 and load(str(folder), limit=90).fingerprint in prints


def test_moments_of_records_are_those_of_the_array(vector_set, tmp_path):
    path = write_records(tmp_path / "plane", {n: [s] for n, s in vector_set.splits.items()})
    x, expected = load(str(path)).splits["train"].x, vector_set.splits["train"].x
    np.testing.assert_allclose(x.mean(axis=0), expected.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), expected.std(axis=0, dtype=float), rtol=1e-12)
    facts = info(str(path))
    assert facts["range"][0] == min(s.x.min() for s in vector_set.splits.values())
    assert (facts["splits"]["train"], facts["dtype"]) == (200, "float32")


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


def test_a_streamed_run_is_the_run_from_device_memory(folder, image_set, on_device):
    """In every bit of parameters and optimiser state; running means to the order of their sum."""
    for dataset in (load(str(folder)), image_set):
        setup = prepared(dataset, STREAMED)
        assert setup.streams and setup.dataset is dataset
        outcome = train(setup)
        chex.assert_trees_all_equal(*jax.device_get((outcome.state, on_device.state)))
        for streamed, placed in zip(outcome.records, on_device.records, strict=True):
            assert values(streamed) == pytest.approx(values(placed), rel=1e-6)


def test_the_engines_choose_by_bytes(image_set):
    total = 300 * EXAMPLE
    for budget, streams in ((total - 1, True), (total, False), (None, False)):
        assert prepared(image_set, OPTIONS | {"data__memory_budget": budget}).streams == streams
    assert prepared(image_set, STREAMED).config.data.memory_budget == BUDGET


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
        "test": 60,
    }
    chex.assert_trees_all_close(one, other, rtol=1e-6)


@pytest.mark.parametrize("mode", ["sharded", "shard_map"])
def test_streaming_over_devices_gives_the_update_of_one(mode, folder, on_device):
    options = STREAMED | {"train__parallel": mode, "optim__name": "sgd"}
    expected = trained(load(str(folder)), options | {"train__parallel": "jit"}, until=1)
    result = trained(load(str(folder)), options, until=1)
    chex.assert_trees_all_close(
        *jax.device_get((result.state, expected.state)), rtol=2e-5, atol=2e-6
    )
    assert values(result.records[-1]) == pytest.approx(values(expected.records[-1]), rel=2e-5)


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
    assert [values(r) for r in second.records] == [values(r) for r in whole.records]


LONG = STREAMED | {"epochs": 40}
SCRIPT = "import sys; from test_streaming import fit_folder; fit_folder(*sys.argv[1:])"


def fit_folder(folder, workdir):
    return fit(load(str(folder)), workdir=workdir, **LONG)


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
    assert [values(r) for r in killed.records] == [values(r) for r in whole.records]


def test_a_run_on_records_from_the_command_line_can_be_looked_at(folder, tmp_path, monkeypatch):
    from ae_jax.cli import main

    monkeypatch.chdir(folder.parent)
    run = tmp_path / "run"
    options = ["--epochs", "1", "--hidden", "4", "--latent-dim", "2", "--batch-size", "16"]
    sets = [f"--set=data.memory_budget={BUDGET}", "--set=eval.batch_size=24"]
    done = CliRunner().invoke(main, ["train", "./bars", *options, *sets, "--workdir", str(run)])
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


# What is wrong, and the sentence that says so.
def _cut(folder):
    file = sorted(folder.glob("train-*.array_record"))[1]
    file.write_bytes(file.read_bytes()[:-100])


def _remove(folder):
    sorted(folder.glob("train-*.array_record"))[1].unlink()


def _scramble(folder):
    """Damages records but for the end, where their places are listed; the size stays."""
    file = folder / "train-00000.array_record"
    content = bytearray(file.read_bytes())
    content[100 : len(content) // 4] = bytes(len(content) // 4 - 100)
    file.write_bytes(content)


def _edit(**changes):
    def edit(folder):
        header = json.loads((folder / "records.json").read_text())
        (folder / "records.json").write_text(json.dumps(header | changes))

    return edit


def _garble(folder):
    (folder / "records.json").write_text("{")


def _headless(folder):
    (folder / "records.json").unlink()


BAD = {
    "cut": (_cut, r"train-00001.array_record has \d+ bytes instead of"),
    "removed": (_remove, r"train-00001.array_record: No such file"),
    "scrambled": (_scramble, r"records in .* cannot be read"),
    "another size": (_edit(shape=[8, 9, 1]), r"another size than the 72 bytes of an example"),
    "another type": (_edit(dtype="int64"), r"examples are of type int64"),
    "another version": (_edit(version=7), r"records.json is of another version"),
    "no test": (_edit(splits={"train": {}}), r"lacks .*train and test"),
    "nothing said": (_edit(splits={"train": {}, "test": {}}), r"lacks facts of train"),
    "garbled": (_garble, r"records.json is not JSON"),
    "headless": (_headless, r"records.json: No such file"),
}


@pytest.fixture
def copy(image_set, tmp_path):
    splits = {name: [split] for name, split in image_set.splits.items()}
    return write_records(tmp_path / "bars", splits, max_value=255.0, file_bytes=70 * EXAMPLE)


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_refused_in_one_sentence(case, copy):
    damage, sentence = BAD[case]
    damage(copy)
    with pytest.raises(UserError, match=sentence):
        trained(load(str(copy)), STREAMED | {"epochs": 1})


def test_damage_met_while_training_is_a_user_error_and_exit_status_2(copy, tmp_path):
    _scramble(copy)
    command = [
        *(sys.executable, "-m", "ae_jax.cli", "train", str(copy), "--batch-size", "16"),
        *("--epochs", "1", "--hidden", "4", "--workdir", str(tmp_path / "run")),
        *(f"--set=data.memory_budget={BUDGET}", "--set=eval.batch_size=24"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_prepare_verifies_the_sha256_of_files(copy):
    assert prepare(str(copy), lambda line: None) == copy
    _scramble(copy)
    with pytest.raises(UserError, match=r"train-00000.array_record has another sha256"):
        prepare(str(copy), lambda line: None)


def test_a_budget_below_two_batches_is_refused(image_set):
    for option, name in (("batch_size", "train"), ("eval__batch_size", "eval")):
        options = STREAMED | {option: 49}
        with pytest.raises(UserError, match=rf"{name}\.batch_size 49: 2 batches take 6,272 bytes"):
            prepared(image_set, options)
    with pytest.raises(UserError, match="pmap cannot stream"):
        prepared(image_set, STREAMED | {"train__parallel": "pmap"})


def _blocks(*xs, y=None):
    return {"train": [Split(x, y) for x in xs], "test": [Split(xs[0])]}


REFUSED = {
    "other shapes": (_blocks(np.zeros((4, 3), np.uint8), np.zeros((4, 2), np.uint8)), "one shape"),
    "other types": (_blocks(np.zeros((4, 3), np.uint8), np.zeros((4, 3), np.float32)), "beside"),
    "wide type": (_blocks(np.zeros((4, 3), np.float64)), "uint8 or float32"),
    "not finite": (_blocks(np.full((4, 3), np.nan, np.float32)), "NaN or infinite"),
    "labels": (_blocks(np.zeros((4, 3), np.uint8), y=np.zeros(3, np.int32)), "labels of shape"),
    "no test": ({"train": [Split(np.zeros((4, 3), np.uint8))]}, "train and test"),
    "empty": ({"train": [], "test": []}, "has no examples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_leaves_nothing_behind(case, tmp_path):
    splits, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        write_records(tmp_path / "set", splits)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="there already"):
        write_records(tmp_path / "set", splits)


def test_a_generator_is_written_block_by_block(tmp_path):
    """Never more than one block is alive: the set may be larger than memory."""
    made = itertools.count()

    def blocks():
        for _ in range(5):
            yield Split(np.full((10, 4), next(made), np.uint8))

    path = write_records(
        tmp_path / "set", {"train": blocks(), "test": [Split(np.zeros((3, 4), np.uint8))]}
    )
    data: DataSet = load(str(path))
    np.testing.assert_array_equal(np.asarray(data.splits["train"].x)[::10, 0], np.arange(5))
