"""Sparse coding: an overcomplete dictionary of unit atoms, few of which explain an example."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.codecs import coordinate
from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import in_units, mean_over_spread, scaled, told
from ae_jax.codecs.iterate import iterate, relative_decrease
from ae_jax.codecs.rows import Rows, dot, put_rows
from ae_jax.codecs.sparse_codes import fista, matching_pursuit
from ae_jax.core.errors import UserError, present
from ae_jax.core.ranges import Count, NonNegative

Sparsity = Literal["l1", "l1_positive", "omp"]
Solver = Literal["coordinate_descent", "fista"]

# Without a batch size, so many examples are still fitted all at once; more by batches of 512.
_AT_ONCE = 8192
_BATCH = 512
# An atom is unused where the mean square of its code is below this share of the largest.
_UNUSED = 1e-8
# Where the mean is more than so many times the spread, atoms are nearly one direction: what tells
# their codes apart is lost in float32, and no number of sweeps finds them. Of two dimensions and 64
# atoms, the objective is within 0.3 % of least angles in float64 up to here, and at 200 the squared
# error is ninety times theirs.
_MOST_MEAN = 128.0


@struct.dataclass
class SparseCodingCodec(Codec):
    """A dictionary [Z, D] of unit rows; codes are found by an inner optimisation.

    penalty                               weight of |z|_1
    encode_iterations, encode_tolerance   most iterations, and the relative change of a code at
                                          which it is taken as found
    sparsity, solver, num_nonzeros        as in `SparseCoding`
    """

    dictionary: Array
    penalty: Array
    encode_iterations: Array
    encode_tolerance: Array
    sparsity: Sparsity = struct.field(pytree_node=False, default="l1")
    solver: Solver = struct.field(pytree_node=False, default="coordinate_descent")
    num_nonzeros: int = struct.field(pytree_node=False, default=5)

    @property
    def atoms(self) -> Array:
        return self.dictionary

    @compiled_method
    def encode(self, x: Array) -> Array:
        """Sparse codes, [B, D] -> [B, Z]."""
        gram, target = dot(self.dictionary, self.dictionary.T), dot(self.dictionary, x.T)
        return self.solve(
            jnp.zeros_like(target), gram, target, self.encode_iterations, self.encode_tolerance
        ).T

    def solve(
        self,
        start: Array,
        gram: Array,
        target: Array,
        max_iterations: Array | int,
        tolerance: Array | float,
    ) -> Array:
        """Codes as columns [Z, B] from Phi Phi^T and Phi X^T; `start` only saves time."""
        if self.sparsity == "omp":
            return matching_pursuit(gram, target, self.num_nonzeros)
        penalty = {"l1": coordinate.soft, "l1_positive": coordinate.soft_positive}
        solvers: dict[str, Callable[..., Array]]
        solvers = {"coordinate_descent": coordinate.solve, "fista": fista}
        minimise = solvers[self.solver]
        prox = penalty[self.sparsity](self.penalty)
        return minimise(start, gram, target, prox, max_iterations, tolerance)

    def cost(self, z: Array) -> Array:
        """What a code pays for itself, [..., Z] -> [...]."""
        if self.sparsity == "omp":
            return jnp.zeros(z.shape[:-1])
        return self.penalty * jnp.abs(z).sum(axis=-1)

    def objective(self, x: Array, z: Array) -> Array:
        """1/2 |x - decode(z)|^2 + cost(z), [B]."""
        return 0.5 * jnp.square(self.residuals(x, z)).sum(axis=1) + self.cost(z)


@struct.dataclass
class SparseCoding(CodecSpec):
    """Sparse coding by alternating minimisation (Olshausen & Field 1997; Mairal et al. 2010).

    Objective: 1/2 |x - z Phi|^2 + penalty |z|_1 (no penalty for `omp`), mean over examples, with
    atoms of unit norm. Atoms are updated one by one given second moments of the codes, and
    projected on the sphere (Mairal et al., Alg. 2); an unused one becomes a random example.

    sparsity         `l1`, `l1_positive` (no negative code), or `omp`: exactly `num_nonzeros`
                     atoms an example by orthogonal matching pursuit
    solver           of the codes under l1: `coordinate_descent` or `fista`
    batch_size       0: all examples each iteration, their codes kept. Otherwise online dictionary
                     learning on batches of this size, and an iteration is a pass over the data.
                     None is 0 up to 8192 examples, else 512
    sweeps           over the atoms at each update
    tolerance        stops where the objective changes by no more than this share
    code_iterations, code_tolerance       most iterations for the codes of a batch while fitting,
                                          and the relative change at which they end
    encode_iterations, encode_tolerance   the same for new examples
    """

    latent_dim: Count = struct.field(pytree_node=False, default=64)
    sparsity: Sparsity = struct.field(pytree_node=False, default="l1")
    penalty: NonNegative = 0.1
    num_nonzeros: Count = struct.field(pytree_node=False, default=5)
    solver: Solver = struct.field(pytree_node=False, default="coordinate_descent")
    batch_size: Annotated[int, Field(ge=0)] | None = struct.field(pytree_node=False, default=None)
    sweeps: Count = struct.field(pytree_node=False, default=1)
    max_iterations: Count = struct.field(pytree_node=False, default=100)
    tolerance: NonNegative = 1e-4
    code_iterations: Count = 100
    code_tolerance: NonNegative = 1e-2
    encode_iterations: Count = 1000
    encode_tolerance: NonNegative = 1e-5

    def check_idle(self, count: int, dim: int) -> None:
        if self.sparsity == "omp":
            why = "is of codes with a penalty, and codec.sparsity=omp has none"
            of_penalty = ("penalty", "solver", "code_iterations", "code_tolerance")
            self.refuse_changed((*of_penalty, "encode_iterations", "encode_tolerance"), why)
        else:
            why = f"is of codec.sparsity=omp, and it is {self.sparsity}"
            self.refuse_changed(("num_nonzeros",), why)

    def check(self, rows: Rows) -> None:
        if self.sparsity == "omp":
            limit = min(self.latent_dim, rows.dim)
            if self.num_nonzeros > limit:
                raise UserError(
                    f"num_nonzeros={self.num_nonzeros} is more than the atoms or the dimensions "
                    f"of the data, {limit}"
                )
        if (self.batch_size or 0) > rows.count:
            raise UserError(
                f"batch_size={self.batch_size} is more than there are examples, {rows.count}"
            )
        times = mean_over_spread(rows)
        if times > _MOST_MEAN:
            raise UserError(
                f"the mean of the data is {times:,.0f} times their spread, and sparse codes know "
                "of no mean: subtract it and scale them, as preprocessing by standardization does"
            )

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        size = self.batch_size
        if size is None:
            size = 0 if rows.count <= _AT_ONCE else _BATCH
        rows, frame = scaled(rows)
        squared = frame.unit**2
        spec = dataclasses.replace(self, batch_size=size, penalty=self.penalty / frame.unit)
        state = _start(spec, rows, key)
        state, history, converged = iterate(
            _alternate if size == 0 else _online_epoch,
            spec,
            rows,
            state,
            self.max_iterations,
            self.tolerance,
            told(progress, squared),
        )
        return Fit(_codec(self, state.dictionary), in_units(history, squared), converged)

    def blank(self, data_dim: int) -> SparseCodingCodec:
        return _codec(self, jnp.zeros((self.latent_dim, data_dim)))


def _codec(spec: SparseCoding, dictionary: Array) -> SparseCodingCodec:
    return SparseCodingCodec(
        dictionary=dictionary,
        penalty=jnp.asarray(spec.penalty, jnp.float32),
        encode_iterations=jnp.asarray(spec.encode_iterations, jnp.int32),
        encode_tolerance=jnp.asarray(spec.encode_tolerance, jnp.float32),
        sparsity=spec.sparsity,
        solver=spec.solver,
        num_nonzeros=spec.num_nonzeros,
    )


@struct.dataclass
class _State:
    """Atoms [Z, D], the last objective, a key, and what the algorithm remembers.

    codes     [N, Z] of all examples, or None online
    scatter   mean of z z^T, [Z, Z], and `cross` of z x^T, [Z, D]: online over the last pass
    steps     batches so far
    """

    dictionary: Array
    objective: Array
    key: Array
    codes: Array | None
    scatter: Array
    cross: Array
    steps: Array


@jax.jit
def _start(spec: SparseCoding, rows: Rows, key: Array) -> _State:
    key, start = jax.random.split(key)
    dim = spec.latent_dim
    return _State(
        dictionary=_random_atoms(rows, start, dim),
        objective=jnp.full((), jnp.inf),
        key=key,
        codes=jnp.zeros((rows.count, dim)) if spec.batch_size == 0 else None,
        scatter=jnp.zeros((dim, dim)),
        cross=jnp.zeros((dim, rows.dim)),
        steps=jnp.zeros(()),
    )


def _random_atoms(rows: Rows, key: Array, count: int) -> Array:
    """Random examples of unit norm, [count, D]; noise where there are too few or one is 0."""
    which, noise = jax.random.split(key)
    order = jax.random.permutation(which, rows.count)[:count]
    order = jnp.pad(order, (0, count - len(order)))
    examples = rows.take(order)
    repeated = jnp.arange(count) >= rows.count
    blank = jnp.square(examples).sum(axis=1) <= jnp.finfo(jnp.float32).tiny
    random = jax.random.normal(noise, examples.shape)
    return _unit_rows(jnp.where((blank | repeated)[:, None], random, examples))


def _unit_rows(rows: Array) -> Array:
    norm = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny)


def _updated_atoms(
    spec: SparseCoding, rows: Rows, key: Array, dictionary: Array, scatter: Array, cross: Array
) -> Array:
    """The atoms given the moments of their codes: `sweeps` over all, then unused ones anew."""
    for _ in range(spec.sweeps):
        dictionary = coordinate.sweep(dictionary, scatter, cross, coordinate.unit)
    use = jnp.diagonal(scatter)
    unused = use <= _UNUSED * use.max()
    # An update may also leave nothing of an atom.
    unused = unused | (jnp.square(dictionary).sum(axis=1) < 0.5)
    return jax.lax.cond(
        unused.any(),
        lambda: jnp.where(unused[:, None], _random_atoms(rows, key, spec.latent_dim), dictionary),
        lambda: dictionary,
    )


def _alternate(spec: SparseCoding, rows: Rows, state: _State, iteration: Array):
    """Codes of all examples given atoms, then atoms given codes; the objective is that between."""
    codec = _codec(spec, state.dictionary)
    gram = dot(state.dictionary, state.dictionary.T)

    def add(carry, block):
        codes, scatter, cross, total = carry
        part = jax.lax.dynamic_slice_in_dim(codes, block.start, len(block.fresh))
        target = dot(state.dictionary, block.values.T)
        new = codec.solve(part.T, gram, target, spec.code_iterations, spec.code_tolerance).T
        # The rows that an earlier block held are at their new codes already: keep those.
        new = jnp.where(block.fresh[:, None] > 0, new, part)
        counted = new * block.fresh[:, None]
        total = total + (codec.objective(block.values, new) * block.fresh).sum()
        scatter, cross = scatter + dot(counted.T, new), cross + dot(counted.T, block.values)
        return put_rows(codes, new, block.start), scatter, cross, total

    empty = (jnp.zeros_like(state.scatter), jnp.zeros_like(state.cross), jnp.zeros(()))
    codes, scatter, cross, total = rows.fold(add, (state.codes, *empty))
    key = jax.random.fold_in(state.key, iteration)
    dictionary = _updated_atoms(spec, rows, key, state.dictionary, scatter, cross)
    objective = total / rows.count
    change = relative_decrease(state.objective, objective)
    state = dataclasses.replace(
        state, dictionary=dictionary, objective=objective, codes=codes, scatter=scatter, cross=cross
    )
    return state, objective, change


def _online_epoch(spec: SparseCoding, rows: Rows, state: _State, iteration: Array):
    """A pass over the data in random batches (Mairal et al. 2010, Alg. 1).

    The objective is the mean over batches, each with the atoms it met.
    """
    key = jax.random.fold_in(state.key, iteration)
    size = present(spec.batch_size, "batch_size")
    batches = rows.count // size
    order = jax.random.permutation(key, rows.count)[: batches * size]

    def body(carry, indices):
        state, total = carry
        x = rows.take(indices)
        codec = _codec(spec, state.dictionary)
        gram, target = dot(codec.dictionary, codec.dictionary.T), dot(codec.dictionary, x.T)
        z = codec.solve(
            jnp.zeros_like(target), gram, target, spec.code_iterations, spec.code_tolerance
        ).T
        # Means over all batches at first, then over about one pass: older codes belong to
        # atoms that are no more.
        weight = 1.0 / jnp.minimum(state.steps + 1.0, float(batches))
        scatter = state.scatter + weight * (dot(z.T, z) / len(x) - state.scatter)
        cross = state.cross + weight * (dot(z.T, x) / len(x) - state.cross)
        fresh = jax.random.fold_in(key, state.steps.astype(jnp.int32))
        atoms = _updated_atoms(spec, rows, fresh, state.dictionary, scatter, cross)
        state = dataclasses.replace(
            state, dictionary=atoms, scatter=scatter, cross=cross, steps=state.steps + 1.0
        )
        return (state, total + codec.objective(x, z).mean()), None

    (state, total), _ = jax.lax.scan(body, (state, jnp.zeros(())), order.reshape(batches, -1))
    objective = total / batches
    change = relative_decrease(state.objective, objective)
    return dataclasses.replace(state, objective=objective), objective, change
