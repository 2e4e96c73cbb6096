"""Every term of the bound of a variational autoencoder with two latents, by quadrature.

Nats an example. The bound is E_q log p(x|z) by Gauss-Hermite nodes less the KL to the prior in
closed form; log p(x) is a sum over a grid of the whole plane. KL(q || p(z|x)) is a sum over a grid
about q of log q(z|x) - log p(x, z), and the normaliser of p(z|x) a sum over a fine grid about the
posterior: where all of these are right, and nothing of the posterior lies elsewhere, they add up.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.api import Fitted
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.distributions import kl
from ae_jax.eval import EvaluationData, ImportanceSampledLikelihood, PlaneQuadrature
from ae_jax.eval.quadrature import log_joint
from ae_jax.models import Batch, BoundModel
from ae_jax.report.planes import PosteriorInPlane

NODES = 20  # of Gauss and Hermite, a coordinate
ABOUT = 41  # points of the grids about q and about the posterior, a coordinate
DRAWS = 1000  # an example for each K, at least: the mean over DRAWS / K estimates
WINDOW = 101  # points of a picture, a coordinate


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one model, an example each: [N]; `estimates` are by the number of samples K."""

    log_p: np.ndarray
    halving_error: np.ndarray
    outer_share: np.ndarray
    elbo: np.ndarray
    kl_to_posterior: np.ndarray
    estimates: dict[int, np.ndarray]

    @property
    def residual(self) -> np.ndarray:
        """What is left of the identity."""
        return self.log_p - self.elbo - self.kl_to_posterior


def measured(
    model: Fitted, split: Split, quadrature: PlaneQuadrature, samples: tuple[int, ...]
) -> Measured:
    """All terms of all examples of a split. Raises UserError for codes that are not of a plane."""
    ask = functools.partial(_ask, model, _data_of(model, split))
    whole = ask(quadrature)
    terms = {**ask(bound), **ask(cross_term)}
    place = (jnp.asarray(whole[f"posterior_{what}"]) for what in ("mean", "deviation"))
    first_id = split.first_id or 0
    near = _data_of(model, split).rows(
        normaliser,
        model.setup.architecture.model,
        model.variables,
        jax.random.key(0),
        *place,
        jnp.asarray(first_id),
    )
    return Measured(
        log_p=whole["log_p_by_quadrature"],
        halving_error=whole["quadrature_halving_error"],
        outer_share=whole["quadrature_outer_share"],
        elbo=terms["elbo"],
        kl_to_posterior=terms["log_q_over_joint"] + near["log_normaliser"],
        estimates={count: _estimate(model, split, count) for count in samples},
    )


