"""Evaluators by name: `(module, variables, data, key) -> {name: float}`.

To add one: a function in a file of this folder, and one line here.
"""

from ae_jax.core.registry import Registry
from ae_jax.data.passes import EvaluationData, Evaluator
from ae_jax.eval.bounds import ImportanceSampledLikelihood, lower_bound
from ae_jax.eval.codes import CodeUse, LinearProbe
from ae_jax.eval.completion import Completion
from ae_jax.eval.perplexity import DocumentCompletion, perplexity_bound
from ae_jax.eval.reconstruction import PeakSignalToNoise, explained_variance, squared_error
from ae_jax.eval.topics import TopicQuality

EVALUATORS = Registry[Evaluator](
    "evaluator",
    {
        "bound": lower_bound,
        "code_use": CodeUse(),
        "completion": Completion(),
        "document_completion": DocumentCompletion(),
        "explained_variance": explained_variance,
        "linear_probe": LinearProbe(),
        "log_likelihood": ImportanceSampledLikelihood(),
        "perplexity_bound": perplexity_bound,
        "psnr": PeakSignalToNoise(),
        "squared_error": squared_error,
        "topics": TopicQuality(),
    },
)

__all__ = [
    "EVALUATORS",
    "CodeUse",
    "Completion",
    "DocumentCompletion",
    "EvaluationData",
    "Evaluator",
    "ImportanceSampledLikelihood",
    "LinearProbe",
    "PeakSignalToNoise",
    "TopicQuality",
]
