"""Sparse codes of examples given a dictionary: lasso by two solvers, and matching pursuit.

Codes are columns here, [Z, B]; each column is solved by itself, so that it does not depend on
its batch. G = Phi Phi^T [Z, Z] and C = Phi X^T [Z, B] are all that the solvers see of the data.
"""

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.codecs.coordinate import Prox
from ae_jax.codecs.rows import dot

_SQUARINGS = 6


def largest_eigenvalue_bound(gram: Array) -> Array:
    """An upper bound on the largest eigenvalue of G, at most 5 % too large for Z = 512.

    |G^k|_F^(1/k) for k = 64, by squaring: never below, unlike power iteration.
    """

    def square(_, carry):
        power, log_bound, exponent = carry
        norm = jnp.linalg.norm(power)
        norm = jnp.where(norm > 0, norm, 1.0)
        power = power / norm
        log_bound = log_bound + jnp.log(norm) * exponent
        return dot(power, power), log_bound, exponent / 2

    start = (gram, jnp.zeros(()), jnp.ones(()))
    power, log_bound, exponent = jax.lax.fori_loop(0, _SQUARINGS, square, start)
    # After s squarings `power` is G^(2^s) over what has been divided out of it.
    return jnp.exp(log_bound + jnp.log(jnp.linalg.norm(power)) * exponent)


def fista(
    z: Array,
    gram: Array,
    target: Array,
    prox: Prox,
    max_iterations: Array | int,
    tolerance: Array | float,
) -> Array:
    """Accelerated proximal gradient on 1/2 z^T G z - z^T c + penalty(z), each column of [Z, B].

    Beck & Teboulle 2009, Eq. 4.1 to 4.3, with the momentum of a column restarted where it points
    uphill (O'Donoghue & Candes 2015, Eq. 12). Stops as `coordinate.solve`.
    """
    step = 1.0 / jnp.maximum(largest_eigenvalue_bound(gram), jnp.finfo(jnp.float32).tiny)
    # A step is small where the bound is large: what counts is what a coordinate would move alone.
    stretch = 1.0 / jnp.maximum(step * jnp.diagonal(gram).max(), jnp.finfo(jnp.float32).tiny)

    def unfinished(carry) -> Array:
        return carry[3].any() & (carry[4] < max_iterations)

    def body(carry):
        z, ahead, momentum, active, count = carry
        moved = prox(ahead - step * (dot(gram, ahead) - target), step)
        new = jnp.where(active[None], moved, z)
        change = new - z
        uphill = ((ahead - new) * change).sum(axis=0) > 0
        following = jnp.where(uphill, 1.0, 0.5 * (1 + jnp.sqrt(1 + 4 * momentum * momentum)))
        weight = jnp.where(uphill, 0.0, (momentum - 1) / following)
        size = stretch * jnp.abs(change).max(axis=0)
        # A restarted column has not settled: its last step was cut short.
        settled = (size <= tolerance * jnp.abs(new).max(axis=0)) & ~(uphill & (size > 0))
        return new, new + weight[None] * change, following, active & ~settled, count + 1

    batch = z.shape[1]
    start = (z, z, jnp.ones(batch), jnp.ones(batch, bool), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, body, start)[0]


def matching_pursuit(gram: Array, target: Array, num_nonzeros: int) -> Array:
    """Orthogonal matching pursuit with so many non-zeros a column (Pati et al. 1993), [Z, B].

    Batch form (Rubinstein, Zibulevsky & Elad 2008): the residual appears only by its products
    with the atoms. Chosen atoms are orthogonalised one by one, which is a pivoted Cholesky
    decomposition of G. A column has fewer non-zeros only where nothing is left to explain.
    """
    return jax.vmap(_pursue, (None, 1, None), 1)(gram, target, num_nonzeros)


def _pursue(gram: Array, target: Array, num_nonzeros: int) -> Array:
    """The code of one example, [Z], from its products with the atoms [Z]."""
    atoms = len(gram)
    smallest = 1e-6 * jnp.diagonal(gram).max()

    def choose(index, carry):
        products, free, chosen, basis, weights = carry
        best = jnp.argmax(jnp.where(free, jnp.abs(products), -1.0))
        # Products of the new direction with all atoms: what of the atom the chosen do not span.
        direction = gram[best] - dot(basis[:, best], basis)
        square = direction[best]
        usable = square > smallest
        direction = jnp.where(usable, direction / jnp.sqrt(jnp.where(usable, square, 1.0)), 0.0)
        weight = jnp.where(usable, products[best] / jnp.sqrt(jnp.where(usable, square, 1.0)), 0.0)
        return (
            products - weight * direction,
            free.at[best].set(False),
            chosen.at[index].set(best),
            basis.at[index].set(direction),
            weights.at[index].set(weight),
        )

    start = (
        target,
        jnp.ones(atoms, bool),
        jnp.zeros(num_nonzeros, jnp.int32),
        jnp.zeros((num_nonzeros, atoms)),
        jnp.zeros(num_nonzeros),
    )
    _, _, chosen, basis, weights = jax.lax.fori_loop(0, num_nonzeros, choose, start)
    triangle = basis[:, chosen]  # upper triangular: direction s on atom t, t >= s
    return jnp.zeros(atoms).at[chosen].set(_back_substitute(triangle, weights))


def _back_substitute(triangle: Array, right: Array) -> Array:
    """The solution of an upper triangular system; unknowns with a diagonal of 0 are 0."""
    count = len(right)

    def solve(step, solution):
        row = count - 1 - step
        pivot = triangle[row, row]
        rest = right[row] - jnp.vdot(triangle[row], solution)
        return solution.at[row].set(jnp.where(pivot > 0, rest / jnp.where(pivot > 0, pivot, 1), 0))

    return jax.lax.fori_loop(0, count, solve, jnp.zeros(count))
