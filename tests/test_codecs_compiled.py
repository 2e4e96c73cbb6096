"""Programs of codecs are those of their class, also where another has the same fields."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs import mean_squared_error
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.kmeans import KMeansCodec
from ae_jax.codecs.spherical_mixture import SphericalMixtureCodec


def test_every_class_has_a_program_of_its_own():
    """By fields alone, about one in seven of these would run the program of another."""

    @struct.dataclass
    class First:
        number: Array

        @compiled_method
        def times(self) -> Array:
            return self.number * self.factor

    def derived(factor: int) -> type[First]:
        made = type(f"Times{factor}", (First,), {"__annotations__": {}, "factor": factor})
        return struct.dataclass(made)

    kinds = [derived(factor) for factor in range(30)]
    assert [int(kind(jnp.ones(())).times()) for kind in kinds] == list(range(30))


def test_errors_of_two_codecs_with_the_same_fields_are_their_own():
    """K-means and a mixture of the same centres: the nearest against shares of all."""
    rng = np.random.default_rng(0)
    x, centres = rng.normal(size=(40, 3)), rng.normal(size=(2, 3))
    squares = np.square(x[:, None] - centres[None]).sum(axis=2)
    shares = np.exp(-0.5 * squares) / np.exp(-0.5 * squares).sum(axis=1, keepdims=True)
    nearest = np.eye(2)[squares.argmin(axis=1)]
    fields = {"relative": centres, "origin": np.zeros(3), "weights": [0.5, 0.5], "variance": 1.0}
    fields = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    for kind, codes in ((KMeansCodec, nearest), (SphericalMixtureCodec, shares)):
        expected = np.square(x - codes @ centres).sum(axis=1).mean()
        got = mean_squared_error(kind(**fields), x.astype(np.float32))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
