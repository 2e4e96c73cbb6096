"""Wake-sleep whose samples are weighted by how well they explain the data."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
from flax import struct
from jax import Array

from ae_jax.core.ranges import Count
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Draws, Objective, Terms, score
from ae_jax.objectives.iwae import log_mean, refuse_deterministic, weight_metrics
from ae_jax.objectives.wake_sleep import GENERATIVE, RECOGNITION, dream_loss


@struct.dataclass
class ReweightedWakeSleep(Objective):
    """Reweighted wake-sleep (Bornschein & Bengio 2015, Alg. 1).

    With z_k ~ q(z|x), held fixed, and their normalised weights s_k ~ p(x, z_k) / q(z_k|x):

    generative    -log 1/K sum_k p(x, z_k) / q(z_k|x), whose gradient is that of
                  -sum_k s_k log p(x, z_k), for decoder and prior
    recognition   `wake`: -sum_k s_k log q(z_k|x), for the encoder; `sleep`: that of wake-sleep, at
                  a dream an example; `both`: their mean

    num_samples   K

    Metrics: those of `Iwae`, and `recognition_loss`.
    """

    num_samples: Count = struct.field(pytree_node=False, default=5)
    recognition: Literal["wake", "sleep", "both"] = struct.field(pytree_node=False, default="wake")

    headline: ClassVar[str] = "iwae"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True
    through_draws: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("model.tied=False",)
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "generative": GENERATIVE,
        "recognition": RECOGNITION,
    }

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_deterministic("reweighted_wake_sleep", posterior, prior)

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        wake_key, sleep_key = jax.random.split(key)
        posterior = model.encode(batch)
        keys = example_keys(wake_key, batch["id"])
        z = jax.lax.stop_gradient(posterior.sample(keys, self.num_samples))  # [K, B, Z]
        draws = score(model, batch, posterior, z)
        recognition = self._recognition(model.fixed(), batch, draws, sleep_key)
        losses = {"generative": -log_mean(draws.log_weights()), "recognition": recognition}
        return Terms(losses, weight_metrics(draws) | {"recognition_loss": recognition})

    def _recognition(self, model: BoundModel, batch: Batch, draws: Draws, key: Array) -> Array:
        """The loss of the encoder, nats, [B]."""
        shares = jax.nn.softmax(jax.lax.stop_gradient(draws.log_weights()), axis=0)  # [K, B]
        wake = -(shares * draws.log_posterior).sum(axis=0)
        if self.recognition == "wake":
            return wake
        sleep = dream_loss(model, batch, key)
        return sleep if self.recognition == "sleep" else 0.5 * (wake + sleep)
