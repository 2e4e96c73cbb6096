"""M2 on a tiny model: its bounds by NumPy, class by class, and which labels it looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data.batches import masked_totals
from ae_jax.models import Examples, ModelConfig, build_autoencoder
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import SemiSupervised
from ae_jax.objectives.semi_supervised import shown_labels
from tests import per_class
from tests.bound import as_batch, bound

CLASSES, DIM, DATA, COUNT, SCALE = 3, 2, 4, 40, 0.9
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(COUNT, DATA)).astype(np.float32)
Y = RNG.integers(0, CLASSES, COUNT).astype(np.int32)
MASK = np.ones(COUNT, np.float32)
MASK[-4:] = 0
MODEL = build_autoencoder(
    ModelConfig(
        hidden=(), latent_dim=DIM, head="gaussian_fixed", head_scale=SCALE, condition="label"
    ),
    Examples((DATA,), classes=CLASSES),
)
OBJECTIVE = SemiSupervised(labelled=0.4, alpha=0.2, classifier_hidden=())


def _layer(rows, columns):
    kernel, bias = RNG.normal(0, 0.5, (rows, columns)), RNG.normal(0, 0.5, columns)
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


PARAMS = {
    "latent": {
        "loc": _layer(DATA + CLASSES, DIM),
        "log_variance": _layer(DATA + CLASSES, DIM),
    },
    "head": {"mean": _layer(CLASSES + DIM, DATA)},
    "objective": {"output": _layer(DATA, CLASSES)},
}


@per_class.jit
def _terms(y, objective=OBJECTIVE):
    batch = as_batch(X, y=y, mask=jnp.asarray(MASK))
    return objective(bound(MODEL, PARAMS), batch, KEY, 0)


def _apply(layer, x):
    return x @ layer["kernel"].astype(np.float64) + layer["bias"]


def _by_hand(beta=1.0):
    """log p(x|y, z) + log p(y) - beta KL of every class, [C, N], and log q(y|x), [C, N]."""
    keys = example_keys(KEY, jnp.arange(COUNT))
    noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), (DIM,)))(keys)
    bounds = []
    for y in range(CLASSES):
        given = np.broadcast_to(np.eye(CLASSES)[y], (COUNT, CLASSES))
        seen = np.concatenate([X, given], axis=1)
        loc, log_variance = (_apply(PARAMS["latent"][n], seen) for n in ("loc", "log_variance"))
        z = loc + np.exp(0.5 * log_variance) * np.asarray(noise)
        means = _apply(PARAMS["head"]["mean"], np.concatenate([given, z], axis=1))
        error = ((X - means) / SCALE) ** 2 + np.log(2 * np.pi * SCALE**2)
        kl = 0.5 * (loc**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1)
        bounds.append(-0.5 * error.sum(axis=1) - np.log(CLASSES) - beta * kl)
    logits = _apply(PARAMS["objective"]["output"], X)
    return np.array(bounds), (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).T


SHOWN = np.asarray(shown_labels(jnp.arange(COUNT), 0.4))


@pytest.mark.slow
def test_the_bounds_are_those_of_every_class_by_hand():
    bounds, log_q = _by_hand()
    labelled = bounds[Y, np.arange(COUNT)]  # Eq. 6 of Kingma et al. 2014
    unlabelled = (np.exp(log_q) * (bounds - log_q)).sum(axis=0)  # Eq. 7
    expected = np.where(SHOWN, labelled, unlabelled)
    assert 5 < SHOWN.sum() < 30
    terms = _terms(Y)
    np.testing.assert_allclose(terms.metrics["bound"], expected, rtol=1e-4)
    surprise = -log_q[Y, np.arange(COUNT)]
    paid = np.where(SHOWN, 0.2 / 0.4 * surprise, 0.0)  # Eq. 9
    np.testing.assert_allclose(terms.loss, paid - expected, rtol=1e-4)


def test_beta_is_in_the_loss_and_not_in_the_report():
    (bounds, log_q), plain = _by_hand(beta=2.0), _terms(Y)
    terms = _terms(Y, OBJECTIVE.replace(beta=2.0, alpha=0.0))
    np.testing.assert_array_equal(terms.metrics["bound"], plain.metrics["bound"])
    unlabelled = (np.exp(log_q) * (bounds - log_q)).sum(axis=0)
    np.testing.assert_allclose(terms.loss[~SHOWN], -unlabelled[~SHOWN], rtol=1e-4)


def test_metrics_are_means_over_the_labels_that_they_are_of():
    _, log_q = _by_hand()
    reported, real = _terms(Y).reported(), MASK == 1
    right = log_q.argmax(axis=0) == Y
    # In batches of 3: of some every label is hidden, and they do not count.
    parts = [
        masked_totals({name: value[i : i + 3] for name, value in reported.items()}, MASK[i : i + 3])
        for i in range(0, COUNT, 3)
    ]
    assert 0 in [float(part.sums["weight of classifier_loss"]) for part in parts]
    mean = jax.tree.map(lambda *leaves: sum(leaves), *parts).means()
    assert not [name for name in mean if name.startswith("weight")]
    assert mean["hidden_accuracy"] == pytest.approx(right[real & ~SHOWN].mean(), rel=1e-5)
    surprise = -log_q[Y, np.arange(COUNT)]
    assert mean["classifier_loss"] == pytest.approx(surprise[real & SHOWN].mean(), rel=1e-4)


def test_hidden_labels_change_nothing_but_the_accuracy_on_them():
    other = np.where(SHOWN, Y, (Y + 1) % CLASSES).astype(np.int32)
    found, expected = _terms(other), _terms(Y)
    np.testing.assert_array_equal(found.loss, expected.loss)
    for name in ("bound", "classifier_loss"):
        np.testing.assert_array_equal(found.metrics[name], expected.metrics[name])
    assert (found.metrics["hidden_accuracy"] != expected.metrics["hidden_accuracy"]).any()
    shown = _terms(np.where(SHOWN, (Y + 1) % CLASSES, Y).astype(np.int32))
    assert (shown.loss[SHOWN] != expected.loss[SHOWN]).all()


def test_the_same_examples_show_their_labels_at_every_visit():
    ids = jnp.arange(10_000)
    shown = np.asarray(shown_labels(ids, 0.1))
    assert abs(shown.mean() - 0.1) < 4 * np.sqrt(0.09 / 10_000)
    np.testing.assert_array_equal(shown_labels(ids[500:600], 0.1), shown[500:600])
    assert np.asarray(shown_labels(ids, 0.2))[shown].all(), "more labels are the same and others"


def test_a_model_that_knows_no_classes_is_refused():
    plain = build_autoencoder(ModelConfig(hidden=(), head="gaussian"), Examples((DATA,)))
    with pytest.raises(UserError, match="Autoencoder does not say how many classes there are"):
        OBJECTIVE.init(KEY, plain, as_batch(X[:1]))
