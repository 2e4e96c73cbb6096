"""How near a mixture is to k-means, and probabilistic PCA to PCA, at a variance of the noise.

Everything is computed in float64 from what the codecs hold. Rows x [N, D]; s is the variance of
p(x|z) = N(g(z), s I). A density is put on the scale of squared errors as

    -2 s log p(x) - s D log(2 pi s)

which is |x - g(z)|^2 where nothing but the distance to one reconstruction is left of it.
"""

import math

import numpy as np
from scipy.special import logsumexp

from ae_jax.codecs.clusters import Clusters
from ae_jax.codecs.pca import PcaCodec
from ae_jax.codecs.probabilistic_pca import ProbabilisticPcaCodec


def scaled_loss(log_prob: np.ndarray, variance: float, dim: int) -> float:
    """Log densities [N] on the scale of squared errors, mean over examples."""
    return float(
        -2 * variance * log_prob.mean() - variance * dim * math.log(2 * math.pi * variance)
    )


def distances(codec: Clusters, x: np.ndarray) -> np.ndarray:
    """|x - centre_k|^2, [N, K]."""
    centres = _float64(codec.relative) + _float64(codec.origin)[None]
    mean = centres.mean(axis=0)  # near all of them: a product of differences loses no digits
    x, centres = x - mean[None], centres - mean[None]
    squares = np.square(x).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)[None]
    return np.maximum(squares - 2 * x @ centres.T, 0.0)


def mixture_limit(soft: Clusters, hard: Clusters, x: np.ndarray) -> dict[str, float]:
    """How far a mixture of a given variance is from k-means.

    doubt                1 - max_k p(k|x), mean over examples
    loss gap             scaled loss less the squared error of k-means
    predicted loss gap   2 s H(w), H the entropy of the shares w of the clusters, nats: an example
                         of cluster k has -2 s log w_k beside its distance, and the other clusters
                         add what vanishes faster
    centre distance      between centres of one number, root mean square over them
    same clusters        share of examples whose most likely cluster is that of k-means
    """
    variance, dim = float(soft.variance), x.shape[1]
    joint = log_joint(soft, x, variance)
    hard_distances = distances(hard, x)
    weights = _float64(hard.weights)
    between = _float64(soft.relative) + _float64(soft.origin)[None]
    between = between - (_float64(hard.relative) + _float64(hard.origin)[None])
    return {
        "doubt": doubt(joint),
        "loss gap": scaled_loss(logsumexp(joint, axis=1), variance, dim)
        - float(hard_distances.min(axis=1).mean()),
        "predicted loss gap": float(-2 * variance * (weights * np.log(weights)).sum()),
        "centre distance": float(np.sqrt(np.square(between).sum(axis=1).mean())),
        "same clusters": float((joint.argmax(axis=1) == hard_distances.argmin(axis=1)).mean()),
    }


def log_joint(codec: Clusters, x: np.ndarray, variance: float) -> np.ndarray:
    """log p(k, x) in a mixture of this variance, [N, K], nats."""
    constant = 0.5 * x.shape[1] * math.log(2 * math.pi * variance)
    weights = np.log(_float64(codec.weights))
    return weights[None] - 0.5 * distances(codec, x) / variance - constant


def doubt(joint: np.ndarray) -> float:
    """1 - max_k p(k|x), mean over examples, from log p(k, x) [N, K] up to a constant of each x.

    A sum over the others: the difference to 1 would lose what is small.
    """
    shares = np.exp(joint - logsumexp(joint, axis=1)[:, None])
    np.put_along_axis(shares, shares.argmax(axis=1)[:, None], 0.0, axis=1)
    return float(shares.sum(axis=1).mean())


def pca_limit(soft: ProbabilisticPcaCodec, hard: PcaCodec, x: np.ndarray) -> dict[str, float]:
    """How far probabilistic PCA of a given noise s is from PCA, on its training data.

    With v_j the variance along component j, N in the denominator, both predictions are exact while
    s is below every v_j:

    distance             of the decoded posterior mean from the projection, root mean square;
                         predicted s sqrt(sum_j 1 / v_j)
    loss gap             scaled loss less the squared error of PCA; predicted
                         s sum_j (1 + log(v_j / s))
    """
    variance, dim = float(soft.noise_variance), x.shape[1]
    components = _float64(hard.components)
    off = x - (_float64(hard.mean) + _float64(hard.rest))[None]
    along = off @ components.T
    spread = np.square(along).mean(axis=0)  # v_j
    projected = along @ components
    weights = _float64(soft.weights)
    off = x - (_float64(soft.mean) + _float64(soft.rest))[None]
    inner = weights @ weights.T + variance * np.eye(len(weights))  # M
    code = np.linalg.solve(inner, weights @ off.T).T
    residual = off - code @ weights
    quadratic = np.square(residual).sum(axis=1) / variance + np.square(code).sum(axis=1)
    log_det = np.linalg.slogdet(inner)[1] + (dim - len(weights)) * math.log(variance)
    log_prob = -0.5 * (quadratic + log_det + dim * math.log(2 * math.pi))
    error = np.square(off - projected).sum(axis=1).mean()
    between = code @ weights - projected
    return {
        "distance": float(np.sqrt(np.square(between).sum(axis=1).mean())),
        "predicted distance": float(variance * np.sqrt((1 / spread).sum())),
        "loss gap": scaled_loss(log_prob, variance, dim) - float(error),
        "predicted loss gap": float(variance * (1 + np.log(spread / variance)).sum()),
    }


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of log y against log x, by least squares; nan where some y is not above 0."""
    if not (np.asarray(y) > 0).all():
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _float64(x) -> np.ndarray:
    return np.asarray(x, np.float64)
