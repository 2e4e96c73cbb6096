"""Restricted Boltzmann machines: p(v, h) = exp(-E(v, h)) / Z with no links within a layer.

Units are Bernoulli, or Gaussian of unit variance. With weights W [D, H], the energy is

    E(v, h) = e(v; a) + e(h; b) - v W h,    e(u; c) = -c u (Bernoulli) or (u - c)^2 / 2 (Gaussian)

so that given one layer the units of the other are independent, with mean sigmoid(s) or s for the
input s (Hinton & Salakhutdinov 2006; Welling, Rosen-Zvi & Hinton 2005 for Gaussian units).
"""

import math
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions import Bernoulli, Gaussian, NoPrior, PointMass, UnitPointMass
from ae_jax.models.base import Batch
from ae_jax.models.config import Examples, ModelConfig
from ae_jax.numerics.softplus import softplus

Units = Literal["bernoulli", "gaussian"]
MOST_ENUMERATED = 20


@struct.dataclass
class RBM:
    """One machine: `kernel` [D, H], `visible_bias` a [D], `hidden_bias` b [H]. A codec."""

    kernel: Array
    visible_bias: Array
    hidden_bias: Array
    visible: Units = struct.field(pytree_node=False, default="bernoulli")
    hidden: Units = struct.field(pytree_node=False, default="bernoulli")

    def hidden_input(self, v: Array) -> Array:
        """b + v W, [..., D] -> [..., H]."""
        return _affine(v, self.kernel, self.hidden_bias)

    def visible_input(self, h: Array) -> Array:
        """a + W h, [..., H] -> [..., D]."""
        return _affine(h, self.kernel.T, self.visible_bias)

    def encode(self, x: Array) -> Array:
        """E[h | v = x], [B, D] -> [B, H]."""
        return _mean(self.hidden_input(x), self.hidden)

    def decode(self, z: Array) -> Array:
        """E[v | h = z], [B, H] -> [B, D]."""
        return _mean(self.visible_input(z), self.visible)

    def free_energy(self, v: Array) -> Array:
        """F(v) = -log sum_h exp(-E(v, h)), nats, [..., D] -> [...]; p(v) = exp(-F(v)) / Z."""
        s = self.hidden_input(v)
        if self.hidden == "bernoulli":
            gained = softplus(s)
        else:  # the Gaussian integral over h, which has mean s
            gained = 0.5 * (jnp.square(s) - _square(self.hidden_bias, s) + math.log(2 * math.pi))
        return _own_energy(v, self.visible_bias, self.visible) - gained.sum(axis=-1)

    def energy(self, v: Array, h: Array) -> Array:
        """E(v, h), [..., D] and [..., H] -> [...]."""
        visible = _own_energy(v, self.visible_bias, self.visible)
        hidden = _own_energy(h, self.hidden_bias, self.hidden)
        return visible + hidden - (v * _affine(h, self.kernel.T, 0.0)).sum(axis=-1)

    def log_partition(self) -> Array:
        """log Z, nats, exactly, by enumeration of a layer of Bernoulli units.

        Raises UserError if neither layer has at most 20 such units.
        """
        sides = [m for m in (self, self.swapped()) if m.visible == "bernoulli"]
        machine = min(sides, key=lambda m: len(m.visible_bias), default=None)
        if machine is None or len(machine.visible_bias) > MOST_ENUMERATED:
            raise UserError(
                f"the partition function needs a layer of at most {MOST_ENUMERATED} Bernoulli units"
            )
        size = len(machine.visible_bias)
        states = (np.arange(2**size)[:, None] >> np.arange(size)[None]) & 1  # [2^D, D]
        free_energies = machine.free_energy(jnp.asarray(states, machine.kernel.dtype))
        return jax.scipy.special.logsumexp(-free_energies)

    def log_likelihood(self, v: Array) -> Array:
        """log p(v), nats, [..., D] -> [...]; exact, and as costly as `log_partition`."""
        return -self.free_energy(v) - self.log_partition()

    def swapped(self) -> "RBM":
        """The same machine with its layers in each other's place."""
        return RBM(self.kernel.T, self.hidden_bias, self.visible_bias, self.hidden, self.visible)

    def gibbs(self, keys: Array, v: Array, steps: int, visible_means: bool = False) -> Array:
        """v after so many rounds of h ~ p(h|v), v ~ p(v|h), [B, D]; `keys` holds one an example.

        With `visible_means`, v is set to its mean given the sampled h (as in the code of
        Hinton & Salakhutdinov 2006) and no chain of the machine any more, but less noisy.
        """

        def one(v: Array, step: Array) -> tuple[Array, None]:
            hidden_keys, visible_keys = jnp.moveaxis(
                jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, step)))(keys), 1, 0
            )
            h = _sample(hidden_keys, self.hidden_input(v), self.hidden)
            s = self.visible_input(h)
            return _mean(s, self.visible) if visible_means else _sample(
                visible_keys, s, self.visible
            ), None

        return jax.lax.scan(one, v, jnp.arange(steps))[0]


def _affine(x: Array, kernel: Array, bias: Array | float) -> Array:
    product = x @ kernel
    return product + jnp.broadcast_to(bias, product.shape)


def _square(bias: Array, like: Array) -> Array:
    return jnp.broadcast_to(jnp.square(bias), like.shape)


def _mean(s: Array, units: Units) -> Array:
    return jax.nn.sigmoid(s) if units == "bernoulli" else s


def _sample(keys: Array, s: Array, units: Units) -> Array:
    """Units drawn given their inputs s [B, N], with one key an example."""
    if units == "bernoulli":
        uniform = jax.vmap(lambda key: jax.random.uniform(key, s.shape[1:]))(keys)
        return (uniform < jax.nn.sigmoid(s)).astype(s.dtype)
    return s + jax.vmap(lambda key: jax.random.normal(key, s.shape[1:]))(keys)


