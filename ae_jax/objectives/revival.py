"""Sparse codes whose dead units come back to life: by a loss of their own, or drawn anew."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative
from ae_jax.distributions import ChosenPointMass, known_from
from ae_jax.nn.sparse_latents import highest
from ae_jax.nn.tying import decoder_chain, encoder_chain
from ae_jax.numerics.reductions import batch_mean, gather
from ae_jax.objectives.base import Batch, BoundModel, Revision, Terms, draw
from ae_jax.objectives.networks import code_size
from ae_jax.objectives.reconstruction import fit_metrics
from ae_jax.objectives.sparse import Sparse, code_metrics

SINCE = "steps_since_active"


@struct.dataclass
class Watched(Sparse):
    """What both share: a unit is dead that was active on no example for `dead_after` steps.

    The metric `silent_units` counts those, beside `dead_units` of the batch.
    """

    dead_after: Count = 500

    def init_memory(self, key: Array, model: Any, batch: Batch) -> dict[str, Array]:
        """Of each unit the steps since it was active, [Z]."""
        return {SINCE: jnp.zeros(code_size(model, key, batch), jnp.int32)}

    def dead(self, model: BoundModel) -> Array:
        """Which units are dead, bool [Z]."""
        return model.memory[SINCE] >= self.dead_after

    def watched(
        self, model: BoundModel, z: Array, mask: Array, axis_name: str | None
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Metrics of codes [B, Z], each [B], and what to remember after this batch."""
        active = (jnp.abs(z) > self.threshold).astype(z.dtype)
        is_seen = batch_mean(active, mask, axis_name) > 0
        since = jnp.where(is_seen, 0, model.memory[SINCE] + 1)
        silent = jnp.broadcast_to(self.dead(model).sum().astype(z.dtype), mask.shape)
        metrics = code_metrics(z, mask, self.threshold, axis_name)
        return metrics | {"silent_units": silent}, {SINCE: since}


@struct.dataclass
class SparseAuxK(Watched):
    """Reconstruction with `weight` * 1/2 |e - e'|^2 added, nats (Gao et al. 2024, App. A.2).

    e is what the reconstruction leaves of x, held fixed, and e' what the decoder makes of the
    `auxiliary_k` highest of the dead units alone (without its bias): they learn what the others
    leave. A unit that is not dead gets no gradient from it. The square is half of one as in a
    Gaussian likelihood of scale 1, so that the paper's weight 1/32 is in its unit.

    dead_after   steps without being active, after which a unit is dead
    """

    weight: NonNegative = 1 / 32
    auxiliary_k: Count = struct.field(pytree_node=False, default=32)

    needs: ClassVar[tuple[str, ...]] = ("model.latent=top_k",)
    instead: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model.latent": ("batch_top_k", "jump_relu")
    }

    def check(self, posterior: Any, prior: Any) -> None:
        if not isinstance(posterior, ChosenPointMass):
            raise UserError(
                "objective sparse_auxk needs a code of which units are chosen: model.latent=top_k, "
                "batch_top_k or jump_relu"
            )

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = draw(model, batch, key, num_samples=1)
        z, mask, x = draws.z[0], batch["mask"], batch["x"]
        metrics = fit_metrics(draws.likelihood, x)
        left = jax.lax.stop_gradient(x - known_from(draws.likelihood, x).mean()[0])
        auxiliary = self.auxiliary(model, batch, draws.posterior.candidates, left)
        more, memory = self.watched(model, z, mask, axis_name)
        loss = self.weight * auxiliary - metrics["reconstruction"]
        return Terms(loss, metrics | more | {"auxiliary": auxiliary}, memory)

    def auxiliary(self, model: BoundModel, batch: Batch, candidates: Array, left: Array) -> Array:
        """1/2 |e - e'|^2 of candidates [B, Z] and what is left of x; 0 where none is dead, [B]."""
        dead = jnp.broadcast_to(self.dead(model)[None], candidates.shape)
        among = jnp.where(dead, jax.lax.stop_gradient(candidates), -jnp.inf)
        kept = highest(among, min(self.auxiliary_k, candidates.shape[-1])) & dead
        codes = jnp.where(kept, candidates, 0.0)
        # Of no interest to the state of layers: no example has such a code.
        decoded = model.fixed().decode(jnp.stack([codes, 0.0 * codes]), batch)
        with_dead, bias = known_from(decoded, batch["x"]).mean()
        error = jnp.square(left - (with_dead - bias)).sum(axis=tuple(range(1, left.ndim)))
        return 0.5 * error * self.dead(model).any()


