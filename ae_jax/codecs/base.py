"""The contract of codecs: encoders and decoders in the one form X = Phi Z, without backprop.

A *specification* (`CodecSpec`) is a frozen dataclass of hyper-parameters; its `fit` chooses the
dictionary Phi and gives a fitted codec (`Codec`), a pytree of arrays. To add one: both classes in
a file of this folder, a line in `__init__.py`, and a row of the table in `form.py`. Numbers
(float fields) are traced, so that fits which differ in them share one compiled program; whatever
decides shapes or branches is declared with `struct.field(pytree_node=False)`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from pydantic import TypeAdapter, ValidationError

from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.rows import Rows, as_rows, check_magnitude, dot
from ae_jax.core.errors import UserError
from ae_jax.core.fields import changed, refusal, refuse_truth, types_of
from ae_jax.core.ranges import Count

# progress(iterations done, most iterations there can be, objective)
Progress = Callable[[int, int, float], None]


@struct.dataclass
class Codec:
    """A fitted codec. Everything works inside `jit`, on any device; x are values, not bytes.

    What all share is that decoding is linear: decode(z) = z @ atoms + offset. One with
    `has_random_codes` has a `posterior(x)` of which `encode` is the mean, and a `prior`.
    """

    has_random_codes: ClassVar[bool] = False

    @property
    def atoms(self) -> Array:
        """The dictionary Phi as rows, [Z, D]."""
        raise NotImplementedError(f"{type(self).__name__} does not define atoms")

    @property
    def offset(self) -> Array:
        """What the zero code decodes to, [D]."""
        return jnp.zeros(self.atoms.shape[1])

    @property
    def log_noise_scale(self) -> Array:
        """log of the standard deviation of p(x|z), []; 0 where a codec has no noise of its own."""
        return jnp.zeros(())

    @property
    def rest(self) -> Array | float:
        """What float32 cannot hold of the offset, [D] or 0: half a unit where the mean is 1e7."""
        return 0.0

    def encode(self, x: Array) -> Array:
        """Codes of examples, [B, D] -> [B, Z]; no row depends on another."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode")

    def decode(self, z: Array) -> Array:
        """Reconstructions from codes, [..., Z] -> [..., D]."""
        flat = dot(z.reshape(-1, z.shape[-1]), self.atoms)
        return (flat + self._rest[None] + self.offset[None]).reshape(*z.shape[:-1], -1)

    def centred(self, x: Array) -> Array:
        """x less the offset, [B, D]: exact also where the offset is large."""
        return (x - self.offset[None]) - self._rest[None]

    def residuals(self, x: Array, z: Array) -> Array:
        """x - decode(z), [B, D], of which a large offset takes no digits."""
        return self.centred(x) - dot(z, self.atoms)

    @property
    def _rest(self) -> Array:
        return jnp.broadcast_to(self.rest, self.offset.shape)


@struct.dataclass
class Fit:
    """What a fit gives.

    history     the objective at each iteration, [iterations], to be minimised; form.py says what
    converged   whether the stopping rule was met before `max_iterations`
    """

    codec: Any
    history: np.ndarray
    converged: bool

    @property
    def iterations(self) -> int:
        return len(self.history)


@struct.dataclass
class CodecSpec:
    """Base of all specifications. `latent_dim` is the number of atoms Z."""

    latent_dim: Count = struct.field(pytree_node=False, default=20)

    def fit(self, x: Any, key: Array, progress: Progress | None = None) -> Fit:
        """Fits to examples [N, D]: an array, or `Rows` (see `as_rows` for bytes and scaling).

        The result depends on the key (a typed key) and on nothing else; `progress` is called
        between compiled chunks of iterations. Raises UserError for data or options that no
        codec of this kind can be fitted with.
        """
        self.check_options()
        if jax.config.read("jax_enable_x64"):
            raise UserError("codecs are fitted in float32: switch jax_enable_x64 off")
        rows = x if isinstance(x, Rows) else as_rows(x)
        self.check(rows)
        return self.fit_rows(rows, key, progress)

    def check(self, rows: Rows) -> None:
        """Raises UserError where the data do not allow this fit."""

    def most_atoms(self, count: int, dim: int) -> int | None:
        """How many atoms examples [count, dim] allow; None where there is no end."""
        return None

    def check_values(self, low: float, high: float) -> None:
        """Raises UserError for examples with values between these, which no fit would take."""
        if max(abs(low), abs(high)) > 1:  # however small: codes are in the units of the data
            check_magnitude(max(abs(low), abs(high)))

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        """The fit itself, on data that passed `check`."""
        raise NotImplementedError(f"{type(self).__name__} does not define fit_rows")

    def blank(self, data_dim: int) -> Codec:
        """A codec of zeros with the structure of a fitted one: what a checkpoint is read into."""
        raise NotImplementedError(f"{type(self).__name__} does not define blank")

    def check_options(self) -> None:
        """Raises UserError naming the first option that is ill-typed or out of its range."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        refuse_truth("codec.", types_of(type(self)), options)
        try:
            TypeAdapter(type(self)).validate_python(options)
        except ValidationError as error:
            raise refusal("codec", error) from error

    def check_idle(self, count: int, dim: int) -> None:
        """Raises UserError for an option that changes nothing of a fit to examples [count, dim]."""

    def refuse_changed(self, options: tuple[str, ...], why: str) -> None:
        """Raises UserError, naming the first of the options that is not at its default."""
        for option in options:
            if option in changed(self):
                raise UserError(f"codec.{option} {why}")

    def at_most(self, limit: int, why: str) -> None:
        """Raises UserError where `latent_dim` exceeds a limit."""
        if self.latent_dim > limit:
            raise UserError(f"latent_dim={self.latent_dim} is more than {why}, {limit}")


def mean_squared_error(codec: Codec, x: Any) -> Array:
    """Squared error of the reconstruction summed over dimensions, mean over examples."""
    return _mean_squared_error(codec, x if isinstance(x, Rows) else as_rows(x, check_digits=False))


@compiled_method
def _mean_squared_error(codec: Codec, rows: Rows) -> Array:
    def add(total, block):
        x = block.values
        error = jnp.square(codec.residuals(x, codec.encode(x))).sum(axis=1)
        return total + jnp.sum(error * block.fresh)

    return rows.fold(add, jnp.zeros(())) / rows.count
