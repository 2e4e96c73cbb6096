"""Orders of examples, and sums over a split that no batch size changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import Split
from ae_jax.data.batches import (
    DeviceSplit,
    num_batches,
    sequential_order,
    shuffled_order,
    take_batch,
    total_over,
)
from ae_jax.data.preprocess import PREPROCESSING, Statistics

SIZES = [(10, 1), (10, 3), (10, 5), (10, 10), (100, 7), (100, 64)]


def _real(order):
    """The examples that count, in order."""
    return np.asarray(order.index)[np.asarray(order.mask) == 1]


@pytest.mark.slow_cases("10-1")
@pytest.mark.parametrize(("count", "size"), SIZES)
def test_orders_take_every_example_once(count, size):
    batches = -(-count // size)
    assert num_batches(count, size) == batches
    shuffled = shuffled_order(jnp.asarray(0), jnp.asarray(3), count, size)
    for order in (shuffled, sequential_order(count, size)):
        assert order.index.shape == order.mask.shape == (batches, size)
        assert float(order.mask.sum()) == count
        np.testing.assert_array_equal(np.sort(_real(order)), np.arange(count))
        # What fills the last batch up is a real example too, and only the last is filled up.
        assert np.isin(order.index, np.arange(count)).all()
        np.testing.assert_array_equal(order.mask[:-1], 1.0)
    np.testing.assert_array_equal(_real(sequential_order(count, size)), np.arange(count))


def test_shuffles_belong_to_their_seed_and_epoch():
    def order(seed, epoch):
        return _real(shuffled_order(jnp.asarray(seed), jnp.asarray(epoch), 50, 8)).tolist()

    assert order(0, 0) == order(0, 0)
    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1), list(range(50))]
    assert len(set(map(tuple, orders))) == 5


def test_the_shuffle_does_not_depend_on_the_batch_size():
    orders = [_real(shuffled_order(jnp.asarray(0), jnp.asarray(1), 50, size)) for size in (8, 50)]
    np.testing.assert_array_equal(*orders)


def test_shuffles_are_even():
    """Each example comes first equally often: a chi-square test over 600 epochs."""
    firsts = jax.vmap(lambda epoch: shuffled_order(0, epoch, 6, 6).index[0, 0])(jnp.arange(600))
    counts = np.bincount(firsts, minlength=6)
    assert ((counts - 100) ** 2 / 100).sum() < 20.5  # 0.999 quantile of chi^2 with 5 d.o.f.


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (70, 4)).astype(np.uint8), np.arange(70, dtype=np.int32))


def test_take_batch_fills_in_ids_labels_and_inputs(raw):
    split = DeviceSplit.put(dataclasses.replace(raw, first_id=1000))
    order = jax.tree.map(lambda rows: rows[1], sequential_order(70, 64))
    batch = take_batch(
        split, order, PREPROCESSING.get("grey"), Statistics(255.0), jax.random.key(0)
    )
    np.testing.assert_array_equal(batch["mask"], np.arange(64) < 6)
    np.testing.assert_array_equal(batch["id"][:6], np.arange(1064, 1070))
    np.testing.assert_array_equal(batch["y"][:6], np.arange(64, 70))
    np.testing.assert_allclose(batch["x"][:6], raw.x[64:] / 255, rtol=1e-6)
    without = DeviceSplit.put(Split(raw.x, first_id=0))
    batch = take_batch(without, order, PREPROCESSING.get("grey"), Statistics(255.0), None)
    assert "y" not in batch


@pytest.mark.slow_cases("1-dynamic_binarization", "1-grey", "7-grey")
@pytest.mark.parametrize("name", ["grey", "dynamic_binarization"])
@pytest.mark.parametrize("size", [1, 7, 64, 70])
def test_totals_are_those_of_numpy_for_any_batch_size(raw, name, size):
    split = DeviceSplit.put(dataclasses.replace(raw, first_id=5))
    key = jax.random.key(3)

    def values_of(batch, key):
        noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i)))(batch["id"])
        return {"square": (batch["x"] ** 2).sum(axis=1), "noise": noise, "label": batch["y"]}

    preprocess, statistics = PREPROCESSING.get(name), Statistics(255.0)
    order = sequential_order(70, size)
    totals = jax.jit(lambda: total_over(split, order, preprocess, statistics, key, values_of))()
    preprocess_key, values_key = jax.random.split(key)
    ids = jnp.arange(5, 75)
    x = np.asarray(preprocess(jnp.asarray(raw.x), statistics, preprocess_key, ids), np.float64)
    noise = [float(jax.random.normal(jax.random.fold_in(values_key, i))) for i in ids]
    assert float(totals.count) == 70
    assert float(totals.sums["square"]) == pytest.approx((x**2).sum(), rel=1e-5)
    assert float(totals.sums["noise"]) == pytest.approx(sum(noise), abs=1e-4)
    assert float(totals.sums["label"]) == np.arange(70).sum()
    assert totals.means()["label"] == pytest.approx(34.5)
