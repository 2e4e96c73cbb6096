"""The contract of a model, and the one way objectives and evaluators use it.

A model is a Linen module with three methods, called inside `apply`:

    encode(batch) -> q(z|x, c)      a distribution over codes, [B, Z]
    prior(batch) -> p(z|c)          a distribution over codes, for the batch or for every example
    decode(z, batch) -> p(x|z, c)   a distribution over data, given codes [K, B, Z]

All three may have parameters and may look at what the batch is conditioned on. A batch is
{"x": [B, ...], "id": [B], "mask": [B]} and, where there are any, "y" [B] and "condition" [B, ...].

Objectives and evaluators get a `BoundModel`: the module with its variables, in a pass that trains
or looks. `draw` encodes, samples, decodes, and takes the three log densities.
"""

from collections.abc import Mapping
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Float

from ae_jax.core.errors import UserError
from ae_jax.distributions import check_distribution, known_from
from ae_jax.nn.forward import Forward, passing
from ae_jax.numerics.noise import example_keys

Batch = dict[str, Array]

# The place of an objective's own parameters beside those of the model's parts, and of what it
# remembers beside what layers write.
OWN = "objective"
LAYERS = 0x1A7E25  # folded into the key of a step for the noise of layers


class BoundModel:
    """A model with its variables; calls of it are traced, nothing is stored in the module.

    What layers write while they train (batch statistics) collects in `collections`. Inside a JAX
    transformation of your own (`jax.vjp`, `jax.vmap`, ...) use `fixed()`, which drops it.

    active   [Z], which dimensions of the code are in use, where codes are padded; else None
    """

    def __init__(
        self,
        module: Any,
        variables: dict[str, Any],
        *,
        key: Array | None = None,
        train: bool = False,
        axis_name: str | None = None,
        active: Array | None = None,
    ):
        self._module, self._key, self._train = module, key, train
        self.params = variables["params"]
        self.collections = {name: tree for name, tree in variables.items() if name != "params"}
        self.axis_name, self.active = axis_name, active
        self._keeps = True

    def encode(self, batch: Batch) -> Any:
        """q(z|x, c) of a batch."""
        return self._restricted(self._checked("encode", batch, batch))

    def prior(self, batch: Batch) -> Any:
        """p(z|c) for a batch."""
        return self._restricted(self._checked("prior", batch, batch))

    def decode(self, z: Array, batch: Batch) -> Any:
        """p(x|z, c) given codes [K, B, Z]; its parameters are [K, B, D...]."""
        return self._checked("decode", batch, z, batch)

    def reconstruct(self, batch: Batch) -> Any:
        """p(x|z, c) at the mean of q(z|x, c), [1, B, D...]; counts in the totals of x."""
        likelihood = self.decode(self.encode(batch).mean()[None], batch)
        return known_from(likelihood, batch["x"])

    def call(self, method: str, batch: Batch, *args: Any) -> Any:
        """Any other method of the module, given `args`, in the pass over this batch."""
        if not hasattr(self._module, method):
            raise UserError(f"{type(self._module).__name__} has no method {method}")
        return self._apply(method, batch, *args)

    @property
    def own(self) -> Any:
        """The parameters of the objective itself, as its `init` made them."""
        return self.params[OWN]

    @property
    def memory(self) -> Any:
        """What the objective itself remembers, as its last `Terms.memory`, or `init_memory`."""
        return self.collections[OWN]

    @property
    def trains(self) -> bool:
        """Whether this is a pass that trains, and not a look."""
        return self._train

    def parts(self) -> Any:
        """The parameters of the model without those of the objective; a codec is one whole."""
        if not isinstance(self.params, Mapping):
            return self.params
        return {name: value for name, value in self.params.items() if name != OWN}

    def with_params(self, params: Any) -> "BoundModel":
        """The same model at other parameters; what its layers write is dropped."""
        other = self.fixed()
        other.params = params
        return other

    def looked_at(self) -> "BoundModel":
        """The same model in a look: its layers drop nothing, normalise by what they have seen."""
        variables = {"params": self.params, **self.collections}
        return BoundModel(self._module, variables, axis_name=self.axis_name, active=self.active)

    def fixed(self) -> "BoundModel":
        """The same model, whose layers keep their state: for use inside a JAX transformation."""
        other = BoundModel(
            self._module,
            {"params": self.params, **self.collections},
            key=self._key,
            train=self._train,
            axis_name=self.axis_name,
            active=self.active,
        )
        other._keeps = False
        return other

    def _checked(self, method: str, batch: Batch, *args: Any) -> Any:
        result = self._apply(method, batch, *args)
        check_distribution(result, f"{method} of {type(self._module).__name__}")
        return result

    def _restricted(self, distribution: Any) -> Any:
        return distribution if self.active is None else distribution.restricted(self.active)

    def _apply(self, method: str, batch: Batch, *args: Any) -> Any:
        keys = None
        if self._train and self._key is not None:
            keys = example_keys(jax.random.fold_in(self._key, LAYERS), batch["id"])
        forward = Forward(self._train, batch.get("mask"), keys, self.axis_name)
        written = {name: tree for name, tree in self.collections.items() if name != OWN}
        variables = {"params": self.parts(), **written}
        mutable = list(written) if self._train else False
        with passing(forward):
            try:
                result = self._module.apply(variables, *args, method=method, mutable=mutable)
            except flax.errors.InvalidRngError as error:
                raise UserError(
                    f"a layer of {type(self._module).__name__} draws noise by make_rng, one key "
                    "for all examples: take the keyword keys, one key a row, in its __call__"
                ) from error
            except flax.errors.ModifyScopeVariableError as error:
                raise UserError(
                    f"a layer of {type(self._module).__name__} writes its state in a look: take "
                    "the keyword train in its __call__, and write only where it is true"
                ) from error
        if mutable is False:
            return result
        result, changed = result
        if self._keeps:
            self.collections |= changed
        return result


