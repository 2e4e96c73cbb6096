"""Dead units come back, by a loss of their own or drawn anew, and the others do not notice."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compile_counts import compilations
from timeless import timeless

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.models import BoundModel
from ae_jax.objectives import OBJECTIVES, SparseResampling
from ae_jax.objectives.revival import SINCE
from ae_jax.train.config import from_dict, override
from ae_jax.train.loop import train
from ae_jax.train.optimiser_wrappers import forgotten
from ae_jax.train.optimisers import AdamW, Momentum
from ae_jax.train.prepare import prepare_run
from ae_jax.train.program import Numbers
from ae_jax.train.rundir import RunDirectory
from tests.bound import as_batch

UNITS, DEAD = 7, 2
OPTIONS = {
    "model__head": "gaussian_fixed",
    "hidden": [],
    "latent_dim": UNITS,
    "optim__learning_rate": 0.01,
    "batch_size": 25,
    "epochs": 3,
}
AUXK = {"objective__name": "sparse_auxk", "model__latent": "top_k", "latent_k": 2}
AUXK |= {"objective__dead_after": 4, "objective__weight": 1.0}
RESAMPLED = {"objective__name": "sparse_resampling", "model__latent": "relu"}
RESAMPLED |= {"objective__every": 10, "objective__dead_after": 6, "objective__weight": 0.01}


@pytest.fixture(scope="module")
def plane(vector_set):
    """200 vectors: eight batches of 25 an epoch."""
    return dataclasses.replace(vector_set, splits={"train": vector_set.splits["train"]})


def prepared(dataset, bias=-30.0, scale=1.0, **options):
    """A run at a start in which one unit is planted dead: its bias is far below the others.

    `scale` makes the weights of its encoder smaller.
    """
    config = configure(None, OPTIONS | options)
    params = prepare_run(config, dataset).initial_state().params
    code = params["latent"]["code"]
    code["bias"] = code["bias"].at[DEAD].set(bias)
    code["kernel"] = code["kernel"].at[:, DEAD].multiply(scale)
    return prepare_run(config, dataset, params)


def active(state, setup):
    """How often each unit is active on the training examples, [Z]."""
    model = BoundModel(setup.architecture.model, state.variables)
    code = model.encode(as_batch(setup.splits["train"].x)).mean()
    return np.asarray((code != 0).sum(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("revived", [True, False])
def test_a_dead_unit_learns_by_the_auxiliary_loss_and_not_without(revived, plane):
    """One whose activation hardly varies, and is below those of the others."""
    options = AUXK | {"epochs": 30, "optim__learning_rate": 0.03}
    if not revived:
        options["objective__weight"] = 0.0
    setup = prepared(plane, bias=-1.0, scale=0.1, **options)
    assert active(setup.initial_state(), setup)[DEAD] == 0
    outcome = train(setup)
    assert (active(outcome.state, setup)[DEAD] > 0) == revived
    assert outcome.records[0]["running/silent_units"] > 0


@pytest.mark.slow
def test_the_auxiliary_loss_is_its_formula_and_reaches_the_dead_alone(plane):
    """By NumPy, for two units that are dead of which one is chosen, and a linear decoder."""
    setup = prepared(plane, **AUXK, objective__auxiliary_k=1)
    state, x = setup.initial_state(), jnp.asarray(plane.splits["train"].x[:9])
    since = np.zeros(UNITS, np.int32)
    since[[DEAD, 5]] = 4
    objective, batch = setup.numbers.objective, as_batch(x)
    collections = {"objective": {SINCE: jnp.asarray(since)}}

    def auxiliary(params):
        model = BoundModel(setup.architecture.model, {"params": params, **collections})
        terms = objective(model, batch, jax.random.key(0), 0)
        return terms.metrics["auxiliary"].sum(), terms

    (_, terms), grads = jax.value_and_grad(auxiliary, has_aux=True)(state.params)
    params = jax.tree.map(np.float64, state.params)
    code, head = params["latent"]["code"], params["head"]["mean"]
    h = np.float64(x) @ code["kernel"] + code["bias"]
    kept = h >= np.sort(h, axis=1)[:, -2:-1]
    left = x - (np.where(kept, h, 0) @ head["kernel"] + head["bias"])
    alone = h[:, 5:6] * head["kernel"][5]  # the other one is lower
    expected = 0.5 * ((left - alone) ** 2).sum(axis=1)
    np.testing.assert_allclose(terms.metrics["auxiliary"], expected, rtol=1e-4)
    loss = expected - terms.metrics["reconstruction"]
    np.testing.assert_allclose(terms.loss, loss, rtol=1e-4)
    assert (terms.metrics["silent_units"] == 2).all()
    for kernel in (grads["latent"]["code"]["kernel"].T, grads["head"]["mean"]["kernel"]):
        assert np.flatnonzero(np.abs(kernel).sum(axis=1)).tolist() == [5]
    seen = kept.any(axis=0)
    np.testing.assert_array_equal(terms.memory[SINCE], np.where(seen, 0, since + 1))


def test_what_is_left_of_counts_is_left_of_them_in_their_totals():
    counts = np.random.default_rng(0).poisson(5, (40, 6)).astype(np.float32)
    data = DataSet("words", {"train": Split(counts)}, None)
    words = {"model__head": "multinomial", "data__preprocess": "identity"}
    setup = prepared(data, **AUXK | words, bias=0.0)
    state, batch = setup.initial_state(), as_batch(counts[:9])
    since = jnp.full(UNITS, 4, jnp.int32)  # all are dead
    model = BoundModel(
        setup.architecture.model, {"params": state.params, "objective": {SINCE: since}}
    )
    terms = setup.numbers.objective(model, batch, jax.random.key(0), 0)
    posterior, totals = model.encode(batch), counts[:9].sum(axis=1, keepdims=True)

    def made(codes):  # shares of the words, times their number
        return np.asarray(model.decode(codes[None], batch).mean()[0]) * totals

    left = counts[:9] - made(posterior.mean())
    # All units are dead and all are taken: the decoder of all candidates less its bias.
    alone = made(posterior.candidates) - made(jnp.zeros_like(posterior.candidates))
    expected = 0.5 * np.square(left - alone).sum(axis=1)
    np.testing.assert_allclose(terms.metrics["auxiliary"], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def resampled(plane):
    """A run in which a dead unit is drawn anew at its tenth step, with all that goes with it."""
    setup = prepared(plane, **RESAMPLED, optim__ema=0.5, objective__times=1)
    return setup, train(setup)


@pytest.mark.slow
def test_a_unit_is_drawn_anew_and_the_others_keep_every_bit(plane):
    """Against the run that is not revised, after ten steps: as its docstring says, by NumPy."""
    ten = {"batch_size": 20, "epochs": 1}
    setup = prepared(plane, **RESAMPLED | ten, optim__ema=0.5)
    state = train(setup).state
    never = train(prepared(plane, **RESAMPLED | ten | {"objective__every": 999}, optim__ema=0.5))
    assert active(never.state, setup)[DEAD] == 0
    assert active(state, setup)[DEAD] > 0
    assert never.state.collections["objective"][SINCE][DEAD] == 10
    assert state.collections["objective"][SINCE][DEAD] == 0

    def parts(tree):
        code = tree["latent"]["code"]
        return code["kernel"].T, code["bias"], tree["head"]["mean"]["kernel"]

    def moments(state):
        adam = optax.tree.get(state.opt_state, "inner")
        return [optax.tree.get(adam, name) for name in ("mu", "nu")]

    others = np.arange(UNITS) != DEAD
    for ours, theirs in zip(
        [state.params, *moments(state), state.variables["params"]],
        [never.state.params, *moments(never.state), never.state.variables["params"]],
        strict=True,
    ):
        for a, b in zip(parts(ours), parts(theirs), strict=True):
            np.testing.assert_array_equal(a[others], b[others])
    encoder, bias, decoder = (np.asarray(part) for part in parts(state.params))
    x = np.asarray(plane.splits["train"].x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    chosen = np.argmax(unit @ decoder[DEAD])
    norms = [np.linalg.norm(kernel[others], axis=1).mean() for kernel in (encoder, decoder)]
    np.testing.assert_allclose(encoder[DEAD], 0.2 * norms[0] * unit[chosen], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(decoder[DEAD], norms[1] * unit[chosen], rtol=1e-5, atol=1e-7)
    assert bias[DEAD] == 0
    for a, b in zip(parts(state.variables["params"]), parts(state.params), strict=True):
        np.testing.assert_array_equal(a[DEAD], b[DEAD])  # the average begins again


@pytest.mark.slow
def test_examples_are_drawn_by_the_squares_of_their_errors(plane):
    """4,000 dead units among four examples, of which one does not count."""
    x = np.eye(6, dtype=np.float32)[:4] * np.array([[1.0], [1.2], [1.5], [9.0]], np.float32)
    config = {"latent_dim": 4000, "model__init_scale": 1e-6}
    setup = prepared(plane, **RESAMPLED | config)
    state = setup.initial_state()
    memory = {"objective": {SINCE: jnp.full(4000, 9)}}
    model = BoundModel(setup.architecture.model, {"params": state.params, **memory})
    batch = as_batch(x, mask=jnp.asarray([1.0, 1.0, 1.0, 0.0]))
    objective = setup.numbers.objective
    revision = jax.jit(lambda key: objective.revise(model, batch, key))(jax.random.key(1))
    given = np.argmax(revision.params["head"]["mean"]["kernel"], axis=1)
    errors = np.array([1.0, 1.2, 1.5, 0.0]) ** 2  # almost nothing is reconstructed
    expected = 4000 * errors**2 / (errors**2).sum()
    counts = np.bincount(given, minlength=6)
    assert counts[3:].sum() == 0
    chi_square = ((counts - np.append(expected, [0, 0]))[:3] ** 2 / expected[:3]).sum()
    assert chi_square < 13.8  # 0.1% of two degrees of freedom


@pytest.mark.slow
def test_an_optimiser_forgets_what_was_changed_and_nothing_else():
    """Moments, sums of gradients and averages, of groups with optimisers of their own."""
    params = {"a": {"kernel": jnp.ones((2, 3))}, "b": {"kernel": jnp.ones((3, 2))}}
    numbers = Numbers(
        objective=SparseResampling(),
        optimiser=AdamW(ema=0.5, weight_decay_of="matrices", clip_norm=1.0),
        statistics=None,
        total_steps=10.0,
        groups={"b": Momentum(accumulate=2)},
        steps_per_epoch=10,
    )
    rule = numbers.transformation()
    state = rule.init(params)
    gradients = jax.tree.map(lambda p: 0.0 * p + 2.0, params)
    for _ in range(3):
        _, state = rule.update(gradients, state, params, value=1.0, weight=1.0)
    changed = jax.tree.map(lambda p: jnp.zeros(p.shape, bool).at[1].set(True), params)
    now = jax.tree.map(lambda p: 5.0 * p, params)
    after = forgotten(state, now, changed)
    same, seen = jax.tree.structure(state) == jax.tree.structure(after), 0
    assert same
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(after), strict=True
    ):
        if old.ndim < 2:
            np.testing.assert_array_equal(new, old)
            continue
        seen += 1
        kept = np.arange(len(old)) != 1
        np.testing.assert_array_equal(new[kept], old[kept])
        is_average = "average" in jax.tree_util.keystr(path)
        np.testing.assert_array_equal(new[1], 5.0 if is_average else 0.0)
        assert (old != 0).all()
    assert seen == 5  # two moments, a trace, a sum and an average


def test_it_is_time_so_many_times():
    objective = SparseResampling(every=5, times=2)
    due = [step for step in range(30) if objective.is_due(jnp.asarray(step))]
    assert due == [4, 9]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["shard_map", *(pytest.param(m, marks=pytest.mark.slow) for m in ("sharded", "pmap"))]
)
def test_eight_devices_draw_the_same(mode, plane):
    """With plain SGD: of Adam, whatever is next to nothing is a whole step."""
    options = RESAMPLED | {"optim__name": "sgd", "batch_size": 24, "epochs": 2}
    alone = train(prepared(plane, **options)).state
    spread = train(prepared(plane, **options, train__parallel=mode)).state
    chex.assert_trees_all_close(jax.device_get(spread), jax.device_get(alone), rtol=5e-5, atol=5e-6)
    assert alone.params["latent"]["code"]["bias"][DEAD] > -30


@pytest.mark.slow
def test_a_revised_run_continues_with_the_same_bits_in_one_program(resampled, plane, tmp_path):
    setup, whole = resampled
    train(setup, RunDirectory(tmp_path), until=1)  # two steps before the unit is drawn anew
    with compilations() as counts:
        rest = train(setup, RunDirectory(tmp_path))
    assert "jit(run_epoch)" not in counts
    chex.assert_trees_all_equal(jax.device_get(rest.state), jax.device_get(whole.state))
    assert timeless(rest.records) == timeless(whole.records)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (AUXK | {"model__latent": "relu"}, "SparseAuxK needs model.latent=top_k or batch_top_k or"),
        (RESAMPLED | {"hidden": [5]}, r"needs model.hidden=\[\], and model.hidden is \[5\]"),
        (RESAMPLED | {"model__decoder_hidden": [5]}, "the decoder has to be one linear map"),
        ({"objective__name": "sparse_l0"}, "SparseL0 needs model.latent=jump_relu, and"),
    ],
)
def test_what_has_no_such_units_is_refused(options, sentence, plane):
    with pytest.raises(UserError, match=sentence):
        prepared(plane, **options)


@pytest.mark.slow
def test_thresholds_rise_with_the_weight_of_the_units(plane):
    """The L0 penalty reaches the thresholds: fewer units with more of it."""
    options = {"objective__name": "sparse_l0", "model__latent": "jump_relu", "epochs": 5}
    few = {
        weight: train(
            prepare_run(configure(None, OPTIONS | options | {"objective__weight": weight}), plane)
        ).records[-1]["train/l0"]
        for weight in (0.0, 1.0)
    }
    assert few[1.0] < few[0.0]


@pytest.mark.parametrize("name", ["sparse_auxk", "sparse_resampling", "sparse_l0"])
def test_what_they_need_is_what_they_are_given(name):
    config = from_dict(override({}, [f"objective.name={name}", *OBJECTIVES.get(name).needs]))
    assert OBJECTIVES.name_of(type(config.objective)) == name
