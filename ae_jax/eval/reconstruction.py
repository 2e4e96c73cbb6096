"""How well the decoder gives back what the encoder saw."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import NonNegative, Positive
from ae_jax.data.batches import weighted
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.passes import EvaluationData, taking_missing
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys


@taking_missing
def squared_error(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> dict[str, float]:
    """Squared error of the mean reconstruction from the mean code, an example and a dimension.

    Where values are missing, the latter is over those of all examples that are there.
    """
    return data.mean(_squared_errors, module, variables, key)


def _squared_errors(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    name, observed = "squared_error_per_dimension", ~jnp.isnan(batch["x"])
    count = observed.sum(axis=tuple(range(1, observed.ndim)))
    errors = squared_errors(model, batch, key)
    return errors | weighted(name, errors[name], count.astype(errors[name].dtype))


def squared_errors(model: BoundModel, batch: Batch, key: Array) -> dict[str, Float[Array, " B"]]:
    """Of each example of a batch, {squared_error_per_example, squared_error_per_dimension: [B]}."""
    del key
    observed = ~jnp.isnan(batch["x"])  # of what is missing there is no error
    x = jnp.where(observed, batch["x"], 0.0)
    error = jnp.square(model.reconstruct({**batch, "x": x}).mean()[0] - x) * observed
    axes = tuple(range(1, x.ndim))
    per_example = error.sum(axis=axes)
    return {
        "squared_error_per_example": per_example,
        "squared_error_per_dimension": per_example / jnp.maximum(observed.sum(axis=axes), 1),
    }


@dataclasses.dataclass(frozen=True)
class PeakSignalToNoise(Checked):
    """PSNR = 10 log10(peak^2 / mean squared error) of each example, in dB, and their mean.

    With a `corruption` of a `level` the model sees corrupted examples, and what it makes of them
    is compared with the clean ones: `psnr_denoised` instead of `psnr`. A perfect reconstruction
    has an infinite one.

    peak   the range that values of model inputs can have: 1 of grey levels from 0 to 1
    """

    peak: Positive = 1.0
    corruption: str | None = None
    level: NonNegative = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corruption is None and self.level != type(self).level:
            raise UserError(f"a level of {self.level:g} is that of a corruption: name one")
        if self.corruption is not None:
            CORRUPTIONS.get(self.corruption).check(self.level)

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError where the values of the examples have a larger range than `peak`."""
        found = data.rows(_range, module, variables, key)
        span = float(found["high"].max() - found["low"].min())
        if span > self.peak * (1 + 1e-6):
            raise UserError(
                f"psnr: model inputs have a range of {span:.4g}, and the peak is {self.peak:g}: "
                "evaluate PeakSignalToNoise(peak=...) with the range that they can have"
            )
        return data.mean(self.values_of, module, variables, key)

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{psnr: [B]} or {psnr_denoised: [B]} of a batch."""
        x = seen = batch["x"]
        name = "psnr"
        if self.corruption is not None:
            corrupt = CORRUPTIONS.get(self.corruption)
            name, seen = "psnr_denoised", corrupt(example_keys(key, batch["id"]), x, self.level)
        outputs = model.reconstruct({**batch, "x": seen}).mean()[0]
        return {name: psnr(x, outputs, self.peak)}


def psnr(
    x: Float[Array, "B ..."], other: Float[Array, "B ..."], peak: float = 1.0
) -> Float[Array, " B"]:
    """Peak signal-to-noise ratio of examples [B, ...] against x, in dB, [B]."""
    error = jnp.square(other - x).mean(axis=tuple(range(1, x.ndim)))
    return 10 * jnp.log10(peak**2 / error)


def _range(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    axes = tuple(range(1, batch["x"].ndim))
    return {"low": batch["x"].min(axis=axes), "high": batch["x"].max(axis=axes)}


def explained_variance(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> dict[str, float]:
    """1 - sum of squared errors / sum of squares about the mean of the evaluated examples.

    That of PCA on its own training data is the share of variance of the components that it keeps.
    Raises UserError for examples that do not vary.
    """
    count = len(data.split)
    mean = data.sums(_inputs, module, variables, key)["x"] / count
    # About the mean in a second pass: differences of large sums lose their digits.
    sums = data.sums(_squares, module, variables, key, jnp.asarray(mean))
    if not sums["spread"] > 0:
        raise UserError("explained_variance needs examples that vary, and these are all the same")
    return {"explained_variance": float(1 - sums["error"] / sums["spread"])}


def _inputs(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"x": batch["x"]}


def _squares(model: BoundModel, batch: Batch, key: Array, mean: Array) -> dict[str, Array]:
    x = batch["x"]
    axes = tuple(range(1, x.ndim))
    error = jnp.square(model.reconstruct(batch).mean()[0] - x).sum(axis=axes)
    return {"error": error, "spread": jnp.square(x - mean[None]).sum(axis=axes)}
