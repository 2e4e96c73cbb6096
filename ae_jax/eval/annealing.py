"""log p(x) by annealed importance sampling, for posteriors that the encoder does not fit."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, Positive
from ae_jax.data.passes import EvaluationData
from ae_jax.eval.estimates import check_gradients, mean_and_error
from ae_jax.models import Batch, BoundModel
from ae_jax.models.hmc import Path, Place, adapted, keys_at, log_joint, transition
from ae_jax.numerics.noise import example_keys

REHEARSAL, ANNEALING = 0xA150, 0xA151  # folded into an example's key
SHARPNESS = 4.0  # of the schedule: both ends of it are slow


@dataclasses.dataclass(frozen=True)
class AnnealedLikelihood(Checked):
    """log p(x) by annealed importance sampling (Neal 2001), as Wu et al. 2017 use it on decoders.

    Chains start from `start`, the prior or the encoder's q(z|x), and go through `temperatures`
    densities between it and p(x, z), one Hamiltonian transition at each. The estimate, log of the
    mean weight of the `chains`, is a lower bound in expectation whatever the chains do; q may be
    loose, or far off.

    temperatures    betas after 0, by a sigmoid from 0 to 1 (Wu et al. 2017, Sec. 4.1); more of them
                    make the bound tighter, published figures have 10,000
    leapfrog_steps  of a transition
    burn_in         temperatures of a rehearsal that is thrown away: in it each example's step size
                    is adapted to its acceptance, as a function of beta. The weights are unbiased
                    because it is fixed afterwards
    step_size       with which the rehearsal begins
    """

    chains: Count = 4
    temperatures: Count = 100
    leapfrog_steps: Count = 5
    burn_in: Count = 25
    start: Literal["prior", "posterior"] = "prior"
    step_size: Positive = 0.2

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{ais_log_likelihood, ais_log_likelihood_se, ais_acceptance}, nats per example.

        The standard error is over examples. Raises UserError for codes that have no density, or
        are no real numbers.
        """
        smaller = dataclasses.replace(data, batch_size=max(1, data.batch_size // self.chains))
        found = smaller.rows(self.values_of, module, variables, key)
        return {
            **mean_and_error("ais_log_likelihood", found["ais_log_likelihood"]),
            "ais_acceptance": float(found["ais_acceptance"].mean()),
        }

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{ais_log_likelihood, ais_acceptance: [B]} of a batch. Raises UserError."""
        check_gradients(model, batch, "annealed importance sampling")
        model, keys = model.fixed(), example_keys(key, batch["id"])
        base = model.prior(batch) if self.start == "prior" else model.encode(batch)
        path = Path(
            lambda z: jnp.broadcast_to(base.log_prob(z), z.shape[:-1]), log_joint(model, batch)
        )

        def begin(stream: int) -> tuple[Place, Array]:
            own = keys_at(keys, stream)
            return path.at(base.sample(own, self.chains)), own

        step_size_at = self._rehearsed(path, *begin(REHEARSAL))
        place, own = begin(ANNEALING)
        betas = schedule(self.temperatures)

        def cool(carry: tuple[Place, Array], now: tuple[Array, Array, Array]):
            place, weight = carry
            index, before, beta = now
            weight = weight + (beta - before) * (place.joint - place.base)
            place, accepted = transition(
                path, place, beta, step_size_at(beta), keys_at(own, index), self.leapfrog_steps
            )
            return (place, weight), accepted.mean(axis=0)

        numbers = jnp.arange(self.temperatures)
        (_, weight), accepted = jax.lax.scan(
            cool, (place, jnp.zeros_like(place.base)), (numbers, betas[:-1], betas[1:])
        )
        return {
            "ais_log_likelihood": logsumexp(weight, axis=0) - math.log(self.chains),
            "ais_acceptance": accepted.mean(axis=0),
        }

    def _rehearsed(self, path: Path, place: Place, own: Array):
        """Step sizes [B] as a function of beta, from an annealing of its own."""
        betas = schedule(self.burn_in)[1:]

        def cool(carry: tuple[Place, Array], now: tuple[Array, Array]):
            place, log_size = carry
            index, beta = now
            place, accepted = transition(
                path, place, beta, jnp.exp(log_size), keys_at(own, index), self.leapfrog_steps
            )
            log_size = adapted(log_size, accepted, index)
            return (place, log_size), log_size

        first = jnp.full(own.shape, math.log(self.step_size))
        _, sizes = jax.lax.scan(cool, (place, first), (jnp.arange(self.burn_in), betas))  # [S, B]

        def at(beta: Array) -> Array:
            return jnp.exp(jax.vmap(lambda known: jnp.interp(beta, betas, known), 1)(sizes))

        return at


def schedule(count: int) -> Array:
    """beta_0 = 0 to beta_count = 1, by a sigmoid, [count + 1] (Wu et al. 2017, Sec. 4.1)."""
    raised = jax.nn.sigmoid(SHARPNESS * jnp.linspace(-1.0, 1.0, count + 1))
    return (raised - raised[0]) / (raised[-1] - raised[0])
