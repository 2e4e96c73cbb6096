"""The contract of an objective, and what most of them compute first.

To add one: a frozen dataclass (`flax.struct.dataclass`) that derives from `Objective`, in a file
of this folder with a line in `__init__.py`, or in a file of your own that is named as
`path/to/file.py:Name`. Numbers (float fields) are traced, so that runs which differ in them share
one compiled program; whatever decides shapes or branches is declared with
`struct.field(pytree_node=False)`.
"""

from typing import Any, ClassVar

from flax import struct
from jax import Array

from ae_jax.numerics.noise import example_keys

Batch = dict[str, Array]


@struct.dataclass
class Terms:
    """What an objective says of a batch.

    `loss` [B] is differentiated and minimised; `metrics` are reported, each [B], in nats unless
    the name says otherwise. The two are apart on purpose: a surrogate need not be a bound.
    """

    loss: Array
    metrics: dict[str, Array]


@struct.dataclass
class Objective:
    """Base of all objectives; the instance holds the hyper-parameters.

    `headline` names the metric by which checkpoints are compared, `maximise` its direction.
    `whole_batch` declares that an example's terms depend on the rest of its batch: the step then
    passes `axis_name`, the mapped axis over which batch means must be taken (or None).
    `can_pad` declares that dimensions of the code which are 0 and switched off change nothing:
    runs with codes of different sizes may then share a program. `accepts_missing` declares that
    NaN in the data is a missing value to it. `needs` names the parts without which the objective
    has no meaning, as configuration assignments.
    """

    headline: ClassVar[str] = "loss"
    maximise: ClassVar[bool] = False
    whole_batch: ClassVar[bool] = False
    can_pad: ClassVar[bool] = False
    accepts_missing: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    def bind(self, num_examples: int) -> "Objective":
        """The objective for a training set of that size; most do not depend on it."""
        del num_examples
        return self

    def __call__(self, model: Any, params: dict, batch: Batch, key: Array, step: Array) -> Terms:
        """Terms of a batch: x [B, ...], id [B], mask [B]; `key` is the noise of this step."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


@struct.dataclass
class Draws:
    """K codes an example and what the model says of them: log densities are nats, [K, B]."""

    posterior: Any
    likelihood: Any
    z: Array
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array

    def log_weights(self) -> Array:
        """log p(x|z) + log p(z) - log q(z|x), nats, [K, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def draw(
    model: Any,
    params: dict,
    batch: Batch,
    key: Array,
    num_samples: int,
    first: Array | int = 0,
) -> Draws:
    """Encodes a batch, takes samples first, first + 1, ... of each example and decodes them."""
    variables = {"params": params}
    posterior = model.apply(variables, batch["x"], method="encode")
    z = posterior.sample(example_keys(key, batch["id"]), num_samples, first)  # [K, B, Z]
    likelihood = model.apply(variables, z, method="decode")
    return Draws(
        posterior=posterior,
        likelihood=likelihood,
        z=z,
        log_likelihood=likelihood.log_prob(batch["x"]),
        log_prior=model.prior.log_prob(z),
        log_posterior=posterior.log_prob(z),
    )
