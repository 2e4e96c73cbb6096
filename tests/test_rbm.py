"""Restricted Boltzmann machines against enumeration and quadrature on small ones."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.models import Examples, build_autoencoder
from ae_jax.models.rbm import RBM, RestrictedBoltzmannMachine, build_rbm, rbm_from_params
from ae_jax.objectives import ContrastiveDivergence
from ae_jax.objectives.base import check_needs
from ae_jax.train.config import ModelConfig, RunConfig
from ae_jax.train.step import TrainState, make_step
from tests import per_class
from tests.bound import as_batch, bound, decoded, encoded, initial

KEY = jax.random.key(0)
KINDS = [("bernoulli", "bernoulli"), ("gaussian", "bernoulli"), ("bernoulli", "gaussian")]
kinds = pytest.mark.parametrize(("visible", "hidden"), KINDS)


def _machine(visible="bernoulli", hidden="bernoulli", d=3, h=2, seed=0, scale=0.8):
    rng = np.random.default_rng(seed)
    arrays = (rng.normal(0, scale, shape) for shape in ((d, h), (d,), (h,)))
    return RBM(*(jnp.asarray(a, jnp.float32) for a in arrays), visible, hidden)


def _states(units, size):
    """States [N, size] of a layer and log weights [N]: sums over them are sums or integrals."""
    if units == "bernoulli":
        return np.array(list(itertools.product([0.0, 1.0], repeat=size))), np.zeros(2**size)
    # Gauss-Hermite, moved and stretched to where these machines have their mass.
    nodes, weights = np.polynomial.hermite.hermgauss(60)
    log_weights = np.log(weights) + nodes**2 + 0.5 * np.log(2)
    points = np.array(list(itertools.product(np.sqrt(2) * nodes, repeat=size)))
    return points, np.array(list(itertools.product(log_weights, repeat=size))).sum(axis=1)


def _log_joint(machine):
    """-E(v, h) of all states in float64, [V, H], with the states and their log weights."""
    v, log_v = _states(machine.visible, machine.kernel.shape[0])
    h, log_h = _states(machine.hidden, machine.kernel.shape[1])
    kernel, a, b = (np.asarray(p, np.float64) for p in jax.tree.leaves(machine))

    def own(u, c, units):
        return -u @ c if units == "bernoulli" else 0.5 * ((u - c) ** 2).sum(axis=1)

    energy = own(v, a, machine.visible)[:, None] + own(h, b, machine.hidden)[None]
    return v @ kernel @ h.T - energy, v, log_v, h, log_h


@pytest.mark.slow_cases("bernoulli-bernoulli")
@kinds
def test_free_energy_sums_the_hidden_units_out(visible, hidden):
    machine = _machine(visible, hidden)
    log_joint, v, _, h, log_h = _log_joint(machine)
    chosen = np.linspace(0, len(v) - 1, 8).astype(int)
    energy = machine.energy(
        jnp.asarray(v[chosen][:, None].repeat(len(h), 1), jnp.float32),
        jnp.asarray(np.broadcast_to(h, (8, *h.shape)), jnp.float32),
    )
    np.testing.assert_allclose(energy, -log_joint[chosen], rtol=1e-4, atol=1e-4)
    expected = -logsumexp(log_joint[chosen] + log_h, axis=1)
    np.testing.assert_allclose(
        machine.free_energy(jnp.asarray(v[chosen], jnp.float32)), expected, rtol=1e-4, atol=1e-4
    )


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_the_partition_function_is_that_of_all_states(visible, hidden, seed):
    machine = _machine(visible, hidden, seed=seed)
    log_joint, _, log_v, _, log_h = _log_joint(machine)
    expected = logsumexp(log_joint + log_v[:, None] + log_h[None])
    assert float(machine.log_partition()) == pytest.approx(expected, abs=1e-4)


@kinds
def test_probabilities_sum_to_1(visible, hidden):
    machine = _machine(visible, hidden)
    v, log_v = _states(visible, 3)
    log_p = np.asarray(machine.log_likelihood(jnp.asarray(v, jnp.float32)), np.float64)
    assert logsumexp(log_p + log_v) == pytest.approx(0.0, abs=1e-4)


@kinds
def test_encode_and_decode_are_conditional_means(visible, hidden):
    machine = _machine(visible, hidden)
    log_joint, v, log_v, h, log_h = _log_joint(machine)
    given_v = np.exp(log_joint + log_h - logsumexp(log_joint + log_h, axis=1, keepdims=True))
    weighted = log_joint + log_v[:, None]
    given_h = np.exp(weighted - logsumexp(weighted, axis=0, keepdims=True))
    near = np.abs(v).max(axis=1) < 3
    code = machine.encode(jnp.asarray(v[near], jnp.float32))
    np.testing.assert_allclose(code, (given_v @ h)[near], rtol=1e-3, atol=1e-4)
    near = np.abs(h).max(axis=1) < 3
    data = machine.decode(jnp.asarray(h[near], jnp.float32))
    np.testing.assert_allclose(data, (given_h.T @ v)[near], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_enumerated_is_refused():
    for machine in (_machine("gaussian", "gaussian"), _machine(d=21, h=21)):
        with pytest.raises(UserError, match="needs a layer of at most 20 Bernoulli units"):
            machine.log_partition()
    assert np.isfinite(_machine(d=21, h=2).log_partition())


@kinds
def test_swapping_the_layers_twice_changes_nothing_and_once_keeps_the_partition(visible, hidden):
    machine = _machine(visible, hidden)
    twice = machine.swapped().swapped()
    assert jax.tree.structure(twice) == jax.tree.structure(machine)
    jax.tree.map(np.testing.assert_array_equal, twice, machine)
    a, b = machine.log_partition(), machine.swapped().log_partition()
    assert float(a) == pytest.approx(float(b), abs=1e-5)


def _chains(machine, count, steps, **options):
    start = jnp.zeros((count, machine.kernel.shape[0]))
    run = jax.jit(partial(machine.gibbs, steps=steps, **options))
    return run(jax.random.split(KEY, count), start)


@pytest.mark.slow
def test_gibbs_sampling_arrives_at_the_distribution_of_the_machine():
    machine, count = _machine(), 20_000
    end = np.asarray(_chains(machine, count, 30))
    v, _ = _states("bernoulli", 3)
    expected = np.exp(machine.log_likelihood(jnp.asarray(v, jnp.float32)))
    found = (end[:, None] == v[None]).all(axis=2).mean(axis=0)
    assert found.sum() == 1.0
    assert (np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / count)).all()
    assert np.abs(found - 1 / 8).max() > 0.05, "the machine ought to be far from uniform"


@pytest.mark.slow
def test_gibbs_sampling_with_gaussian_units_has_the_moments_of_the_machine():
    machine, count = _machine("gaussian"), 20_000
    end = np.asarray(_chains(machine, count, 30), np.float64)
    v, log_v = _states("gaussian", 3)
    density = np.exp(machine.log_likelihood(jnp.asarray(v, jnp.float32)) + log_v)
    mean = density @ v
    variance = density @ (v - mean) ** 2
    assert (np.abs(end.mean(axis=0) - mean) < 5 * np.sqrt(variance / count)).all()
    np.testing.assert_allclose(end.var(axis=0), variance, rtol=0.06)


def test_visible_means_are_the_decoded_hidden_samples():
    machine = _machine()
    end = np.asarray(_chains(machine, 200, 1, visible_means=True))
    h, _ = _states("bernoulli", 2)
    possible = np.asarray(machine.decode(jnp.asarray(h, jnp.float32)))
    distances = np.abs(end[:, None] - possible[None]).max(axis=2).min(axis=1)
    assert distances.max() < 1e-6
    assert len(np.unique(end.round(5), axis=0)) > 1


def _params(machine):
    return {
        "hidden": {"kernel": machine.kernel, "bias": machine.hidden_bias},
        "visible": {"bias": machine.visible_bias},
    }


def _model(machine):
    d, h = machine.kernel.shape
    return RestrictedBoltzmannMachine((d,), h, machine.visible, machine.hidden)


def _data(visible, count, d=3):
    rng = np.random.default_rng(8)
    x = (
        rng.random((count, d)) < [0.8, 0.3, 0.6]
        if visible == "bernoulli"
        else rng.normal([1.0, -0.5, 0.2], 1.2, (count, d))
    )
    return jnp.asarray(x, jnp.float32)


@per_class.jit(static_argnums=1)
def _gradients(objective, model, params, x):
    """One gradient an example, [B, ...]."""

    def loss(params, example):
        return objective(bound(model, params), example, KEY, 0).loss[0]

    examples = jax.tree.map(lambda a: a[:, None], as_batch(x))
    return jax.vmap(jax.grad(loss), (None, 0))(params, examples)


@pytest.mark.slow_cases("bernoulli-bernoulli")
@kinds
def test_the_gradient_of_many_steps_is_that_of_the_exact_likelihood(visible, hidden):
    machine = _machine(visible, hidden, scale=0.5)
    x = jnp.tile(_data(visible, 40), (250, 1))
    objective = ContrastiveDivergence(num_steps=40, visible_means=False)
    gradients = _gradients(objective, _model(machine), _params(machine), x)

    def exact(params):
        return -rbm_from_params(params, visible, hidden).log_likelihood(x[:40]).mean()

    expected = jax.jit(jax.grad(exact))(_params(machine))
    for estimates, value in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        estimates = np.asarray(estimates, np.float64)
        error = estimates.std(axis=0) / np.sqrt(len(estimates))
        assert (np.abs(estimates.mean(axis=0) - value) < 4.5 * error).all()
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected)) > 0.1


@kinds
def test_the_gradient_of_the_partition_function_is_the_mean_free_energy_gradient(visible, hidden):
    """What the negative sample estimates: d log Z / d theta = -E_p[d F / d theta]."""
    machine = _machine(visible, hidden)
    v, log_v = _states(visible, 3)
    v = jnp.asarray(v, jnp.float32)
    density = jnp.exp(machine.log_likelihood(v) + jnp.asarray(log_v, jnp.float32))
    actual = jax.grad(RBM.log_partition)(machine)
    expected = jax.grad(lambda m: -(density * m.free_energy(v)).sum())(machine)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.slow_cases(
    "False-bernoulli-gaussian", "False-gaussian-bernoulli", "True-bernoulli-bernoulli"
)
@kinds
@pytest.mark.parametrize("visible_means", [True, False])
def test_one_step_is_the_update_of_contrastive_divergence(visible, hidden, visible_means):
    """<v h> of the data less that of the reconstruction, with mean hidden units in both."""
    machine, x = _machine(visible, hidden), _data(visible, 30)
    objective = ContrastiveDivergence(visible_means=visible_means, weight_decay=0.2)
    model, batch = _model(machine), as_batch(x)

    def loss(params):
        return objective(bound(model, params), batch, KEY, 0).loss.mean()

    gradient = jax.jit(jax.grad(loss))(_params(machine))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, batch["id"])
    end = np.asarray(machine.gibbs(keys, x, 1, visible_means), np.float64)
    start = np.asarray(x, np.float64)
    h0, h1 = (np.asarray(machine.encode(jnp.asarray(v, jnp.float32))) for v in (start, end))
    kernel = np.asarray(machine.kernel)
    statistics = (start.T @ h0 - end.T @ h1) / 30
    np.testing.assert_allclose(gradient["hidden"]["kernel"], 0.2 * kernel - statistics, atol=2e-5)
    bias = (start - end).mean(axis=0)
    np.testing.assert_allclose(gradient["visible"]["bias"], -bias, atol=2e-5)
    if hidden == "bernoulli":
        expected = -(h0 - h1).mean(axis=0)
        np.testing.assert_allclose(gradient["hidden"]["bias"], expected, atol=2e-5)


def _patterns():
    """Bars and stripes of 3x3: 14 pictures (MacKay 2003, Sec. 43)."""
    rows = [np.repeat(bits, 3) for bits in itertools.product([0.0, 1.0], repeat=3)]
    columns = [np.tile(bits, 3) for bits in itertools.product([0.0, 1.0], repeat=3)]
    return jnp.asarray(np.unique(rows + columns, axis=0), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 5])
def test_training_by_the_one_step_learns_bars_and_stripes(steps):
    """Likelihood rises from that of fair coins towards that of the 14 pictures."""
    x = _patterns()
    assert x.shape == (14, 9)
    model = RestrictedBoltzmannMachine((9,), 10)
    params = initial(model, x)
    objective = ContrastiveDivergence(1e-4, steps, visible_means=False)
    optimiser = optax.sgd(0.1, momentum=0.9)
    step = make_step(model, objective, optimiser)
    batch = as_batch(jnp.tile(x, (4, 1)))

    @jax.jit
    def fit(state):
        return jax.lax.scan(lambda s, _: (step(s, batch)[0], None), state, length=3000)[0]

    state = TrainState(jnp.zeros((), jnp.int32), jnp.uint32(0), params, optimiser.init(params))
    after = rbm_from_params(fit(state).params)
    before = float(rbm_from_params(params).log_likelihood(x).mean())
    reached = float(after.log_likelihood(x).mean())
    assert before == pytest.approx(-9 * np.log(2), abs=0.05)
    assert -np.log(14) - 1.0 < reached < -np.log(14)


@kinds
def test_the_model_is_the_machine_on_examples_of_any_shape(visible, hidden):
    machine = _machine(visible, hidden, d=6)
    model = RestrictedBoltzmannMachine((3, 2, 1), 2, visible, hidden)
    params = _params(machine)
    x = jnp.asarray(np.random.default_rng(0).random((5, 3, 2, 1)), jnp.float32)
    flat = x.reshape(5, 6)
    posterior = encoded(model, params, x)
    np.testing.assert_allclose(posterior.mean(), machine.encode(flat), rtol=1e-6)
    mean = decoded(model, params, posterior.mean()).mean()
    assert mean.shape == x.shape
    np.testing.assert_allclose(mean.reshape(5, 6), machine.decode(machine.encode(flat)), rtol=1e-6)
    energy = bound(model, params).call("free_energy", as_batch(x), x)
    np.testing.assert_allclose(energy, machine.free_energy(flat), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"head": "gaussian"}, "an RBM has model.head bernoulli or gaussian_fixed, not gaussian"),
        ({"latent": "relu"}, "an RBM has model.latent sigmoid or gaussian, not relu"),
        ({"head": "gaussian_fixed", "head_scale": 0.5}, "have model.head_scale 1, not 0.5"),
    ],
)
def test_what_is_no_machine_is_refused(options, sentence):
    config = ModelConfig(**{"head": "bernoulli", "latent": "sigmoid", **options})
    with pytest.raises(UserError, match=sentence):
        build_rbm(config, Examples((4,)))


def test_units_are_chosen_by_head_and_latent():
    config = ModelConfig(head="gaussian_fixed", latent="gaussian", latent_dim=7)
    expected = RestrictedBoltzmannMachine((4,), 7, "gaussian", "gaussian")
    assert build_rbm(config, Examples((4,))) == expected


def test_contrastive_divergence_is_for_machines():
    objective = ContrastiveDivergence()
    with pytest.raises(UserError, match="needs model.name=rbm, and model.name is autoencoder"):
        check_needs(objective, RunConfig(objective=objective), labels=False)
    config = ModelConfig(head="bernoulli", latent="sigmoid")
    model = build_autoencoder(config, Examples((3,)))
    with pytest.raises(UserError, match="Autoencoder has no method gibbs"):
        objective(bound(model, {}), as_batch(jnp.ones((2, 3))), KEY, 0)
