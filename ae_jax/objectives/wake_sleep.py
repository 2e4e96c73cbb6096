"""Two losses for two groups of parameters: the model by data, its inverse by dreams."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import struct
from jax import Array

from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw
from ae_jax.objectives.bound import ParameterPrior, monte_carlo_kl
from ae_jax.objectives.iwae import refuse_deterministic

GENERATIVE = ("prior_part", "decoder", "head")
RECOGNITION = ("encoder", "latent")


@struct.dataclass
class WakeSleep(ParameterPrior):
    """The wake-sleep algorithm (Hinton et al. 1995).

    wake    -log p(x, z) of data x and z ~ q(z|x), for decoder and prior
    sleep   -log q(z|x) of dreams z ~ p(z), x ~ p(x|z), for the encoder

    Neither loss sees where its sample came from. A conditional model dreams under the conditions of
    the batch. What layers keep (batch statistics) is of data, not of dreams. With a
    `parameter_prior` each loss has that of its own parameters. Metrics: `elbo`, `reconstruction`
    and `kl` at the draws of the wake phase, and both losses without that prior.
    """

    headline: ClassVar[str] = "elbo"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True
    through_draws: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("model.tied=False",)
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"wake": GENERATIVE, "sleep": RECOGNITION}

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_deterministic("wake_sleep", posterior, prior)

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        wake_key, sleep_key = jax.random.split(key)
        draws = draw(model, batch, wake_key, num_samples=1)
        reconstruction, divergence = draws.log_likelihood[0], monte_carlo_kl(draws)
        wake = -reconstruction - draws.log_prior[0]
        sleep = dream_loss(model.fixed(), batch, sleep_key)
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "wake_loss": wake,
            "sleep_loss": sleep,
        }
        losses = {
            "wake": wake + self.parameter_cost(model, GENERATIVE),
            "sleep": sleep + self.parameter_cost(model, RECOGNITION),
        }
        return Terms(losses, metrics)


def dream_loss(model: BoundModel, batch: Batch, key: Array) -> Array:
    """-log q(z|x) of one dream for each example of a batch, nats, [B]; dreams are held fixed."""
    z, x = dream(model, batch, key)
    return -model.encode({**batch, "x": x}).log_prob(z[None])[0]


def dream(model: BoundModel, batch: Batch, key: Array) -> tuple[Array, Array]:
    """z ~ p(z) [B, Z] and x ~ p(x|z) [B, ...], without a gradient, by the keys of the examples."""
    code_key, data_key = jax.random.split(key)
    z = model.prior(batch).sample(example_keys(code_key, batch["id"]), 1)  # [1, B, Z]
    x = model.decode(z, batch).sample(example_keys(data_key, batch["id"]), 1)[0, 0]
    return jax.lax.stop_gradient((z[0], x))
