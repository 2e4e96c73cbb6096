"""What a model of counts gives back are counts, whatever its likelihood has to be told for it."""

import numpy as np
import pytest

import ae_jax


@pytest.mark.slow_cases("topic_mixture")
@pytest.mark.parametrize("head", ["multinomial", "topic_mixture"])
def test_reconstructions_of_counts_have_their_totals(head):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 60, 80)
    x = np.stack([rng.multinomial(count, rng.dirichlet(np.ones(12))) for count in lengths])
    shares = {"model__decoder": "softmax"} if head == "topic_mixture" else {}
    model = ae_jax.fit(
        x.astype(np.uint16), latent_dim=3, hidden=[8], epochs=3, batch_size=16,
        model__head=head, **shares,
    )  # fmt: skip
    made = model.reconstruct(x)
    np.testing.assert_allclose(made.sum(axis=1), lengths, rtol=1e-5)
    decoded = model.decode(model.encode(x))  # nothing says how long a text of this code is
    np.testing.assert_allclose(made, lengths[:, None] * decoded, rtol=1e-4)
    np.testing.assert_allclose(model.score(x), np.square(made - x).sum(axis=1), rtol=1e-4)
    test = model.setup.dataset.splits["test"]
    errors = np.square(model.reconstruct(test) - test.x).sum(axis=1)
    found = model.evaluate("test")["squared_error_per_example"]
    assert found == pytest.approx(errors.mean(), rel=1e-4)