@struct.dataclass
class Draws:
    """K codes an example and what the model says of them: log densities are nats, [K, B]."""

    posterior: Any
    prior: Any
    likelihood: Any
    z: Float[Array, "K B *event"]
    log_likelihood: Float[Array, "K B"]
    log_prior: Float[Array, "K B"]
    log_posterior: Float[Array, "K B"]

    def log_weights(self) -> Float[Array, "K B"]:
        """log p(x|z) + log p(z) - log q(z|x), nats, [K, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def draw(
    model: BoundModel, batch: Batch, key: Array, num_samples: int, first: Array | int = 0
) -> Draws:
    """Encodes a batch, takes samples first, first + 1, ... of each example and scores them."""
    posterior = model.encode(batch)
    keys = example_keys(key, batch["id"])
    z, log_posterior = posterior.sample_and_log_prob(keys, num_samples, first)  # [K, B, Z], [K, B]
    return score(model, batch, posterior, z, log_posterior)


def score(
    model: BoundModel, batch: Batch, posterior: Any, z: Array, log_posterior: Array | None = None
) -> Draws:
    """What the model says of codes [K, B, Z], wherever they come from.

    A gradient estimator may put something between drawing and scoring: a scaled gradient of z, a
    posterior whose parameters are held fixed.
    """
    prior, likelihood = model.prior(batch), model.decode(z, batch)
    if not posterior.is_deterministic:
        refuse_other_values(posterior, prior)
    shape = z.shape[:-1]
    return Draws(
        posterior=posterior,
        prior=prior,
        likelihood=likelihood,
        z=z,
        log_likelihood=likelihood.log_prob(batch["x"]),
        log_prior=jnp.broadcast_to(prior.log_prob(z), shape),
        log_posterior=posterior.log_prob(z) if log_posterior is None else log_posterior,
    )


def refuse_other_values(posterior: Any, prior: Any) -> None:
    """Raises UserError where codes are of one kind (one-hot, shares) and those of the prior not."""
    if not prior.is_deterministic and posterior.support != prior.support:
        raise UserError(
            f"codes in {posterior.support.description} have no density under a prior over "
            f"{prior.support.description}: choose a model.prior that goes with model.latent"
        )
