"""What bounds on log p(x) share: a weight of the KL that warms up, a prior of parameters."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError, present
from ae_jax.core.fields import changed
from ae_jax.core.ranges import NonNegative
from ae_jax.distributions import has_kl, kl
from ae_jax.objectives.base import BoundModel, Draws, Objective, sum_of


@struct.dataclass
class ParameterPrior(Objective):
    """Options of objectives that may look for the most probable parameters.

    parameter_prior  `normal` adds -log p(theta) / N with p(theta) = N(0, I) over all parameters of
                     the model: the MAP estimate of Kingma & Welling 2014, Sec. 5, a weight decay
                     of 1/N on the mean bound
    num_examples     N, set from the training set
    """

    parameter_prior: Literal["none", "normal"] = struct.field(pytree_node=False, default="none")
    num_examples: float | None = None

    def bind(self, num_examples: int) -> Self:
        """With N set. Raises UserError where another one was given."""
        if self.num_examples not in (None, float(num_examples)):
            raise UserError(
                f"objective.num_examples={self.num_examples:g} is not for you to set: it is the "
                f"number of training examples, {num_examples:,}"
            )
        return dataclasses.replace(self, num_examples=float(num_examples))

    def parameter_cost(
        self, model: BoundModel, parts: Sequence[str] | None = None
    ) -> Array | float:
        """-log p(theta) / N without its constant, nats per example; by default of all parts."""
        if self.parameter_prior == "none":
            return 0.0
        params = model.parts()
        if parts is not None:
            params = {name: params[name] for name in parts if name in params}
        squares = sum_of(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
        return 0.5 * squares / present(self.num_examples, "num_examples")


@struct.dataclass
class Bound(ParameterPrior):
    """Options of every bound; the reported bound has beta = 1 and no prior of parameters.

    beta             weight of the KL, log q(z|x) - log p(z), in the loss (Higgins et al. 2017)
    beta_warmup      steps over which the weight grows linearly from 0 to beta
    """

    beta: NonNegative = 1.0
    beta_warmup: NonNegative = 0.0

    maximise: ClassVar[bool] = True
    of_kl: ClassVar[tuple[str, ...]] = ("beta", "beta_warmup")  # options of draws or of the KL

    def check_idle(self, posterior: Any, prior: Any) -> None:
        """Raises UserError for what is asked of draws or of the KL of a code that has neither."""
        # What a subclass of the user's own makes of its options is its own.
        owner = next(one for one in type(self).__mro__ if "__call__" in vars(one))
        if posterior.is_deterministic and owner.__module__.startswith("ae_jax.objectives"):
            refuse_changed(self, self.of_kl, "the code is deterministic: it has no draws and no KL")

    def beta_at(self, step: Array) -> Array:
        """The weight of the KL at a step: linear from 0, then constant."""
        ramp = jnp.minimum(1.0, step / jnp.maximum(self.beta_warmup, 1.0))
        return self.beta * jnp.where(self.beta_warmup > 0, ramp, 1.0)

    def weighted(self, draws: Draws, step: Array) -> Array:
        """log p(x|z) + beta (log p(z) - log q(z|x)), nats, [K, B]: the weights that a loss has."""
        ratio = draws.log_prior - draws.log_posterior
        return draws.log_likelihood + self.beta_at(step) * ratio


def refuse_changed(objective: Objective, options: Sequence[str], why: str) -> None:
    """Raises UserError for the first of some options that is not at its default."""
    for option in options:
        if option in changed(objective):
            value = getattr(objective, option)
            raise UserError(f"objective.{option}={value} changes nothing: {why}")


def monte_carlo_kl(draws: Draws) -> Array:
    """The mean of log q(z|x) - log p(z) over the draws, nats, [B]; 0 for a point mass."""
    if draws.posterior.is_deterministic or draws.prior.is_deterministic:
        return kl(draws.posterior, draws.prior)  # known where both are, refused elsewhere
    return (draws.log_posterior - draws.log_prior).mean(axis=0)


def kl_of(draws: Draws) -> Array:
    """KL(q(z|x) || p(z)), nats, [B]: in closed form, or by Monte Carlo where none is known."""
    if has_kl(draws.posterior, draws.prior):
        return kl(draws.posterior, draws.prior)
    return monte_carlo_kl(draws)
