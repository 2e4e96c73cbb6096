"""How the weights start, kept apart from the architecture.

A scheme fills the leaves named `kernel` and `bias` of a parameter tree; any other leaf (a learned
scale) keeps the start its module gave it. Kept apart, the scale of the weights is a number like
the step size: runs that differ in it share one compiled program.

Which scheme is right depends on what follows the weights: `fitting` says it. With plain Glorot
weights a stack of logistic layers passes on a sixteenth of the variance a layer, and hardly learns.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from ae_jax.core.registry import Registry

Scheme = Callable[[Array, tuple[int, ...], str, float], Array]


def normal(key: Array, shape: tuple[int, ...], leaf: str, scale: float) -> Array:
    """N(0, scale^2) for weights and biases alike, as in Kingma & Welling 2014."""
    del leaf
    return scale * jax.random.normal(key, shape)


def _by_fan(initialiser: Callable[..., Array]) -> Scheme:
    """A variance-scaling scheme: kernels by fan-in and fan-out times `scale`, biases 0."""

    def scheme(key: Array, shape: tuple[int, ...], leaf: str, scale: float) -> Array:
        if leaf == "bias":
            return jnp.zeros(shape)
        return scale * initialiser(key, shape)

    return scheme


INITIALISERS = Registry[Scheme](
    "initialisation",
    {
        "glorot_normal": _by_fan(initializers.glorot_normal()),
        "glorot_uniform": _by_fan(initializers.glorot_uniform()),
        "he_normal": _by_fan(initializers.he_normal()),
        "he_uniform": _by_fan(initializers.he_uniform()),
        "lecun_normal": _by_fan(initializers.lecun_normal()),
        "normal": normal,
        "orthogonal": _by_fan(initializers.orthogonal()),
    },
)


# What fits an activation, and the factor on it. Glorot & Bengio 2010 for units with a slope of 1 at
# 0, and four times that for logistic ones (their equation 16 is for tanh, which is steeper by 4);
# He et al. 2015 for those that let about half of their input through.
_GLOROT, _HE = "glorot_uniform", "he_uniform"
FITTING = {
    "elu": (_HE, 1.0),
    "gelu": (_HE, 1.0),
    "leaky_relu": (_HE, 1.0),
    "linear": (_GLOROT, 1.0),
    "relu": (_HE, 1.0),
    "sigmoid": (_GLOROT, 4.0),
    "silu": (_HE, 1.0),
    "softplus": (_GLOROT, 1.0),
    "tanh": (_GLOROT, 1.0),
}


def fitting(activation: str) -> tuple[str, float]:
    """The scheme that goes with an activation, and the factor on its weights.

    One of your own is taken for one with a slope of 1 at 0.
    """
    return FITTING.get(activation, (_GLOROT, 1.0))


def initialise(params: dict, key: Array, scheme: str, scale: float) -> dict:
    """The same tree with every `kernel` and `bias` drawn anew by the named scheme."""
    fill = INITIALISERS.get(scheme)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    # The keys of all leaves at once: one by one, they take a third of what there is to compile.
    places = jnp.arange(len(leaves), dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
    filled = []
    for (path, value), own in zip(leaves, keys, strict=True):
        leaf = path[-1].key
        if leaf in ("kernel", "bias"):
            value = fill(own, value.shape, leaf, scale)
        filled.append(value)
    return jax.tree_util.tree_unflatten(structure, filled)
