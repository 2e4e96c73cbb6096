"""The models of two rows of pythae's table of reproduced figures, and what stands between them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

from ae_jax.api import Fitted
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, load
from ae_jax.lab import Lab
from ae_jax.objectives import Elbo
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.published import TARGETS

LATENT_DIM = 40
BATCH_SIZE = 100
WARMUP = 0.05  # of the steps: pythae's first 100 of 2,000 epochs
VALIDATION = "valid/elbo"


@dataclasses.dataclass(frozen=True)
class Network:
    """One row.

    key        of its folder, and of the published row if there is one
    described  as tables have it
    prior      registered as `model.prior`
    gated      two gated layers of 300 on either side; else one rectified layer of 400
    """

    key: str
    described: str
    prior: str
    gated: bool = True

    def model(self, components: int) -> ModelConfig:
        mixed = self.prior in ("mixture", "vamp")
        options = (("prior.components", components),) if mixed else ()
        if not self.gated:
            return ModelConfig(
                hidden=(400,), activation="relu", latent_dim=LATENT_DIM, head="bernoulli"
            )
        return ModelConfig(
            encoder="gated",
            decoder="gated",
            hidden=(300, 300),
            activation="linear",
            init="he_normal",
            latent_dim=LATENT_DIM,
            prior=self.prior,
            head="bernoulli",
            options=options,
        )


PLAIN = Network("vae", "VAE, 400 units", "standard_normal", gated=False)
NETWORKS = (
    PLAIN,
    Network("standard", "gated, N(0, I)", "standard_normal"),
    Network("mixture", "gated, mixture", "mixture"),
    Network("vamp", "gated, VampPrior", "vamp"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A trained network. `by_rate` are the bounds of the validation images after the trial of each
    step size, by which `rate` was chosen; there is none where there was nothing to choose."""

    network: Network
    rate: float
    by_rate: Mapping[float, float]
    model: Fitted


def member(network: Network, dataset: DataSet, components: int, epochs: int, rate: float) -> Member:
    """A run; the bound is estimated alike whatever the prior: by the samples, as for mixtures."""
    steps = math.ceil(len(dataset.splits["train"]) / BATCH_SIZE) * epochs
    binary = dataset.name == "binarized_mnist"
    config = RunConfig(
        data=DataConfig(
            dataset.name, dataset.protocol, "identity" if binary else "fixed_binarization"
        ),
        model=network.model(components),
        # Without a warm-up in the row of pythae's script `vae.py`, with one in that of `vamp.py`.
        objective=Elbo(
            kl_form="monte_carlo" if network.gated else "analytic",
            beta_warmup=WARMUP * steps if network.gated else 0.0,
        ),
        optim=Adam(learning_rate=rate, schedule="cosine"),
        train=TrainConfig(batch_size=BATCH_SIZE, epochs=epochs),
        eval=EvalConfig(every=max(1, epochs // 20)),
    )
    return Member(f"{network.key}/epochs={epochs}/step={rate:g}", config)


def trained(
    lab: Lab, dataset: DataSet, components: int, epochs: int, rates: Sequence[float], trial: int
) -> list[Row]:
    """Every network at the best of the step sizes, from its best checkpoint.

    Of several step sizes each is tried for `trial` epochs, its schedule to the end. What is best is
    so by the bound of the validation images. Raises UserError where a network diverges.
    """
    tried = _bounds(lab, dataset, components, trial, rates) if len(rates) > 1 else {}
    chosen = {
        network: max(tried[network], key=tried[network].__getitem__) if tried else rates[0]
        for network in NETWORKS
    }
    members = {n: member(n, dataset, components, epochs, rate) for n, rate in chosen.items()}
    models = lab.train(list(members.values()), dataset, "best")
    for network, one in members.items():
        if one.name not in models:
            raise UserError(f"{network.described} diverges at the step size {chosen[network]:g}")
    return [
        Row(network, chosen[network], tried.get(network, {}), models[one.name])
        for network, one in members.items()
    ]


def _bounds(
    lab: Lab, dataset: DataSet, components: int, epochs: int, rates: Sequence[float]
) -> dict[Network, dict[float, float]]:
    """What every network reaches at each step size that does not diverge."""
    members = {
        (network, rate): member(network, dataset, components, epochs, rate)
        for network in NETWORKS
        for rate in rates
    }
    models = lab.train(list(members.values()), dataset)
    found: dict[Network, dict[float, float]] = {network: {} for network in NETWORKS}
    for (network, rate), one in members.items():
        if one.name in models:
            found[network][rate] = best_bound(models[one.name])
    for network, bounds in found.items():
        if not bounds:
            raise UserError(f"{network.described} diverges at all step sizes")
    return found


def best_bound(model: Fitted) -> float:
    """The highest bound of the validation images at any look, nats."""
    return max(record[VALIDATION] for record in model.records if VALIDATION in record)


def images(name: str) -> DataSet:
    """Binary images with a validation split."""
    return load(name, protocol="paper")


def published() -> dict[str, dict[str, float]]:
    """{key of a network: {reproduced, published, samples}}: NLL in nats, and of how many codes."""
    return json.loads((TARGETS / "priors.json").read_text(encoding="utf-8"))["rows"]
