"""Lower bounds on log p(x) and estimates of it."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, Share
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions import has_kl
from ae_jax.eval.estimates import check_density, codes_of, mean_and_error, standard_error
from ae_jax.models import Batch, BoundModel, Draws
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Elbo
from ae_jax.objectives.completion import of_hidden
from ae_jax.objectives.elbo import KlForm
from ae_jax.objectives.masked import refuse_nothing_hidden


def lower_bound(module: Any, variables: Any, data: EvaluationData, key: Array) -> dict[str, float]:
    """The ELBO and its two terms, nats per example; one sample. Of a deterministic code, which has
    no bound, the second term is 0 and the first the reconstruction.

    The KL is analytic where the pair of posterior and prior has a closed form, else the mean of
    log q - log p at the sample.
    """
    return data.mean(elbo_terms, module, variables, key)


def elbo_terms(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    """{elbo, reconstruction, kl: [B]} of a batch."""
    form: KlForm = "analytic" if has_kl(*codes_of(model, batch)) else "monte_carlo"
    return Elbo(kl_form=form)(model, batch, key, jnp.zeros((), jnp.int32)).metrics


@dataclasses.dataclass(frozen=True)
class ImportanceSampledLikelihood(Checked):
    """log p(x) by importance sampling from q(z|x): log mean_k p(x, z_k) / q(z_k|x), in nats.

    proposal         what codes are drawn from: the `posterior`, or the `prior`, which has not seen
                     x: log mean_k p(x|z_k)
    pattern, share   with a pattern of missing entries, log p(x_h|c) of what it hides, as in
                     `CompletionElbo`

    A lower bound in expectation, which tightens with `num_samples` (Burda et al. 2016, Eq. 8).
    Samples are drawn in parts of at most `part` an example, and so many fewer examples at a time:
    no more than the `batch_size` of the data are decoded at once. Exactly `num_samples` count.
    With `repetitions` the whole estimate is made so many times with other samples.
    """

    num_samples: Count = 100
    part: Count = 10
    repetitions: Count = 1
    proposal: Literal["posterior", "prior"] = "posterior"
    pattern: str = "none"
    share: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.pattern == "none") != (self.share == 0):
            raise UserError(
                f"a pattern hides a share: {self.pattern} and {self.share:g} do not go together"
            )
        if self.pattern != "none":
            refuse_nothing_hidden(self.pattern, self.share, of="")

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{log_likelihood, log_likelihood_se}, nats per example; the error is over examples.

        With repetitions also `log_likelihood_repetition_se`: that of the mean over the examples at
        hand, from sampling alone. Raises UserError for a code without a density.
        """
        smaller = dataclasses.replace(data, batch_size=max(1, data.batch_size // self.part))
        found = np.stack(
            [
                smaller.rows(self.values_of, module, variables, key, *given)["log_likelihood"]
                for given in self._starts()
            ]
        )  # [R, N]
        results = mean_and_error("log_likelihood", found.mean(axis=0, dtype=np.float64))
        if self.repetitions > 1:
            each = found.mean(axis=1, dtype=np.float64)
            results["log_likelihood_repetition_se"] = standard_error(each)
        return results

    def _starts(self) -> list[tuple[int, ...]]:
        """For each repetition the number of its first sample, where that is not 0 for all."""
        if self.repetitions == 1:
            return [()]
        return [(index * self.num_samples,) for index in range(self.repetitions)]

    def values_of(
        self, model: BoundModel, batch: Batch, key: Array, first: Array | int = 0
    ) -> dict[str, Array]:
        """{log_likelihood: [B]} of a batch from samples first, first + 1, ... Raises UserError."""
        check_density(model, batch)
        size = min(self.part, self.num_samples)
        parts = math.ceil(self.num_samples / size)
        # What does not depend on the sample is computed once.
        posterior, prior = model.encode(batch), model.prior(batch)
        proposal = posterior if self.proposal == "posterior" else prior
        keys = example_keys(key, batch["id"])

        def weigh(_: None, part: Array) -> tuple[None, Array]:
            done = part * size
            z, log_proposal = proposal.sample_and_log_prob(keys, size, first + done)
            draws = self._scored(model, batch, proposal, prior, z, log_proposal)
            counts = done + jnp.arange(size) < self.num_samples
            weights = jnp.where(counts[:, None], draws.log_weights(), -jnp.inf)  # [K, B]
            return None, logsumexp(weights, axis=0)

        # Together in the end: to a running sum that is large, small parts would add nothing.
        _, totals = jax.lax.scan(weigh, None, jnp.arange(parts))  # [parts, B]
        return {"log_likelihood": logsumexp(totals, axis=0) - math.log(self.num_samples)}

    def _scored(
        self, model: BoundModel, batch: Batch, proposal: Any, prior: Any, z: Array, log_q: Array
    ) -> Draws:
        """What the model says of codes [K, B, Z]: of all entries, or of the hidden ones."""
        likelihood = model.decode(z, batch)
        draws = Draws(
            posterior=proposal,
            prior=prior,
            likelihood=likelihood,
            z=z,
            log_likelihood=likelihood.log_prob(batch["x"]),
            log_prior=jnp.broadcast_to(prior.log_prob(z), z.shape[:-1]),
            log_posterior=log_q,
        )
        if self.pattern == "none":
            return draws
        return of_hidden(draws, batch, self.pattern, self.share)
