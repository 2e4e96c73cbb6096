"""A fitted codec as a model: encode, prior and decode of a batch, as a network answers them."""

import dataclasses
import math
from typing import Any

import jax
from jax import Array

from ae_jax.codecs.base import Codec, CodecSpec
from ae_jax.core.errors import UserError
from ae_jax.distributions import Gaussian, NoPrior, PointMass

Batch = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """Answers `apply({"params": codec}, ..., method=...)` as a Linen module does.

    `shape` is that of one example: codecs see it flat. A codec with random codes has a posterior, a
    prior and a noise of its own; the code of any other is a point. Where there is no prior, nothing
    can be drawn; where there is no noise, the likelihood is a Gaussian of unit variance.

    `kind` is the class of the codec, though the codec is given with every call: programs are
    compiled for a model, and JAX takes the pytrees of two dataclasses with the same fields for
    equal. By their values alone it would sometimes run the program of k-means for a mixture.
    """

    shape: tuple[int, ...]
    kind: type[Codec]

    @classmethod
    def of(cls, spec: CodecSpec, shape: tuple[int, ...]) -> "CodecModel":
        """The model of what `spec` fits to examples of `shape`."""
        form = jax.eval_shape(lambda: spec.blank(math.prod(shape)))
        return cls(shape, type(form))

    def apply(
        self, variables: dict[str, Codec], *args: Any, method: str, mutable: bool | list = False
    ) -> Any:
        """`encode`, `prior` or `decode`, with the codec as the parameters. Nothing is mutable."""
        if mutable:
            raise UserError("a codec is fitted, not trained by steps")
        return getattr(self, method)(variables["params"], *args)

    def encode(self, codec: Any, batch: Batch) -> Any:
        """The posterior of data [B, ...]; its parameters are [B, Z]."""
        x = batch["x"]
        flat = x.reshape(x.shape[0], math.prod(self.shape))
        # The code of k-means is the nearest centre, though its mixture has responsibilities too.
        return codec.posterior(flat) if codec.has_random_codes else PointMass(codec.encode(flat))

    def prior(self, codec: Codec, batch: Batch) -> Any:
        """p(z), the same for every example."""
        del batch
        return codec.prior if hasattr(codec, "prior") else NoPrior(codec.atoms.shape[0])

    def decode(self, codec: Codec, z: Array, batch: Batch) -> Gaussian:
        """The likelihood given codes [..., Z]; its mean is [..., *shape]."""
        del batch
        mean = codec.decode(z).reshape(*z.shape[:-1], *self.shape)
        return Gaussian(mean, codec.log_noise_scale, len(self.shape))

    def log_prob(self, codec: Codec, batch: Batch) -> Array:
        """The exact log density, nats, [B]. Raises UserError for a codec without one."""
        if not hasattr(codec, "log_prob"):
            raise UserError(f"{type(codec).__name__} has no density of the data")
        x = batch["x"]
        return codec.log_prob(x.reshape(x.shape[0], -1))
