"""What a layer is told of the pass it is in: whether it trains, its examples, its devices.

A part asks for what it needs by a keyword of its `__call__`:

    condition   [N, C], or [N, H, W, C] for images: what the model is conditioned on
    train       whether this is a training step, or a look
    keys        one key a row, [N], for noise that belongs to the example
    forward     the whole `Forward`, for what looks at all real examples of the batch

Linen's own `BatchNorm` and `Dropout` are told without asking. Statistics are those of the real
examples of the whole batch, on however many devices; a dropped unit is dropped by the key of its
example. So neither depends on the number of devices, or on what fills up the last batch.
"""

import dataclasses
import inspect
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Forward:
    """A pass over a batch of B examples.

    train       whether it is a training step
    mask        [B], 0 for the repeats that fill up a batch; None: all are real
    keys        [B], the noise of layers; None where there is none
    axis_name   the mapped axis over which a batch is spread, if it is
    """

    train: bool = False
    mask: Array | None = None
    keys: Array | None = None
    axis_name: str | None = None

    def mask_of(self, rows: int) -> Array:
        """The mask of so many rows: the batch, or K samples of it after one another."""
        if self.mask is None:
            return jnp.ones(rows)
        return jnp.tile(self.mask, rows // self.mask.shape[0])

    def keys_of(self, rows: int) -> Array:
        """One key a row; sample k of an example has the example's key with k folded in."""
        if self.keys is None:
            raise UserError(
                "a layer draws noise in a look, where there is none: leave deterministic out of "
                "Dropout, or take the keyword train in the part's __call__"
            )
        samples, rest = divmod(rows, self.keys.shape[0])
        if rest or not samples:
            raise UserError(
                f"a layer draws noise for {rows} rows where there are {self.keys.shape[0]} "
                "examples: noise belongs to an example"
            )
        if samples == 1:
            return self.keys
        fold = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))
        return fold(self.keys, jnp.arange(samples)).reshape(rows)


_OUTSIDE = Forward()
_CURRENT: ContextVar[Forward] = ContextVar("forward", default=_OUTSIDE)


@contextmanager
def passing(forward: Forward) -> Iterator[None]:
    """Within it, layers are in this pass."""
    token = _CURRENT.set(forward)
    try:
        with nn.intercept_methods(_tell):
            yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def looking() -> Iterator[None]:
    """Within it, layers are looked at, whatever the pass around them does."""
    token = _CURRENT.set(_OUTSIDE)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def call_part(part: nn.Module, *args: Any, condition: Array | None = None) -> Any:
    """`part(*args)` with the keywords that it asks for."""
    forward = _CURRENT.get()
    offered = {"condition": condition, "train": forward.train, "forward": forward}
    asked = asked_for(type(part))
    given = {name: value for name, value in offered.items() if name in asked}
    if "keys" in asked:
        given["keys"] = forward.keys_of(args[0].shape[0]) if forward.train else None
    return part(*args, **given)


def asked_for(part: type) -> set[str]:
    """The parameters of a part's `__call__`."""
    return set(inspect.signature(part.__call__).parameters)


def needs_condition(part: type) -> bool:
    """Whether its `__call__` cannot do without a condition."""
    parameter = inspect.signature(part.__call__).parameters.get("condition")
    return parameter is not None and parameter.default is parameter.empty


def _tell(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
    """Linen's interceptor: what layers with a state or with noise do in this pass."""
    layer = context.module
    if context.method_name == "__call__":
        if isinstance(layer, nn.BatchNorm):
            return _batch_norm(layer, *args, **kwargs)
        if isinstance(layer, nn.Dropout):
            return _dropout(layer, *args, **kwargs)
    return call(*args, **kwargs)


def _batch_norm(
    layer: nn.BatchNorm,
    x: Array,
    use_running_average: bool | None = None,
    *,
    mask: Array | None = None,
) -> Array:
    """Ioffe & Szegedy 2015, over all axes but the last. The same variables as Linen's."""
    if mask is not None:
        raise UserError("BatchNorm has the mask of the batch here, and takes no other")
    if layer.axis not in (-1, x.ndim - 1):
        raise UserError(f"BatchNorm keeps the features of the last axis, not axis={layer.axis}")
    if use_running_average is None:
        use_running_average = layer.use_running_average
    forward, features = _CURRENT.get(), x.shape[-1]
    mean = layer.variable("batch_stats", "mean", jnp.zeros, (features,))
    variance = layer.variable("batch_stats", "var", jnp.ones, (features,))
    looks = not forward.train if use_running_average is None else use_running_average
    if looks or layer.is_initializing():
        centre, spread = mean.value, variance.value
    else:
        centre, spread = _batch_statistics(x, forward)
        kept = layer.momentum
        mean.value = kept * mean.value + (1 - kept) * centre
        variance.value = kept * variance.value + (1 - kept) * spread
    factor = jax.lax.rsqrt(spread + layer.epsilon)
    if layer.use_scale:
        factor = factor * layer.param("scale", layer.scale_init, (features,), layer.param_dtype)
    shape = (1,) * (x.ndim - 1) + (features,)
    y = (x - centre.reshape(shape)) * factor.reshape(shape)
    if layer.use_bias:
        bias = layer.param("bias", layer.bias_init, (features,), layer.param_dtype)
        y = y + bias.reshape(shape)
    return y


def _batch_statistics(x: Array, forward: Forward) -> tuple[Array, Array]:
    """Mean and variance of each feature over the real examples of the whole batch."""
    weight = forward.mask_of(x.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
    axes = tuple(range(x.ndim - 1))
    places = 1
    for size in x.shape[1:-1]:
        places *= size

    def over_devices(total: Array) -> Array:
        # The mean over devices has the gradient of each one's part; their number cancels out.
        return total if forward.axis_name is None else jax.lax.pmean(total, forward.axis_name)

    count = over_devices(weight.sum()) * places
    centre = over_devices((x * weight).sum(axis=axes)) / count
    shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
    # About the mean, in a second pass: the difference of large sums would lose its digits.
    squares = jnp.square(x - centre.reshape(shape)) * weight
    return centre, over_devices(squares.sum(axis=axes)) / count


def _dropout(layer: nn.Dropout, x: Array, deterministic: bool | None = None) -> Array:
    """Each unit 0 with probability `rate`, the others scaled up (Srivastava et al. 2014)."""
    forward = _CURRENT.get()
    deterministic = layer.deterministic if deterministic is None else deterministic
    rests = not forward.train if deterministic is None else deterministic
    if rests or layer.rate == 0.0:
        return x
    if layer.rate == 1.0:
        return jnp.zeros_like(x)
    shared = {axis % x.ndim for axis in layer.broadcast_dims}
    shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)][1:]
    # The place of the layer in the model: no two of them drop alike.
    place = zlib.crc32("/".join(layer.path).encode())
    keep = 1.0 - layer.rate

    def kept(key: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, place), keep, shape)

    mask = jnp.broadcast_to(jax.vmap(kept)(forward.keys_of(x.shape[0])), x.shape)
    return jnp.where(mask, x / keep, 0.0)
