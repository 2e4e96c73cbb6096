"""pythae's estimate of log p(x), and training of the bound of many samples in PyTorch."""

import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

from experiments.benchmarks.torch_contenders import Network
from experiments.benchmarks.workload import (
    LEARNING_RATE,
    PIXELS,
    Workload,
    digits,
    peak_mib,
    timed_epochs,
    wait_for_turn,
)


class Encoder(BaseEncoder):
    """784-H-Z, as pythae takes it."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> ModelOutput:
        features = torch.tanh(self.network.hidden(x.reshape(len(x), -1)))
        return ModelOutput(
            embedding=self.network.mean(features),
            log_covariance=self.network.log_variance(features),
        )


class Decoder(BaseDecoder):
    """Z-H-784; pythae's cross-entropy takes means, not logits."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, z: torch.Tensor) -> ModelOutput:
        logits = self.network.pixels(torch.tanh(self.network.decoder(z)))
        return ModelOutput(reconstruction=torch.sigmoid(logits))


def pythae_likelihood(workload: Workload, samples: int, batch_size: int) -> dict:
    """pythae's `get_nll`, so many samples of one image at a time."""
    torch.manual_seed(0)
    network = Network(workload)
    config = VAEConfig(
        input_dim=(PIXELS,), latent_dim=workload.latent_dim, reconstruction_loss="bce"
    )
    model = VAE(config, Encoder(network), Decoder(network)).eval()
    x = _images(workload)

    @torch.no_grad()
    def run(index: int) -> None:
        del index
        if not math.isfinite(model.get_nll(x, n_samples=samples, batch_size=batch_size)):
            raise FloatingPointError("log p(x) is not finite")

    return timed_epochs(run, workload)


def training(workload: Workload, samples: int) -> dict:
    """A plain loop: the encoder once a batch, K codes, log of the mean weight."""
    torch.manual_seed(0)
    network = Network(workload)
    pixels = torch.from_numpy(digits(workload).copy())
    optimiser = torch.optim.Adagrad(
        network.parameters(), lr=LEARNING_RATE, weight_decay=1 / len(pixels)
    )

    def run(index: int) -> None:
        del index
        order = torch.randperm(len(pixels))
        for first in range(0, len(pixels) - workload.batch_size + 1, workload.batch_size):
            x = pixels[order[first : first + workload.batch_size]].float() / 255
            optimiser.zero_grad(set_to_none=True)
            negative_bound(network, x, samples).backward()
            optimiser.step()

    return timed_epochs(run, workload)


def negative_bound(network: Network, x: torch.Tensor, samples: int) -> torch.Tensor:
    """-log 1/K sum_k w_k (Burda et al. 2016, Eq. 8), mean over the batch."""
    features = torch.tanh(network.hidden(x))
    mean, log_variance = network.mean(features), network.log_variance(features)
    noise = torch.randn(samples, *mean.shape)
    z = mean + torch.exp(0.5 * log_variance) * noise
    logits = network.pixels(torch.tanh(network.decoder(z)))
    errors = nn.functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    ).sum(-1)
    # Of log p(z) - log q(z|x) the constants cancel.
    ratio = 0.5 * (noise**2 + log_variance - z**2).sum(-1)
    return -(torch.logsumexp(ratio - errors, 0) - math.log(samples)).mean()


def pythae_training(workload: Workload, samples: int) -> dict:
    """pythae's IWAE by its own trainer."""
    network = Network(workload)
    config = IWAEConfig(
        input_dim=(PIXELS,),
        latent_dim=workload.latent_dim,
        reconstruction_loss="bce",
        number_samples=samples,
    )
    x = _images(workload)
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            IWAE(config, Encoder(network), Decoder(network)),
            train_dataset=BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=workload.batch_size,
                num_epochs=workload.epochs + 2,
                optimizer_cls="Adagrad",
                optimizer_params={"weight_decay": 1 / len(x)},
                learning_rate=LEARNING_RATE,
                no_cuda=True,
            ),
            callbacks=[clock := _Clock(wait_for_turn)],
        )
        trainer.train()
    # The last one holds the saving of the final model as well.
    first, *seconds, _ = clock.spans
    return {"seconds": seconds, "first": first, "peak_mib": peak_mib()}


class _Clock(TrainingCallback):
    """Waits before each epoch and times it."""

    def __init__(self, wait: Callable[[], None]):
        self.spans: list[float] = []
        self._begun: float | None = None
        self._wait = wait

    def on_epoch_begin(self, training_config: Any, **_: Any) -> None:
        self.on_train_end(training_config)
        self._wait()
        self._begun = time.perf_counter()

    def on_train_end(self, training_config: Any, **_: Any) -> None:
        if self._begun is not None:
            self.spans.append(time.perf_counter() - self._begun)


def _images(workload: Workload) -> torch.Tensor:
    """Grey levels, [N, 784]."""
    return torch.from_numpy(digits(workload).astype(np.float32) / 255)
