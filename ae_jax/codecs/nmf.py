"""Non-negative matrix factorisation: X = Z Phi with no negative number on either side."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs import coordinate
from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.iterate import iterate
from ae_jax.codecs.nmf_start import starting_atoms
from ae_jax.codecs.rows import Rows, dot, put_rows, smallest
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative

Divergence = Literal["frobenius", "kullback_leibler"]

# Added to a model of the data before dividing by it or taking its logarithm.
_TINY = 1e-10


@struct.dataclass
class NmfCodec(Codec):
    """A non-negative dictionary [Z, D]; codes are found by an inner optimisation.

    encode_iterations, encode_tolerance   most sweeps, and the relative change of a code at which
                                          it is taken as found
    divergence                            what the codes minimise
    """

    dictionary: Array
    encode_iterations: Array
    encode_tolerance: Array
    divergence: Divergence = struct.field(pytree_node=False, default="frobenius")

    @property
    def atoms(self) -> Array:
        return self.dictionary

    @jax.jit
    def encode(self, x: Array) -> Array:
        """The non-negative codes of least divergence, [B, D] -> [B, Z]."""
        settings = (self.encode_iterations, self.encode_tolerance)
        if self.divergence == "frobenius":
            gram = dot(self.dictionary, self.dictionary.T)
            target = dot(self.dictionary, x.T)
            start = jnp.zeros_like(target)
            return coordinate.solve(start, gram, target, coordinate.positive, *settings).T
        return _solve_kl(x, self.dictionary, *settings)


@struct.dataclass
class Nmf(CodecSpec):
    """NMF. Objective: the divergence D(x, z Phi) summed over dimensions, mean over examples.

    divergence      `frobenius`: half the squared error, minimised by hierarchical alternating
                    least squares on Gram matrices (Cichocki & Phan 2009; repeated as in Gillis &
                    Glineur 2012). `kullback_leibler`: sum x log(x / y) - x + y by multiplicative
                    updates (Lee & Seung 2001, Eq. 5)
    init            `nndsvda`: the positive parts of singular vectors, zeros filled with the mean
                    (Boutsidis & Gallopoulos 2008); `random`
    sweeps          over the codes, and over the atoms, each iteration (frobenius)
    tolerance       stops where the objective decreases by no more than this share of what it has
                    decreased since the first iteration
    encode_iterations, encode_tolerance   of the codes of new examples, see `NmfCodec`
    """

    divergence: Divergence = struct.field(pytree_node=False, default="frobenius")
    init: Literal["nndsvda", "random"] = struct.field(pytree_node=False, default="nndsvda")
    sweeps: Count = struct.field(pytree_node=False, default=4)
    max_iterations: Count = struct.field(pytree_node=False, default=200)
    tolerance: NonNegative = 3e-5
    encode_iterations: Count = 500
    encode_tolerance: NonNegative = 1e-5

    def check(self, rows: Rows) -> None:
        limit = min(rows.count, rows.dim)
        if self.init == "nndsvda":
            self.at_most(limit, "there are singular vectors to start from (init=random needs none)")
        if float(smallest(rows)) < 0:
            raise UserError("NMF wants data that are nowhere negative")

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        state = _start(self, rows, key)
        step = _frobenius_step if self.divergence == "frobenius" else _kl_step
        state, history, converged = iterate(
            step, self, rows, state, self.max_iterations, self.tolerance, progress
        )
        codec = NmfCodec(
            state.dictionary,
            jnp.asarray(self.encode_iterations, jnp.int32),
            jnp.asarray(self.encode_tolerance, jnp.float32),
            self.divergence,
        )
        return Fit(codec, np.asarray(history), converged)

    def blank(self, data_dim: int) -> NmfCodec:
        return NmfCodec(
            jnp.zeros((self.latent_dim, data_dim)),
            jnp.zeros((), jnp.int32),
            jnp.zeros(()),
            self.divergence,
        )


@struct.dataclass
class _State:
    """Atoms [Z, D], codes [N, Z], and the first and the last objective."""

    dictionary: Array
    codes: Array
    first: Array
    last: Array


@jax.jit
def _start(spec: Nmf, rows: Rows, key: Array) -> _State:
    dictionary = starting_atoms(spec.init, rows, key, spec.latent_dim)
    if spec.divergence == "kullback_leibler":
        # Codes that multiplicative updates start from must be nowhere 0: each example is taken
        # to hold the same share of every atom.
        weight = dictionary.sum() + _TINY
        codes = rows.map(
            lambda x: jnp.broadcast_to(x.sum(1, keepdims=True) / weight, (len(x), spec.latent_dim))
        )
        codes = codes + _TINY
    else:
        codes = jnp.zeros((rows.count, spec.latent_dim))
    nothing = jnp.full((), jnp.nan)
    return _State(dictionary, codes, nothing, nothing)


def _progress_made(state: _State, objective: Array) -> tuple[Array, Array]:
    """The first objective, and the last decrease as a share of all decrease so far."""
    first = jnp.where(jnp.isnan(state.first), objective, state.first)
    whole = jnp.maximum(first - objective, jnp.finfo(jnp.float32).tiny)
    share = jnp.abs(state.last - objective) / whole
    return first, jnp.where(jnp.isnan(state.last), jnp.inf, share)


def _frobenius_step(spec: Nmf, rows: Rows, state: _State, iteration: Array):
    """Codes given atoms, then atoms given codes; the objective is that of both."""
    dictionary = state.dictionary
    gram = dot(dictionary, dictionary.T)

    def add(carry, block):
        codes, scatter, cross, squares = carry
        part = jax.lax.dynamic_slice_in_dim(codes, block.start, len(block.fresh))
        target = dot(dictionary, block.values.T)
        new = part.T
        for _ in range(spec.sweeps):
            new = coordinate.sweep(new, gram, target, coordinate.positive)
        # The rows that an earlier block held are at their new codes already: keep those.
        new = jnp.where(block.fresh[None] > 0, new, part.T)
        counted = new * block.fresh[None]
        squares = squares + (jnp.square(block.values).sum(axis=1) * block.fresh).sum()
        scatter, cross = scatter + dot(counted, new.T), cross + dot(counted, block.values)
        return put_rows(codes, new.T, block.start), scatter, cross, squares

    latent_dim = spec.latent_dim
    empty = (jnp.zeros((latent_dim, latent_dim)), jnp.zeros_like(dictionary), jnp.zeros(()))
    codes, scatter, cross, squares = rows.fold(add, (state.codes, *empty))
    for _ in range(spec.sweeps):
        dictionary = coordinate.sweep(dictionary, scatter, cross, coordinate.positive)
    # |X - Z Phi|^2 from Gram matrices.
    fitted = jnp.vdot(dot(scatter, dictionary), dictionary) - 2 * jnp.vdot(cross, dictionary)
    objective = 0.5 * (squares + fitted) / rows.count
    first, change = _progress_made(state, objective)
    return _State(dictionary, codes, first, objective), objective, change


def _kl_step(spec: Nmf, rows: Rows, state: _State, iteration: Array):
    """One multiplicative update of the codes, then one of the atoms.

    The objective is that of the state which the step began with.
    """
    dictionary = state.dictionary
    weights = dictionary.sum(axis=1)

    def add(carry, block):
        codes, numerator, totals, divergence = carry
        x, part = block.values, jax.lax.dynamic_slice_in_dim(codes, block.start, len(block.fresh))
        new, before = _kl_codes(x, part, dictionary, weights)
        new = jnp.where(block.fresh[:, None] > 0, new, part)
        counted = new * block.fresh[:, None]
        ratio = x / (dot(new, dictionary) + _TINY)
        divergence = divergence + (before * block.fresh).sum()
        numerator, totals = numerator + dot(counted.T, ratio), totals + counted.sum(axis=0)
        return put_rows(codes, new, block.start), numerator, totals, divergence

    empty = (jnp.zeros_like(dictionary), jnp.zeros(spec.latent_dim), jnp.zeros(()))
    codes, numerator, totals, divergence = rows.fold(add, (state.codes, *empty))
    dictionary = dictionary * numerator / (totals + _TINY)[:, None]
    objective = divergence / rows.count
    first, change = _progress_made(state, objective)
    return _State(dictionary, codes, first, objective), objective, change


def _kl_codes(x: Array, codes: Array, dictionary: Array, weights: Array) -> tuple[Array, Array]:
    """Codes [B, Z] after one update, and the divergence of each row before it, [B]."""
    model = dot(codes, dictionary) + _TINY
    divergence = (jax.scipy.special.xlogy(x, x / model) - x + model).sum(axis=1)
    return codes * dot(x / model, dictionary.T) / (weights + _TINY)[None], divergence


def _solve_kl(x: Array, dictionary: Array, max_iterations: Array, tolerance: Array) -> Array:
    """Multiplicative updates of codes [B, Z] until each row has settled."""
    weights = dictionary.sum(axis=1)
    start = jnp.broadcast_to(
        x.sum(axis=1, keepdims=True) / (weights.sum() + _TINY) + _TINY, (len(x), len(dictionary))
    )

    def unfinished(carry) -> Array:
        _, active, count = carry
        return active.any() & (count < max_iterations)

    def body(carry):
        codes, active, count = carry
        new = jnp.where(active[:, None], _kl_codes(x, codes, dictionary, weights)[0], codes)
        change = jnp.abs(new - codes).max(axis=1)
        return new, active & (change > tolerance * new.max(axis=1)), count + 1

    begin = (start, jnp.ones(len(x), bool), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, body, begin)[0]
