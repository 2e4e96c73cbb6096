"""Evaluators by name: `(module, variables, data, key) -> {name: float}`.

To add one: a function in a file of this folder, and one line here. Scores of single examples are in
`scores`, and what is made of them in `roc`.
"""

from ae_jax.core.registry import Registry
from ae_jax.data.passes import EvaluationData, Evaluator
from ae_jax.eval.annealing import AnnealedLikelihood
from ae_jax.eval.bounds import ImportanceSampledLikelihood, lower_bound
from ae_jax.eval.codes import CodeUse, LinearProbe
from ae_jax.eval.completion import Completion
from ae_jax.eval.disentanglement import Disentanglement
from ae_jax.eval.perplexity import DocumentCompletion, perplexity_bound
from ae_jax.eval.posterior_fit import PosteriorFitLikelihood
from ae_jax.eval.posteriors import ActiveUnits, aggregate_posterior, kl_by_dimension
from ae_jax.eval.quadrature import PlaneQuadrature
from ae_jax.eval.reconstruction import PeakSignalToNoise, explained_variance, squared_error
from ae_jax.eval.recovered import LossRecovered
from ae_jax.eval.scores import SCORES
from ae_jax.eval.topics import TopicQuality

EVALUATORS = Registry[Evaluator](
    "evaluator",
    {
        "active_units": ActiveUnits(),
        "aggregate_posterior": aggregate_posterior,
        "ais": AnnealedLikelihood(),
        "bound": lower_bound,
        "code_use": CodeUse(),
        "completion": Completion(),
        "disentanglement": Disentanglement(),
        "document_completion": DocumentCompletion(),
        "explained_variance": explained_variance,
        "hmc_likelihood": PosteriorFitLikelihood(),
        "kl_by_dimension": kl_by_dimension,
        "linear_probe": LinearProbe(),
        "log_likelihood": ImportanceSampledLikelihood(),
        "loss_recovered": LossRecovered(),
        "plane_quadrature": PlaneQuadrature(),
        "perplexity_bound": perplexity_bound,
        "psnr": PeakSignalToNoise(),
        "squared_error": squared_error,
        "topics": TopicQuality(),
    },
)

__all__ = [
    "EVALUATORS",
    "ActiveUnits",
    "AnnealedLikelihood",
    "CodeUse",
    "Completion",
    "DocumentCompletion",
    "Disentanglement",
    "EvaluationData",
    "Evaluator",
    "ImportanceSampledLikelihood",
    "LinearProbe",
    "LossRecovered",
    "PeakSignalToNoise",
    "PlaneQuadrature",
    "SCORES",
    "PosteriorFitLikelihood",
    "TopicQuality",
]
