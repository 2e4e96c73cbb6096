"""Monte Carlo EM: its chains against exact posteriors, its gradients against exact evidence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.api import fit, load
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.models import BoundModel
from ae_jax.objectives import Mcem
from ae_jax.objectives.mcem import ACCEPTED, CODES, LOG_STEP_SIZE, VISITS
from ae_jax.train.config import from_dict
from ae_jax.train.prepare import prepare_run
from ae_jax.train.step import gradients
from tests import one_dimension as one
from tests.bound import as_batch, bound
from tests.linear_gaussian import LinearGaussian

KEY = jax.random.key(5)
MEMORY = "objective"  # the collection

# Columns that are not orthogonal: the posterior is correlated.
WEIGHTS = np.array([[1.4, 0.9], [0.2, -0.8], [-0.6, 0.1]])
KNOWN = LinearGaussian(WEIGHTS, np.array([0.3, -0.5, 1.0]), 0.7)
X = KNOWN.sample(3, seed=2)
CHAINS = 1500  # of each example
GROUPS = 30


def params():
    """The decoder of KNOWN and an encoder that is far from its posterior."""
    return KNOWN.wrong_params(1)


def exact_posterior(x):
    """Means [N, Z] and the covariance [Z, Z] of p(z|x), by NumPy."""
    covariance = np.linalg.inv(np.eye(2) + WEIGHTS.T @ WEIGHTS / KNOWN.scale**2)
    return (x - KNOWN.bias) @ WEIGHTS / KNOWN.scale**2 @ covariance, covariance


def memory_of(objective, module, x):
    return objective.init_memory(jax.random.key(9), module, as_batch(x[:1]))


@pytest.fixture(scope="module")
def settled():
    """Many chains of each of a few examples, after 120 transitions at fixed parameters.

    Returns the objective, the batch, what it remembers, and acceptance by transition.
    """
    x = np.repeat(X, CHAINS, axis=0)
    objective = Mcem(updates=1).bind(len(x))
    module, batch, theta = KNOWN.model, as_batch(x), params()

    @jax.jit
    def run(memory):
        def visit(memory, step):
            model = BoundModel(module, {"params": theta, MEMORY: memory}, train=True)
            terms = objective(model, batch, jax.random.fold_in(KEY, step), step)
            return terms.memory, terms.metrics["acceptance"].mean()

        return jax.lax.scan(visit, memory, jnp.arange(120))

    memory, accepted = run(memory_of(objective, module, x))
    return objective, batch, memory, np.asarray(accepted)


@pytest.mark.slow
def test_codes_are_draws_of_the_exact_posterior(settled):
    """Means and covariances of independent chains, within their errors."""
    codes = np.asarray(settled[2][CODES], np.float64).reshape(len(X), CHAINS, 2)
    means, covariance = exact_posterior(X)
    error = np.sqrt(np.diag(covariance) / CHAINS)
    assert (np.abs(codes.mean(axis=1) - means) < 4.5 * error).all()
    spread = np.sqrt((covariance**2 + np.outer(*2 * [np.diag(covariance)])) / CHAINS)
    for own in codes:
        assert (np.abs(np.cov(own.T) - covariance) < 4.5 * spread).all()


def test_the_step_size_follows_the_acceptance(settled):
    objective, _, memory, accepted = settled
    assert accepted[0] > 0.95  # it begins with small steps
    assert accepted[-10:].mean() == pytest.approx(objective.acceptance, abs=0.01)
    assert float(memory[LOG_STEP_SIZE]) > np.log(0.3)


@pytest.mark.slow
def test_gradients_are_those_of_the_exact_evidence(settled):
    """Fisher's identity for the generative parameters; for the encoder, of -E log q(z|x)."""
    objective, batch, memory, _ = settled
    parted = jax.tree.map(lambda rows: rows[:CHAINS].reshape(GROUPS, -1, *rows.shape[1:]), batch)

    @jax.jit
    @jax.vmap
    def of(group):
        def losses(theta):
            model = BoundModel(KNOWN.model, {"params": theta, MEMORY: memory}, train=True)
            terms = objective(model, group, jax.random.key(77), 120)
            return {name: loss.mean() for name, loss in terms.losses().items()}, None

        return gradients(losses, params(), objective.groups)[1]

    found = of(parted)
    x, theta = np.float64(X[0]), jax.tree.map(np.float64, params())
    (mean,), covariance = exact_posterior(x[None])

    def evidence(theta):
        head = theta["head"]["mean"]
        return -LinearGaussian(head["kernel"].T, head["bias"], KNOWN.scale).log_evidence(x)

    def recognition(theta):
        latent = theta["latent"]
        loc = x @ latent["loc"]["kernel"] + latent["loc"]["bias"]
        log_variance = x @ latent["log_variance"]["kernel"] + latent["log_variance"]["bias"]
        squares = np.diag(covariance) + (mean - loc) ** 2
        return 0.5 * (log_variance + squares * np.exp(-log_variance)).sum()

    expected = {
        "head": one.gradient(evidence, theta)["head"],
        "latent": one.gradient(recognition, theta)["latent"],
    }

    def check(drawn, exact):
        drawn = np.asarray(drawn, np.float64)
        error = drawn.std(axis=0, ddof=1) / np.sqrt(GROUPS)
        assert (np.abs(drawn.mean(axis=0) - exact) < 4.5 * error).all()
        assert (error < 0.1 * np.abs(exact).max()).all()  # or nothing is said

    assert found.keys() == expected.keys()
    jax.tree.map(check, found, expected)


