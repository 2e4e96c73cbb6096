"""The one composition: encoder, latent, prior, decoder and likelihood head."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError, present
from ae_jax.models.base import Batch
from ae_jax.nn.forward import asked_for, call_part
from ae_jax.nn.tying import tie, untie


class Autoencoder(nn.Module):
    """x -> q(z|x, c) by encoder and latent, z -> p(x|z, c) by decoder and head, p(z|c) by a prior.

    The parts know nothing of each other: each is exchangeable for another of its registry.
    `condition` says what c is (`label` of so many `classes`, or `input`), `into` what sees it.
    `tied` makes the decoder's kernels the transposes of the encoder's, for dense parts that mirror
    each other; parameters then hold each kernel once.
    """

    encoder: nn.Module
    latent: nn.Module
    prior_part: nn.Module
    decoder: nn.Module
    head: nn.Module
    tied: bool = False
    condition: str = "none"
    classes: int | None = None
    into: tuple[str, ...] = ()

    @property
    def can_pad(self) -> bool:
        """Whether codes may have dimensions that are switched off: all parts must say so."""
        parts = (self.latent, self.prior_part, self.decoder)
        return all(getattr(part, "can_pad", False) for part in parts)

    def encode(self, batch: Batch) -> Any:
        """q(z|x, c) of data [B, ...]; its parameters are [B, Z]."""
        return self._posterior(batch["x"], self.condition_for("encoder", batch))

    def prior(self, batch: Batch) -> Any:
        """p(z|c); its parameters are those of all examples, or [B, Z]."""
        takes_codes = "encode" in asked_for(type(self.prior_part))
        given = (self._posterior,) if takes_codes else ()
        return call_part(self.prior_part, *given, condition=self.condition_for("prior", batch))

    def decode(self, z: Array, batch: Batch) -> Any:
        """p(x|z, c) given codes [..., B, Z]; its parameters are [..., B, D...]."""
        leading = z.shape[:-1]
        rows = math.prod(leading)
        condition = self.condition_for("decoder", batch)
        if condition is not None:
            condition = jnp.tile(
                condition, (rows // condition.shape[0], *[1] * (condition.ndim - 1))
            )
        likelihood = self._decode_rows(z.reshape(rows, z.shape[-1]), condition)
        codes = z.reshape(rows, z.shape[-1])
        shared = self._shared(likelihood, codes, condition)

        def apart(p: Array, is_shared: bool) -> Array:
            # What all examples share, such as one scale, broadcasts as it is.
            if is_shared or not p.ndim or p.shape[0] != rows:
                return p
            return p.reshape(*leading, *p.shape[1:])

        return jax.tree.map(apart, likelihood, shared)

    def _shared(self, likelihood: Any, codes: Array, condition: Array | None) -> Any:
        """Which parameters of p(x|z) do not belong to the codes though they are as many.

        One scale a dimension is so where as many codes are decoded as there are dimensions. Whether
        it is shows with twice as many codes: asked only where it could be.
        """
        event, rows = tuple(getattr(self.head, "shape", ())), codes.shape[0]
        if not any(
            0 < p.ndim <= len(event) and p.shape[0] == rows for p in jax.tree.leaves(likelihood)
        ):
            return jax.tree.map(lambda _: False, likelihood)
        module, variables = self.unbind()

        def twice(codes: Array, condition: Array | None) -> Any:
            own = [name for name in variables if name != "params"]
            return module.apply(variables, codes, condition, method="_decode_rows", mutable=own)[0]

        more = None if condition is None else jnp.concatenate([condition, condition])
        found = jax.eval_shape(twice, jnp.concatenate([codes, codes]), more)
        return jax.tree.map(lambda p, other: p.shape == other.shape, likelihood, found)

    def topics(self) -> Array:
        """The weights of words in topics, [Z, V]; the largest make up a topic.

        Each is what a unit of the code, or its share, does to the words, which has a meaning where
        the head alone maps codes or shares to words. Raises UserError where it is otherwise.
        """
        if self.tied or getattr(self.decoder, "hidden", None) or not hasattr(self.head, "topics"):
            raise UserError(
                "this model has no topics: they are the weights of a head over words (multinomial, "
                "topic_mixture) that sees the codes or their shares (model.decoder=softmax, or "
                "model.decoder_hidden=[])"
            )
        return self.head.topics()[-self.decoded_size :]  # what is before them is a condition's

    @property
    def decoded_size(self) -> int:
        """How many dimensions of the code the decoder sees."""
        return self.latent.dim

    def __call__(self, batch: Batch) -> Any:
        """Every part once, in the order of the data: what initialisation traces."""
        posterior = self.encode(batch)
        self.prior(batch)
        return self.decode(posterior.mean()[None], batch)

    def condition_for(self, part: str, batch: Batch) -> Array | None:
        """What a part sees of the condition. Raises UserError where the batch lacks it."""
        if self.condition == "none" or part not in self.into:
            return None
        if self.condition == "label":
            if "y" not in batch:
                raise UserError("the model is conditioned on the label: labels are needed as y")
            return jax.nn.one_hot(batch["y"], present(self.classes, "classes"))
        if "condition" not in batch:
            raise UserError("the model is conditioned on an input: it is needed as condition")
        return batch["condition"]

    def _posterior(self, x: Array, condition: Array | None = None) -> Any:
        features = call_part(self.encoder, x, condition=condition)
        _check_rows(features, self.encoder, "encoder", x.shape[0])
        return call_part(self.latent, features)

    def _decode_rows(self, z: Array, condition: Array | None) -> Any:
        def plain(module: "Autoencoder", z: Array) -> Any:
            features = call_part(module.decoder, z, condition=condition)
            _check_rows(features, module.decoder, "decoder", z.shape[0])
            return call_part(module.head, features)

        if not self.tied:
            return plain(self, z)
        starting = self.is_initializing()
        mapped = nn.map_variables(
            plain,
            "params",
            trans_in_fn=lambda variables: {"params": untie(variables["params"])},
            trans_out_fn=lambda variables: {"params": tie(variables["params"])},
            init=starting,
            mutable=starting,
        )
        return mapped(self, z)


def _check_rows(features: Any, part: nn.Module, role: str, rows: int) -> None:
    """Raises UserError for features that are not of so many examples, one row each."""
    # What is more than one array is between a part and the next, which are both the user's.
    if isinstance(features, jax.Array) and (not features.ndim or features.shape[0] != rows):
        raise UserError(
            f"the {role} {type(part).__name__} makes features of shape {features.shape} of {rows} "
            "examples: they are [N, ...], one row an example"
        )


def parameter_counts(params: dict) -> dict[str, int]:
    """How many numbers a parameter tree holds: `weights` (kernels), `other`, and their `total`.

    Lectures count weight matrices only: 784-100-2-100-784 has 157,200 weights.
    """
    weights = total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total += math.prod(leaf.shape)
        if path[-1].key == "kernel":
            weights += math.prod(leaf.shape)
    return {"weights": weights, "other": total - weights, "total": total}
