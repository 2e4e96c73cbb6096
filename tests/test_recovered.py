"""The loss recovered downstream, against NumPy and the share of variance explained."""

import jax.numpy as jnp
import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.eval import LossRecovered


@pytest.fixture(scope="module")
def model(image_set):
    return ae_jax.fit(
        image_set, objective="reconstruction", latent="deterministic", head="gaussian_fixed",
        hidden=[8], latent_dim=3, epochs=10, batch_size=20, learning_rate=0.01,
        progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def arrays(model, image_set):
    """The test examples in model units, and their reconstructions."""
    x = image_set.splits["test"].x
    return x / 255.0, np.float64(model.reconstruct(x, units="model"))


@pytest.mark.slow
def test_of_the_distance_it_is_the_variance_explained(model, arrays):
    x, outputs = arrays
    found = model.evaluate("test", ["loss_recovered", "explained_variance"])
    assert 0.05 < found["loss_recovered"] < 1
    np.testing.assert_allclose(found["loss_recovered"], found["explained_variance"], rtol=1e-5)
    error, spread = ((x - outputs) ** 2).sum(), ((x - x.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(found["loss_recovered"], 1 - error / spread, rtol=1e-4)
    assert found["loss_original"] == 0
    np.testing.assert_allclose(found["loss_ablated"], spread / len(x), rtol=1e-5)


@pytest.mark.slow
def test_zero_may_stand_in_for_the_examples(model, arrays):
    x, outputs = arrays
    found = model.evaluate("test", [LossRecovered(ablation="zero")])
    expected = 1 - ((x - outputs) ** 2).sum() / (x**2).sum()
    np.testing.assert_allclose(found["loss_recovered"], expected, rtol=1e-4)


DOWNSTREAM = """
import jax.numpy as jnp
from ae_jax.eval import LossRecovered

def upright(x, batch):
    "Logistic loss of a rule that tells upright bars from lying ones by the spread of their sums."
    rows, columns = x.sum(axis=(2, 3)), x.sum(axis=(1, 3))
    logit = jnp.var(columns, axis=1) - jnp.var(rows, axis=1)
    return jnp.logaddexp(0.0, jnp.where(batch["y"] == 1, -logit, logit))

Upright = LossRecovered(loss=upright)
"""


@pytest.mark.slow
def test_a_function_of_the_users_is_taken_from_its_file(model, arrays, image_set, tmp_path):
    file = tmp_path / "downstream.py"
    file.write_text(DOWNSTREAM)
    y = image_set.splits["test"].y

    def loss(x):
        logit = np.var(x.sum(axis=(1, 3)), axis=1) - np.var(x.sum(axis=(2, 3)), axis=1)
        return np.logaddexp(0.0, np.where(y == 1, -logit, logit)).mean()

    x, outputs = arrays
    original, left, ablated = (loss(v) for v in (x, outputs, 0 * x + x.mean(axis=0)))
    by_name = model.evaluate("test", [LossRecovered(loss=f"{file}:upright")])
    as_evaluator = model.evaluate("test", [f"{file}:Upright"])
    for found in (by_name, as_evaluator):
        np.testing.assert_allclose(
            found["loss_recovered"], (ablated - left) / (ablated - original), rtol=1e-3
        )
    assert ablated > 2 * original


def constant(x, batch):
    return jnp.ones(x.shape[0])


def summed(x, batch):
    return x.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evaluator", "sentence"),
    [
        (LossRecovered(loss=constant), "loses nothing where examples are ablated"),
        (LossRecovered(loss=summed), r"one loss an example, \(40,\), not \(\)"),
        (LossRecovered(loss="distanse"), "did you mean 'distance'"),
    ],
)
def test_what_gives_no_share_is_refused(evaluator, sentence, model):
    with pytest.raises(UserError, match=sentence):
        model.evaluate("test", [evaluator])
    with pytest.raises(UserError, match="ablation: input should be 'mean' or 'zero'"):
        LossRecovered(ablation="median")