def bound(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    """The ELBO without noise, {elbo: [B]}."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = np.outer(weights, weights).ravel() / (2 * math.pi)
    noise = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    posterior = model.encode(batch)
    z = posterior.loc[None] + jnp.exp(posterior.log_scale)[None] * jnp.asarray(noise, jnp.float32)
    log_likelihood = model.decode(z, batch).log_prob(batch["x"])  # [nodes, B]
    expected = (jnp.asarray(weights, jnp.float32)[:, None] * log_likelihood).sum(axis=0)
    return {"elbo": expected - kl(posterior, model.prior(batch))}


def cross_term(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    """E_q log q(z|x) / p(x, z) by the trapezoidal rule about q, {log_q_over_joint: [B]}."""
    posterior = model.encode(batch)
    scale = jnp.exp(posterior.log_scale)
    z = posterior.loc[None] + scale[None] * _grid(6.0)
    log_q = posterior.log_prob(z)
    joint = model.decode(z, batch).log_prob(batch["x"]) + model.prior(batch).log_prob(z)
    area = (12.0 / (ABOUT - 1)) ** 2 * scale.prod(axis=-1)[None]
    return {"log_q_over_joint": (area * jnp.exp(log_q) * (log_q - joint)).sum(axis=0)}


def normaliser(
    model: BoundModel, batch: Batch, key: Array, mean: Array, deviation: Array, first_id: Array
) -> dict[str, Array]:
    """log of the integral of p(x, z) over seven and a half deviations of the posterior either way,
    whose means and deviations are [N, 2] in the order of the examples, {log_normaliser: [B]}."""
    place = batch["id"] - first_id
    noise = _grid(7.5)
    scale = deviation[place]
    z = mean[place][None] + scale[None] * noise
    joint = model.decode(z, batch).log_prob(batch["x"]) + model.prior(batch).log_prob(z)
    area = 2 * math.log(15.0 / (ABOUT - 1)) + jnp.log(scale).sum(axis=-1)
    return {"log_normaliser": jax.nn.logsumexp(joint, axis=0) + area}


def _grid(reach: float) -> Array:
    """[ABOUT^2, 1, 2] points, equally far apart, from -reach to reach in both coordinates."""
    line = np.linspace(-reach, reach, ABOUT)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    return jnp.asarray(grid.reshape(-1, 1, 2), jnp.float32)


def _data_of(model: Fitted, split: Split, batch_size: int = 8) -> EvaluationData:
    setup = model.setup
    first_id = split.first_id or 0  # rows by number have none, and nothing here is drawn by id
    on_device = DeviceSplit.put(dataclasses.replace(split, first_id=first_id))
    return EvaluationData(
        on_device, setup.numbers.statistics, setup.architecture.preprocess, batch_size
    )


def _ask(model: Fitted, data: EvaluationData, what: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Values of every example, of an evaluator with rows or of a function of a batch."""
    module, key = model.setup.architecture.model, jax.random.key(seed)
    if isinstance(what, PlaneQuadrature):
        return what.rows(module, model.variables, data.replace(batch_size=len(data.split)), key)
    return data.rows(what, module, model.variables, key)


def _estimate(model: Fitted, split: Split, count: int) -> np.ndarray:
    """log of the mean of K importance weights, [N], the mean over so many estimates."""
    values_of = ImportanceSampledLikelihood(count, part=min(count, 100)).values_of
    data = _data_of(model, split)
    estimates = [
        _ask(model, data, values_of, seed=seed)["log_likelihood"]
        for seed in range(max(1, min(DRAWS // count, 50)))
    ]
    return np.mean(estimates, axis=0)


def seen(model: Fitted, example: Split, quadrature: PlaneQuadrature) -> PosteriorInPlane:
    """Of a split of one example; the window holds three and a half deviations of both."""
    data = _data_of(model, example)
    posterior = model.posterior(example)
    loc, scale = np.asarray(posterior.loc[0]), np.exp(np.asarray(posterior.log_scale[0]))
    line = np.linspace(-quadrature.reach, quadrature.reach, quadrature.points)
    coarse = _joint_on(model, data, line, line)
    weights = np.exp(coarse - coarse.max())
    weights /= weights.sum()
    ends = []
    for axis in (0, 1):
        along = weights.sum(axis=1 - axis)
        mean = float((along * line).sum())
        deviation = math.sqrt(float((along * (line - mean) ** 2).sum()))
        reach = 3.5 * max(deviation, scale[axis])
        ends.append((min(mean, loc[axis]) - reach, max(mean, loc[axis]) + reach))
    middle = [sum(pair) / 2 for pair in ends]
    half = max(pair[1] - pair[0] for pair in ends) / 2  # a square: distances are seen as they are
    first, second = (np.linspace(m - half, m + half, WINDOW) for m in middle)
    joint = _joint_on(model, data, first, second)
    density = np.exp(joint - joint.max())
    return PosteriorInPlane(first, second, density, loc, scale)


def _joint_on(
    model: Fitted, data: EvaluationData, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """log p(x, z) of one example over two coordinates, [P, P]."""
    codes = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    module, key = model.setup.architecture.model, jax.random.key(0)
    given = jnp.asarray(codes, jnp.float32)
    found = data.rows(_joint, module, model.variables, key, given)["joint"]
    return np.asarray(found[0], np.float64).reshape(len(first), len(second))


def _joint(model: BoundModel, batch: Batch, key: Array, codes: Array) -> dict[str, Array]:
    return {"joint": log_joint(model, batch, codes, alike=True).T}
