"""Examples that are spread over the devices train what examples on every device train."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.api import fit
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.data.batches import shuffled_order
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.devices import memory_share
from ae_jax.train.prepare import prepare_run

MODES = ("sharded", "shard_map")


@pytest.fixture(scope="module")
def dataset() -> DataSet:
    """203 grey images, which eight devices do not share evenly, with labels and conditions."""
    random = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 203), ("valid", 30)):
        x = random.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
        y = random.integers(0, 3, count).astype(np.int32)
        splits[name] = Split(x, y, condition=random.standard_normal((count, 2)).astype(np.float32))
    return DataSet("spread", splits, 255.0)


def config(mode: str, placement: str = "auto", condition: str = "input", **data) -> RunConfig:
    return RunConfig(
        data=DataConfig("spread", placement=placement, **data),
        model=ModelConfig(hidden=(5,), latent_dim=2, condition=condition),
        train=TrainConfig(batch_size=40, epochs=2, parallel=mode),
        eval=EvalConfig(every=1, batch_size=32),
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_numbers_are_those_of_examples_on_every_device(mode, dataset):
    for condition in ("input", "label"):
        whole, parts = (
            fit(dataset, config=config(mode, placement, condition))
            for placement in ("replicated", "sharded")
        )
        assert (whole.setup.placement, parts.setup.placement) == ("replicated", "sharded")
        for a, b in zip(*(jax.tree.leaves(m.params) for m in (whole, parts)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
        looks = [
            [{k: v for k, v in look.items() if "/" in k} for look in model.records]
            for model in (whole, parts)
        ]
        for one, other in zip(*looks, strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        # What comes after training, too.
        assert parts.evaluate("valid") == pytest.approx(whole.evaluate("valid"), rel=1e-5)
        np.testing.assert_allclose(
            parts.encode(parts.setup.dataset.splits["valid"]),
            whole.encode(whole.setup.dataset.splits["valid"]),
            atol=1e-5,
        )


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_device_holds_its_part_and_a_step_no_more(mode, dataset):
    setup = prepare_run(config(mode, "sharded"), dataset)
    split = setup.splits["train"]
    assert len(split) == 203 and split.x.shape[0] == 208
    assert {shard.data.shape[0] for shard in split.x.addressable_shards} == {26}
    np.testing.assert_array_equal(np.asarray(split.x)[:203], dataset.splits["train"].x)
    order = shuffled_order(jnp.uint32(0), jnp.uint32(0), len(split), 40)
    program = jax.jit(partial(setup.execution.epoch, architecture=setup.architecture)).lower(
        setup.initial_state(), order, split, setup.numbers
    )
    text = program.compile().as_text()
    # Rows of 16 pixels: the part of a device, and never those of all devices.
    assert re.search(r"u8\[26,", text) and not re.search(r"\w\[(208|203),", text)


@pytest.mark.slow
def test_what_does_not_fit_on_one_device_is_spread_and_what_fits_on_none_is_streamed(dataset):
    total = sum(split.x.nbytes for split in dataset.splits.values())
    for mode, budget, placement in [
        ("sharded", total, "replicated"),
        ("sharded", total - 1, "sharded"),
        ("shard_map", total // 8 + 1, "sharded"),
        ("jit", total - 1, "streamed"),
    ]:
        found = prepare_run(config(mode, memory_budget=budget), dataset)
        assert found.placement == placement, mode
    on_none = dataclasses.replace(
        config("shard_map", memory_budget=total // 8 - 1),
        train=TrainConfig(batch_size=8, epochs=2, parallel="shard_map"),
        eval=EvalConfig(batch_size=8),
    )
    assert prepare_run(on_none, dataset).placement == "streamed"


@pytest.mark.parametrize(("placement", "share"), [("replicated", 1), ("sharded", 8)])
def test_what_is_asked_for_and_does_not_fit_is_refused(placement, share, dataset):
    each = -(-sum(split.x.nbytes for split in dataset.splits.values()) // share)
    fits = config("shard_map", placement, memory_budget=each)
    assert prepare_run(fits, dataset).placement == placement
    sentence = f"data.placement={placement} puts {each:,} bytes of examples on a device"
    with pytest.raises(UserError, match=sentence):
        prepare_run(config("shard_map", placement, memory_budget=each - 1), dataset)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_modes_that_cannot_spread_say_so(mode, dataset):
    sentence = f"data.placement=sharded is for train.parallel=sharded or shard_map, not {mode}"
    with pytest.raises(UserError, match=sentence):
        prepare_run(config(mode, "sharded"), dataset)


def test_devices_of_a_cpu_share_its_memory(monkeypatch):
    assert memory_share(800, 8) == 100
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert memory_share(800, 8) == 800


def test_a_setup_like_another_takes_its_examples_only_where_they_lie_alike(dataset):
    first = prepare_run(config("shard_map", "sharded"), dataset)
    again = dataclasses.replace(first.config, train=dataclasses.replace(first.config.train, seed=1))
    assert prepare_run(again, dataset, like=first).splits is first.splits
    other = dataclasses.replace(
        first.config, data=dataclasses.replace(first.config.data, placement="replicated")
    )
    assert prepare_run(other, dataset, like=first).placement == "replicated"
