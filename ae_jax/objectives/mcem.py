"""Monte Carlo EM: a generative model that learns from codes of Markov chains, one an example."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError, present
from ae_jax.core.ranges import Count
from ae_jax.distributions import REAL_LINE
from ae_jax.models.hmc import adapted, posterior_path, transition
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.reductions import batch_mean, gather
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw, score
from ae_jax.objectives.bound import ParameterPrior, monte_carlo_kl
from ae_jax.objectives.iwae import refuse_deterministic
from ae_jax.objectives.networks import code_size
from ae_jax.objectives.wake_sleep import GENERATIVE, RECOGNITION

Rate = Annotated[float, Field(gt=0, lt=1)]
# Of each training example, and the log step size that all share.
CODES, VISITS, ACCEPTED, LOG_STEP_SIZE = "codes", "visits", "accepted", "log_step_size"
FIRST_STEP_SIZE = 0.2


@struct.dataclass
class Mcem(ParameterPrior):
    """Monte Carlo EM by Hamiltonian Monte Carlo (Kingma & Welling 2014, Sec. 5 and App. D).

    Each training example has a chain, whose code z goes on to its next visit:

    generative    -log p(x, z), for decoder and prior: where z is drawn from p(z|x), the mean of its
                  gradient is that of -log p(x)
    recognition   -log q(z|x), for the encoder

    z is held fixed in both. At the first of every `updates` visits of an example its code makes one
    transition, of `leapfrog_steps`, that leaves p(z|x) as it is (the E-step); the other visits
    train at the same code (the M-step). All chains share a step size, which follows the acceptance.

    updates         visits of an example for each transition; the paper's 5
    leapfrog_steps  of a transition; the paper's 10
    acceptance      that the step size is adapted to; the paper's 0.9
    num_chains      set from the training set

    The method needs no encoder, and its chains never ask one. The encoder is fitted beside, to the
    codes of the chains, so that new examples have codes: what the generative model learns is the
    same without. Metrics: `elbo`, `reconstruction` and `kl` at a draw of q(z|x), a lower bound that
    is as loose as that encoder, and both losses without the prior of parameters. In training also
    `acceptance`, of each example's last transition, and `step_size`. In a look there are no chains:
    both losses are at the draw of q(z|x).
    """

    updates: Count = 5
    leapfrog_steps: Count = struct.field(pytree_node=False, default=10)
    acceptance: Rate = 0.9
    num_chains: Count | None = struct.field(pytree_node=False, default=None)

    headline: ClassVar[str] = "elbo"
    maximise: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("model.tied=False",)
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "generative": GENERATIVE,
        "recognition": RECOGNITION,
    }

    def bind(self, num_examples: int) -> Self:
        """With N chains. Raises UserError where another number was given."""
        if self.num_chains not in (None, num_examples):
            raise UserError(
                f"objective.num_chains={self.num_chains} is not for you to set: it is the number "
                f"of training examples, {num_examples:,}"
            )
        return dataclasses.replace(super().bind(num_examples), num_chains=num_examples)

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_deterministic("mcem", posterior, prior)
        for each in (posterior, prior):
            if each.support != REAL_LINE:
                raise UserError(
                    "objective mcem moves codes along gradients and needs codes of real numbers, "
                    f"not {each.support.description}"
                )

    def init_memory(self, key: Array, model: Any, batch: Batch) -> dict[str, Array]:
        """Codes [N, Z] drawn from N(0, I), visits and acceptance [N], the log step size."""
        chains = present(self.num_chains, "num_chains")
        return {
            CODES: jax.random.normal(key, (chains, code_size(model, key, batch))),
            VISITS: jnp.zeros(chains, jnp.int32),
            ACCEPTED: jnp.zeros(chains),
            LOG_STEP_SIZE: jnp.asarray(math.log(FIRST_STEP_SIZE), jnp.float32),
        }

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        chain_key, draw_key = jax.random.split(key)
        draws = draw(model.fixed(), batch, draw_key, num_samples=1)
        z, memory = draws.z[0], None
        more: dict[str, Array] = {}
        if model.trains:
            z, more, memory = self._moved(model, batch, chain_key, step, axis_name)
        scored = score(model, batch, model.encode(batch), jax.lax.stop_gradient(z)[None])
        generative = -scored.log_likelihood[0] - scored.log_prior[0]
        recognition = -scored.log_posterior[0]
        reconstruction, divergence = draws.log_likelihood[0], monte_carlo_kl(draws)
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "generative_loss": generative,
            "recognition_loss": recognition,
        }
        losses = {
            "generative": generative + self.parameter_cost(model, GENERATIVE),
            "recognition": recognition + self.parameter_cost(model, RECOGNITION),
        }
        return Terms(losses, metrics | more, memory)

    def _moved(
        self, model: BoundModel, batch: Batch, key: Array, step: Array, axis_name: str | None
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """The codes of a batch, [B, Z], metrics of their chains, [B], and what to remember."""
        kept, mask = model.memory, batch["mask"]
        # Ids of the training set follow one another, from whatever number.
        places = batch["id"] % kept[VISITS].shape[0]
        codes, visits, accepted = (kept[name][places] for name in (CODES, VISITS, ACCEPTED))
        due = visits % self.updates == 0
        still = model.looked_at().with_params(jax.lax.stop_gradient(model.params))
        log_size = kept[LOG_STEP_SIZE]

        def move() -> tuple[Array, Array]:
            path, keys = posterior_path(still, batch), example_keys(key, batch["id"])
            sizes = jnp.full(mask.shape, jnp.exp(log_size))
            place, moved = transition(
                path, path.at(codes[None]), 1.0, sizes, keys, self.leapfrog_steps
            )
            return jnp.where(due[:, None], place.z[0], codes), jnp.where(due, moved[0], accepted)

        # Examples of an epoch are due together: most batches have none to move.
        is_any = (due & (mask > 0)).any()
        codes, accepted = jax.lax.cond(is_any, move, lambda: (codes, accepted))
        share = batch_mean(due.astype(mask.dtype), mask, axis_name)
        rate = batch_mean(due * accepted, mask, axis_name) / jnp.where(share > 0, share, 1.0)
        new_size = adapted(log_size, rate[None], step / self.updates, self.acceptance)
        rows = gather(
            {
                "place": jnp.where(mask > 0, places, kept[VISITS].shape[0]),  # repeats: nowhere
                CODES: codes,
                VISITS: visits + 1,
                ACCEPTED: accepted,
            },
            axis_name,
        )
        place = rows.pop("place")
        memory = {name: kept[name].at[place].set(rows[name], mode="drop") for name in rows}
        memory[LOG_STEP_SIZE] = jnp.where(share > 0, new_size, log_size)
        size = jnp.broadcast_to(jnp.exp(log_size), mask.shape)
        return codes, {"acceptance": accepted, "step_size": size}, memory