def _own_energy(u: Array, bias: Array, units: Units) -> Array:
    """e(u; c) summed over the units of a layer, [..., N] -> [...]."""
    bias = jnp.broadcast_to(bias, u.shape)
    terms = -bias * u if units == "bernoulli" else 0.5 * jnp.square(u - bias)
    return terms.sum(axis=-1)


class RestrictedBoltzmannMachine(nn.Module):
    """An RBM as a model: `encode` is a point mass at E[h|v], `decode` is p(v|h).

    Its parameters are the tree {hidden: {kernel, bias}, visible: {bias}}. It has no prior over
    codes that can be drawn from in one go.
    """

    shape: tuple[int, ...]
    dim: int
    visible: Units = "bernoulli"
    hidden: Units = "bernoulli"
    can_pad: ClassVar[bool] = False

    def setup(self) -> None:
        self._hidden = _Dense(math.prod(self.shape), self.dim, name="hidden")
        self._visible = _Bias(math.prod(self.shape), name="visible")

    def machine(self) -> RBM:
        """The parameters as an `RBM`."""
        kernel, bias = self._hidden()
        return RBM(kernel, self._visible(), bias, self.visible, self.hidden)

    def encode(self, batch: Batch) -> PointMass:
        """Mean hidden units of data [B, ...] as a code [B, H]."""
        kind = UnitPointMass if self.hidden == "bernoulli" else PointMass
        return kind(self.machine().encode(self._flat(batch["x"])))

    def decode(self, z: Array, batch: Batch | None = None) -> Bernoulli | Gaussian:
        """p(v | h = z) for codes [..., H]; its parameters are [..., D...]. No batch is needed."""
        del batch
        s = self.machine().visible_input(z).reshape(*z.shape[:-1], *self.shape)
        if self.visible == "bernoulli":
            return Bernoulli(s, len(self.shape))
        return Gaussian(s, jnp.zeros((), s.dtype), len(self.shape))

    def free_energy(self, x: Array) -> Array:
        """F of data [B, ...], nats, [B]."""
        return self.machine().free_energy(self._flat(x))

    def gibbs(self, keys: Array, x: Array, steps: int, visible_means: bool = False) -> Array:
        """`RBM.gibbs` from data [B, ...]."""
        end = self.machine().gibbs(keys, self._flat(x), steps, visible_means)
        return end.reshape(x.shape)

    def prior(self, batch: Batch) -> NoPrior:
        """None, see above."""
        del batch
        return NoPrior(self.dim)

    def __call__(self, batch: Batch) -> Bernoulli | Gaussian:
        return self.decode(self.encode(batch).mean()[None])

    def _flat(self, x: Array) -> Array:
        return x.reshape(x.shape[0], -1)


class _Dense(nn.Module):
    inputs: int
    outputs: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.normal(0.01), (self.inputs, self.outputs))
        return kernel, self.param("bias", nn.initializers.zeros, (self.outputs,))


class _Bias(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self) -> Array:
        return self.param("bias", nn.initializers.zeros, (self.outputs,))


VISIBLE: dict[str, Units] = {"bernoulli": "bernoulli", "gaussian_fixed": "gaussian"}
HIDDEN: dict[str, Units] = {"sigmoid": "bernoulli", "gaussian": "gaussian"}
UNUSED = ("encoder", "decoder", "decoder_hidden", "activation", "latent_k", "tied", "into")


def build_rbm(config: Any, examples: Examples) -> RestrictedBoltzmannMachine:
    """The machine that a `ModelConfig` names, by its `head`, `latent` and `latent_dim` alone.

    Heads decide the visible units: bernoulli, gaussian_fixed (of scale 1). Latents decide the
    hidden ones: sigmoid (Bernoulli units), gaussian (linear units with noise). Raises UserError.
    """
    _refuse_options(config)
    for option, value, known in (
        ("head", config.head, VISIBLE),
        ("latent", config.latent, HIDDEN),
    ):
        if value not in known:
            raise UserError(f"an RBM has model.{option} {' or '.join(known)}, not {value}")
    if config.head == "gaussian_fixed" and config.head_scale != 1:
        raise UserError(f"Gaussian units have model.head_scale 1, not {config.head_scale:g}")
    return RestrictedBoltzmannMachine(
        examples.shape, config.latent_dim, VISIBLE[config.head], HIDDEN[config.latent]
    )


def _refuse_options(config: Any) -> None:
    """Raises UserError for what a machine has not, rather than leave it unused."""
    plain = ModelConfig()
    for option in UNUSED:
        if getattr(config, option) != getattr(plain, option):
            raise UserError(f"an RBM is one layer of weights and has no model.{option}")
    if config.hidden not in ((), plain.hidden):
        raise UserError(
            "an RBM is one layer of weights, of latent_dim units: leave model.hidden out, or "
            "pretrain a deep network by layers"
        )
    if config.options:
        raise UserError(f"an RBM has no parts with options: model.{config.options[0][0]}")
    if config.condition != "none":
        raise UserError(f"an RBM takes no condition, and model.condition is {config.condition}")
    if config.prior not in ("auto", "none"):
        raise UserError(f"an RBM has no prior over codes, and model.prior is {config.prior}")


def rbm_from_params(params: dict, visible: Units = "bernoulli", hidden: Units = "bernoulli") -> RBM:
    """The machine of a trained model's parameter tree."""
    layer = params["hidden"]
    return RBM(layer["kernel"], params["visible"]["bias"], layer["bias"], visible, hidden)
