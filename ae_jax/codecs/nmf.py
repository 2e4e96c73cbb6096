"""Non-negative matrix factorisation: X = Z Phi with no negative number on either side."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.codecs import coordinate
from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import in_units, scaled, told
from ae_jax.codecs.iterate import iterate
from ae_jax.codecs.nmf_start import starting_atoms
from ae_jax.codecs.rows import Rows, dot, put_rows, smallest
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative

Divergence = Literal["frobenius", "kullback_leibler"]

# In units of the data: added to a model of them before dividing by it or taking its logarithm.
_TINY = 1e-10
# What a multiplicative update leaves of a number at least: at 0 it would stay for good.
_FLOOR = 1e-12
# Iterations of least squares that multiplicative updates begin after, and the share of the mean
# that entries of the atoms are raised to then, as zeros would stay near 0.
_APPROACH = 20
_RAISED = 0.1
# Of the squares of the data: an objective below this is rounding.
_EXACT = 1e-13
# Passes that find the codes of new examples from what the last one left unexplained.
_REFINEMENTS = 2
_LEAST_SHARE = 1e-5


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

    @compiled_method
    def encode(self, x: Array) -> Array:
        """The non-negative codes of least divergence, [B, D] -> [B, Z]."""
        most = self.encode_iterations
        if self.divergence == "kullback_leibler":
            return _solve_kl(x, self.dictionary, most, self.encode_tolerance)
        gram = dot(self.dictionary, self.dictionary.T)
        size = _positive(jnp.linalg.norm(x, axis=1))

        def refine(_, codes: Array) -> Array:
            residual = x - dot(codes.T, self.dictionary)
            # A change of the code counts beside what is left: little, where a large mean is most.
            share = jnp.clip(jnp.linalg.norm(residual, axis=1) / size, _LEAST_SHARE, 1.0)
            tolerance = self.encode_tolerance * share
            slope = dot(self.dictionary, residual.T)
            return coordinate.solve(
                codes, gram, slope, coordinate.positive, most, tolerance, at=codes
            )

        start = jnp.zeros((len(self.dictionary), x.shape[0]))
        return jax.lax.fori_loop(0, 1 + _REFINEMENTS, refine, start).T


@struct.dataclass
class Nmf(CodecSpec):
    """NMF. Objective: the divergence D(x, z Phi) summed over dimensions, mean over examples.

    divergence      `frobenius`: half the squared error, minimised by hierarchical alternating
                    least squares on Gram matrices (Cichocki & Phan 2009; repeated as in Gillis &
                    Glineur 2012). `kullback_leibler`: sum x log(x / y) - x + y by multiplicative
                    updates (Lee & Seung 2001, Eq. 5), kept above 0 so that nothing stalls there
                    (Lin 2007), from the atoms of 20 iterations of `frobenius`
    init            `nndsvda`: the positive parts of singular vectors, zeros filled with the mean
                    (Boutsidis & Gallopoulos 2008); `random`
    sweeps          over the codes, and over the atoms, each iteration
    tolerance       stops where the last half of all iterations has decreased the objective by no
                    more than this share of what is left of it: as decreases fall off no faster
                    than 1 / iterations, that is about what many more would bring
    encode_iterations, encode_tolerance   of the codes of new examples, see `NmfCodec`
    """

    divergence: Divergence = struct.field(pytree_node=False, default="frobenius")
    init: Literal["nndsvda", "random"] = struct.field(pytree_node=False, default="nndsvda")
    sweeps: Count = struct.field(pytree_node=False, default=4)
    max_iterations: Count = struct.field(pytree_node=False, default=200)
    tolerance: NonNegative = 5e-3
    encode_iterations: Count = 500
    encode_tolerance: NonNegative = 1e-5

    def check(self, rows: Rows) -> None:
        limit = self.most_atoms(rows.count, rows.dim)
        if limit is not None:
            self.at_most(limit, "there are singular vectors to start from (init=random needs none)")
        self.check_values(float(smallest(rows)), 0.0)

    def most_atoms(self, count: int, dim: int) -> int | None:
        return min(count, dim) if self.init == "nndsvda" else None

    def check_values(self, low: float, high: float) -> None:
        if low < 0:
            raise UserError("NMF wants data that are nowhere negative")
        super().check_values(low, high)

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        rows, frame = scaled(rows)
        factor = frame.unit ** (2 if self.divergence == "frobenius" else 1)
        state = _start(self, rows, key)
        step = _frobenius_step if self.divergence == "frobenius" else _kl_step
        state, history, converged = iterate(
            step, self, rows, state, self.max_iterations, self.tolerance, told(progress, factor)
        )
        # Codes have one half of the unit of the data, atoms the other.
        exponent = round(math.log2(frame.unit))
        codec = NmfCodec(
            _without_floor(state.dictionary) * 2.0 ** (exponent // 2),
            jnp.asarray(self.encode_iterations, jnp.int32),
            jnp.asarray(self.encode_tolerance, jnp.float32),
            self.divergence,
        )
        return Fit(codec, in_units(history, factor), converged)

    def blank(self, data_dim: int) -> NmfCodec:
        return NmfCodec(
            jnp.zeros((self.latent_dim, data_dim)),
            jnp.zeros((), jnp.int32),
            jnp.zeros(()),
            self.divergence,
        )


@struct.dataclass
class _State:
    """Atoms [Z, D], codes [N, Z], and the objectives so far [max_iterations]."""

    dictionary: Array
    codes: Array
    objectives: Array


@jax.jit
def _start(spec: Nmf, rows: Rows, key: Array) -> _State:
    codes = jnp.zeros((rows.count, spec.latent_dim))
    objectives = jnp.full(spec.max_iterations, jnp.nan)
    state = _State(starting_atoms(spec.init, rows, key, spec.latent_dim), codes, objectives)
    if spec.divergence == "frobenius":
        return state
    # Where multiplicative updates end depends on where they start, and least squares is quicker
    # to find the parts.
    scratch = _State(state.dictionary, codes, jnp.full(_APPROACH, jnp.nan))
    scratch = jax.lax.fori_loop(
        0, _APPROACH, lambda i, state: _frobenius_step(spec, rows, state, i)[0], scratch
    )
    dictionary = scratch.dictionary
    dictionary = jnp.maximum(dictionary, _RAISED * dictionary.mean()) + _TINY
    # Codes too must be nowhere 0: each example is taken to hold the same share of every atom.
    weight = dictionary.sum()
    codes = rows.map(
        lambda x: jnp.broadcast_to(x.sum(1, keepdims=True) / weight, (len(x), spec.latent_dim))
    )
    return _State(dictionary, codes + _TINY, objectives)


def _settled(state: _State, objective: Array, iteration: Array, dim: int) -> tuple[Array, Array]:
    """The objectives with this one, and the decrease over the last half of all iterations.

    That is a share of the objective. The first few iterations tell nothing.
    """
    objectives = state.objectives.at[iteration].set(objective)
    decrease = objectives[iteration // 2] - objective
    share = decrease / jnp.maximum(objective, _EXACT * dim)
    return objectives, jnp.where(iteration < _FEW, jnp.inf, jnp.maximum(share, 0.0))


_FEW = 9


def _frobenius_step(spec: Nmf, rows: Rows, state: _State, iteration: Array):
    """Codes given atoms, then atoms given codes; the objective is that of both.

    All is told by residuals: where the mean of the data is large, squares of them are small
    differences of large numbers.
    """
    dictionary = state.dictionary
    gram = dot(dictionary, dictionary.T)

    def add(carry, block):
        codes, scatter, mixed, cross, total = carry
        part = jax.lax.dynamic_slice_in_dim(codes, block.start, len(block.fresh)).T
        residual = block.values - dot(part.T, dictionary)
        slope = dot(dictionary, residual.T)  # [Z, S]
        new = part
        for _ in range(spec.sweeps):
            new = coordinate.sweep(new, gram, slope, coordinate.positive, at=part)
        # The rows that an earlier block held are at their new codes already: keep those.
        new = jnp.where(block.fresh[None] > 0, new, part)
        step = new - part
        decrease = (step * (slope - 0.5 * dot(gram, step))).sum(axis=0)
        value = 0.5 * jnp.square(residual).sum(axis=1) - decrease
        counted = new * block.fresh[None]
        return (
            put_rows(codes, new.T, block.start),
            scatter + dot(counted, new.T),
            mixed + dot(counted, step.T),
            cross + dot(counted, residual),
            total + (value * block.fresh).sum(),
        )

    square = jnp.zeros((spec.latent_dim, spec.latent_dim))
    empty = (square, square, jnp.zeros_like(dictionary), jnp.zeros(()))
    codes, scatter, mixed, cross, total = rows.fold(add, (state.codes, *empty))
    slope = cross - dot(mixed, dictionary)  # codes^T times the residuals that they leave
    new = dictionary
    for _ in range(spec.sweeps):
        new = coordinate.sweep(new, scatter, slope, coordinate.positive, at=dictionary)
    step = new - dictionary
    decrease = jnp.vdot(step, slope - 0.5 * dot(scatter, step))
    objective = jnp.maximum(total - decrease, 0.0) / rows.count
    objectives, change = _settled(state, objective, iteration, rows.dim)
    return _State(new, codes, objectives), objective, change


def _kl_step(spec: Nmf, rows: Rows, state: _State, iteration: Array):
    """Multiplicative updates of the codes and of the atoms in turn, `sweeps` of each.

    The objective is that of the state which the step began with.
    """

    def update(sweep: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        dictionary, codes, first = carry
        dictionary, codes, divergence = _kl_update(rows, dictionary, codes)
        return dictionary, codes, jnp.where(sweep == 0, divergence / rows.count, first)

    start = (state.dictionary, state.codes, jnp.zeros(()))
    dictionary, codes, objective = jax.lax.fori_loop(0, spec.sweeps, update, start)
    objectives, change = _settled(state, objective, iteration, rows.dim)
    return _State(dictionary, codes, objectives), objective, change


def _kl_update(rows: Rows, dictionary: Array, codes: Array) -> tuple[Array, Array, Array]:
    """One update of the codes, then one of the atoms, and the divergence before them, summed."""
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

    empty = (jnp.zeros_like(dictionary), jnp.zeros(len(dictionary)), jnp.zeros(()))
    codes, numerator, totals, divergence = rows.fold(add, (codes, *empty))
    dictionary = jnp.maximum(dictionary * numerator / (totals + _TINY)[:, None], _FLOOR)
    return dictionary, codes, divergence


def _kl_codes(x: Array, codes: Array, dictionary: Array, weights: Array) -> tuple[Array, Array]:
    """Codes [B, Z] after one update, and the divergence of each row before it, [B]."""
    model = dot(codes, dictionary) + _TINY
    updated = codes * dot(x / model, dictionary.T) / (weights + _TINY)[None]
    return jnp.maximum(updated, _FLOOR), _divergence(x, model).sum(axis=1)


def _divergence(x: Array, model: Array) -> Array:
    """x log(x / y) - x + y of each value; a series in x / y - 1 where that is small."""
    excess = (x - model) / model
    terms = 0.5 + excess * (-1 / 6 + excess * (1 / 12 + excess * (-1 / 20 + excess / 30)))
    near = model * jnp.square(excess) * terms
    whole = jax.scipy.special.xlogy(x, x / model) - x + model
    return jnp.where(jnp.abs(excess) < 0.05, near, whole)


def _solve_kl(
    x: Array, dictionary: Array, max_iterations: Array | int, tolerance: Array | float
) -> Array:
    """Multiplicative updates of codes [B, Z] until each row has settled.

    Each row, and the dictionary, in units of its largest value.
    """
    atom_unit = _positive(dictionary.max())
    unit = _positive(x.max(axis=1, keepdims=True))
    x, dictionary = x / unit, dictionary / atom_unit
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
    codes = jax.lax.while_loop(unfinished, body, begin)[0]
    return _without_floor(codes) * (unit / atom_unit)


def _without_floor(numbers: Array) -> Array:
    """What multiplicative updates have brought down to the floor is 0."""
    return jnp.where(numbers > 2 * _FLOOR, numbers, 0.0)


def _positive(size: Array) -> Array:
    return jnp.where(size > 0, size, 1.0)