@struct.dataclass
class SparseResampling(Watched):
    """Reconstruction with `weight` * sum_j |z_j| added, whose dead units are drawn anew.

    For a code that is a linear map of x, rectified (`relu`) or chosen from, and a linear decoder
    (Bricken et al. 2023, "Neuron resampling"): every `every` steps, `times` times in all, a dead
    unit is given an example x of the batch, drawn with a probability that goes with the square of
    its squared error. Its weights in the decoder become x at the mean norm of those of units that
    live (the paper holds all at 1), its weights in the encoder x at 0.2 of the mean norm there, its
    bias 0, and what the optimiser remembers of these is forgotten. Other units keep every bit.

    dead_after   steps without being active, after which a unit is dead
    """

    weight: NonNegative = 0.1
    every: Count = 1000
    times: Count = 4

    needs: ClassVar[tuple[str, ...]] = ("model.hidden=[]", "model.latent=relu")
    instead: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model.latent": ("batch_top_k", "deterministic", "jump_relu", "top_k")
    }
    revises: ClassVar[bool] = True

    def init_memory(self, key: Array, model: Any, batch: Batch) -> dict[str, Array]:
        """Raises UserError for a model whose encoder or decoder is more than one map."""
        params = jax.eval_shape(lambda: model.init(key, batch))["params"]
        for chain, part in ((encoder_chain, "encoder"), (decoder_chain, "decoder")):
            if len(chain(params)) != 1:
                raise UserError(
                    f"objective sparse_resampling gives units examples as weights: the {part} has "
                    "to be one linear map (model.hidden=[], no model.decoder_hidden)"
                )
        return super().init_memory(key, model, batch)

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = draw(model, batch, key, num_samples=1)
        z = draws.z[0]
        metrics = fit_metrics(draws.likelihood, batch["x"])
        more, memory = self.watched(model, z, batch["mask"], axis_name)
        loss = self.weight * jnp.abs(z).sum(axis=-1) - metrics["reconstruction"]
        return Terms(loss, metrics | more, memory)

    def is_due(self, step: Array) -> Array:
        return ((step + 1) % self.every == 0) & (step < self.every * self.times)

    def revise(
        self, model: BoundModel, batch: Batch, key: Array, axis_name: str | None = None
    ) -> Revision:
        x, dead = batch["x"].reshape(batch["mask"].shape[0], -1), self.dead(model)
        error = fit_metrics(model.reconstruct(batch), batch["x"])["squared_error"]
        examples, errors, real = gather((x, error, batch["mask"]), axis_name)
        log_share = jnp.where(real > 0, 2 * jnp.log(errors), -jnp.inf)
        # One draw a unit, the same on all devices.
        given = examples[jax.random.categorical(key, log_share, shape=dead.shape)]  # [Z, D]
        given = given / jnp.maximum(jnp.linalg.norm(given, axis=-1, keepdims=True), 1e-12)
        parts = model.parts()
        (coder, decoder) = encoder_chain(parts)[-1], decoder_chain(parts)[0]
        fresh = {}
        kernel = parts[coder[0]][coder[1]]["kernel"]  # [D, Z]
        fresh[*coder, "kernel"] = 0.2 * _mean_norm(kernel, dead, axis=0) * given.T
        fresh[*coder, "bias"] = jnp.zeros(dead.shape)
        if "kernel" in parts[decoder[0]][decoder[1]]:  # unless it is the encoder's
            kernel = parts[decoder[0]][decoder[1]]["kernel"]  # [Z, D]
            fresh[*decoder, "kernel"] = _mean_norm(kernel, dead, axis=1) * given
        where = {
            (*coder, "kernel"): dead[None],
            (*coder, "bias"): dead,
            (*decoder, "kernel"): dead[:, None],
        }

        def is_changed(path: Any, leaf: Array) -> Array:
            names = tuple(entry.key for entry in path)
            return jnp.broadcast_to(where[names] if names in fresh else False, leaf.shape)

        def changed_leaf(path: Any, leaf: Array, changes: Array) -> Array:
            names = tuple(entry.key for entry in path)
            return jnp.where(changes, fresh[names], leaf) if names in fresh else leaf

        changed = jax.tree_util.tree_map_with_path(is_changed, model.params)
        params = jax.tree_util.tree_map_with_path(changed_leaf, model.params, changed)
        since = jnp.where(dead, 0, model.memory[SINCE])
        return Revision(params, changed, {SINCE: since})


def _mean_norm(kernel: Array, dead: Array, axis: int) -> Array:
    """Mean norm of the weights of units that live; of all, where none does."""
    norms = jnp.linalg.norm(kernel, axis=axis)
    lives = jnp.where(dead.all(), True, ~dead)
    return (norms * lives).sum() / lives.sum()