def test_a_code_moves_at_the_first_of_its_visits_and_repeats_leave_it():
    """Of six examples four are visited, one as a repeat; twice, and the third visit is due."""
    x = KNOWN.sample(6)
    objective = Mcem(updates=2).bind(6)
    batch = as_batch(x[:4], mask=jnp.asarray([1.0, 1.0, 1.0, 0.0]))
    # Ids of a training set that is not the first of its data set.
    batch["id"] = batch["id"] + 18

    @jax.jit
    def visit(memory, step):
        model = BoundModel(KNOWN.model, {"params": params(), MEMORY: memory}, train=True)
        return objective(model, batch, jax.random.fold_in(KEY, step), step)

    memories, losses = [memory_of(objective, KNOWN.model, x)], []
    for step in range(3):
        terms = visit(memories[-1], step)
        memories.append(terms.memory)
        losses.append(terms.loss["generative"])
    codes = [np.asarray(memory[CODES]) for memory in memories]
    moved = [(b != a).any(axis=1).tolist() for a, b in zip(codes, codes[1:], strict=False)]
    assert moved == [3 * [True] + 3 * [False], 6 * [False], 3 * [True] + 3 * [False]]
    assert memories[-1][VISITS].tolist() == [3, 3, 3, 0, 0, 0]
    sizes = [float(memory[LOG_STEP_SIZE]) for memory in memories]
    assert sizes[0] != sizes[1] == sizes[2] != sizes[3]
    np.testing.assert_array_equal(memories[1][ACCEPTED], memories[2][ACCEPTED])
    # The loss is at the code that is kept, by NumPy.
    z = np.float64(codes[2][:3])
    means = z @ WEIGHTS.T + KNOWN.bias
    log_joint = one.log_normal(x[:3], means, KNOWN.scale**2).sum(axis=1)
    log_joint += one.log_normal(z, 0.0, 1.0).sum(axis=1)
    np.testing.assert_allclose(losses[1][:3], -log_joint, rtol=1e-5)


def test_a_look_has_no_chains_and_its_bound_is_that_of_the_encoder():
    known = LinearGaussian.example()
    x = known.sample(5)
    objective = Mcem().bind(5)
    look = jax.jit(lambda: objective(bound(known.model, known.exact_params), as_batch(x), KEY, 0))
    terms = look()
    assert terms.memory is None and "acceptance" not in terms.metrics
    np.testing.assert_allclose(terms.metrics["elbo"], known.log_evidence(x), atol=3e-5)


@pytest.fixture(scope="module")
def rows():
    return DataSet("rows", {"train": Split(KNOWN.sample(70))})


PLAIN = {
    "data": {"preprocess": "identity"},
    "model": {"hidden": [], "latent_dim": 2, "head": "gaussian_fixed", "head_scale": 0.7},
    "objective": {"name": "mcem", "updates": 2},
    "optim": {"name": "adam", "learning_rate": 0.05},
    "train": {"batch_size": 20, "epochs": 150},
    "eval": {"every": 150},
}


@pytest.fixture(scope="module")
def trained(rows):
    return fit(rows, config=from_dict(PLAIN))


@pytest.mark.slow
def test_the_model_comes_to_the_highest_likelihood(trained, rows):
    """That of probabilistic PCA in closed form at the given scale (Tipping & Bishop 1999)."""
    x = np.float64(rows.splits["train"].x)
    head = jax.tree.map(np.float64, trained.params["head"]["mean"])
    found = LinearGaussian(head["kernel"].T, head["bias"], 0.7).log_evidence(x).mean()
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    columns = vectors[:, 1:] * np.sqrt(np.maximum(values[1:] - 0.7**2, 0))
    best = LinearGaussian(columns, x.mean(axis=0), 0.7).log_evidence(x).mean()
    assert best - 0.02 < found <= best + 1e-6
    record = trained.records[-1]
    assert record["running/acceptance"] == pytest.approx(0.9, abs=0.05)
    # The encoder learned the posterior of what the chains draw: its bound is below, and close.
    assert found - 0.3 < record["train/elbo"] < found + 0.1


def test_a_saved_model_is_read_again_and_again(trained, tmp_path):
    """What is remembered is one code a training example, and the file knows how many those are."""
    assert trained.collections[MEMORY][CODES].shape == (70, 2)  # in batches of 20
    again = load(load(trained.save(tmp_path / "a")).save(tmp_path / "b"))
    chex.assert_trees_all_equal(jax.device_get(trained.variables), jax.device_get(again.variables))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": "deterministic"}, "mcem needs a random code and a prior over it"),
        ({"latent": "one_hot"}, "mcem moves codes along gradients and needs codes of real numbers"),
        ({"latent": "deterministic", "prior": "standard_normal"}, "mcem needs a random code"),
        ({"tied": True}, "needs model.tied=False, and model.tied is True"),
    ],
)
def test_what_has_no_chains_is_refused(options, message, rows):
    config = from_dict({**PLAIN, "model": {**PLAIN["model"], **options}})
    with pytest.raises(UserError, match=message):
        prepare_run(config, rows)


def test_the_number_of_chains_is_that_of_the_training_examples(rows):
    config = from_dict({**PLAIN, "objective": {"name": "mcem", "num_chains": 7}})
    with pytest.raises(UserError, match="num_chains=7 is not for you to set: .* examples, 70"):
        prepare_run(config, rows)
