"""Evaluators by name: `(model, params, data, key) -> {name: float}`.

To add one: a function in a file of this folder, and one line here.
"""

from ae_jax.eval.base import EvaluationData, Evaluator
from ae_jax.eval.bounds import ImportanceSampledLikelihood, lower_bound
from ae_jax.eval.reconstruction import squared_error
from ae_jax.registry import Registry

EVALUATORS = Registry[Evaluator](
    "evaluator",
    {
        "bound": lower_bound,
        "log_likelihood": ImportanceSampledLikelihood(),
        "squared_error": squared_error,
    },
)

__all__ = ["EVALUATORS", "EvaluationData", "Evaluator", "ImportanceSampledLikelihood"]
