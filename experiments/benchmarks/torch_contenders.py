"""The contenders in PyTorch: plain, compiled, and pythae's trainer."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.benchmarks.workload import (
    INIT_SCALE,
    LEARNING_RATE,
    PIXELS,
    Workload,
    digits,
    peak_mib,
    timed_epochs,
    wait_for_turn,
)


class Network(nn.Module):
    """The network of the workload; returns its negative bound, mean over the batch."""

    def __init__(self, workload: Workload):
        super().__init__()
        self.hidden = nn.Linear(PIXELS, workload.hidden)
        self.mean = nn.Linear(workload.hidden, workload.latent_dim)
        self.log_variance = nn.Linear(workload.hidden, workload.latent_dim)
        self.decoder = nn.Linear(workload.latent_dim, workload.hidden)
        self.pixels = nn.Linear(workload.hidden, PIXELS)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=INIT_SCALE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.tanh(self.hidden(x))
        mean, log_variance = self.mean(features), self.log_variance(features)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.pixels(torch.tanh(self.decoder(z)))
        error = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        return (error + kl) / len(x)


def eager(workload: Workload, compiled: bool = False) -> dict:
    """Plain PyTorch: data in memory as bytes, one optimiser step a batch; or through its compiler.

    The MAP term is the optimiser's weight decay of 1/N, which costs least there.
    """
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pixels = torch.from_numpy(digits(workload).copy()).to(device)
    network = Network(workload).to(device)
    loss_of = torch.compile(network) if compiled else network
    optimiser = torch.optim.Adagrad(
        network.parameters(), lr=LEARNING_RATE, weight_decay=1 / len(pixels)
    )

    def run(index: int) -> None:
        del index
        order = torch.randperm(len(pixels), device=device)
        for first in range(0, len(pixels) - workload.batch_size + 1, workload.batch_size):
            x = pixels[order[first : first + workload.batch_size]].float() / 255
            optimiser.zero_grad(set_to_none=True)
            loss_of(x).backward()
            optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return timed_epochs(run, workload)


def compiled(workload: Workload) -> dict:
    """PyTorch with `torch.compile` on the network and its loss."""
    return eager(workload, compiled=True)


def pythae(workload: Workload) -> dict:
    """pythae's trainer on the same network, with its own loop and data loader."""
    from pythae.data.datasets import BaseDataset
    from pythae.models.base import BaseAE, BaseAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Wrapped(BaseAE):
        def __init__(self):
            super().__init__(BaseAEConfig(input_dim=(PIXELS,), latent_dim=workload.latent_dim))
            self.network = Network(workload)

        def forward(self, inputs, **_):
            return ModelOutput(loss=self.network(inputs["data"]))

    class Clock(TrainingCallback):
        def __init__(self):
            self.spans: list[float] = []
            self.begun: float | None = None

        def on_epoch_begin(self, training_config, **_):
            self.on_train_end(training_config)
            wait_for_turn()
            self.begun = time.perf_counter()

        def on_train_end(self, training_config, **_):
            if self.begun is not None:
                self.spans.append(time.perf_counter() - self.begun)

    x = torch.from_numpy(digits(workload).astype(np.float32) / 255)
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            Wrapped(),
            train_dataset=BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=str(Path(folder)),
                per_device_train_batch_size=workload.batch_size,
                num_epochs=workload.epochs + 2,
                optimizer_cls="Adagrad",
                optimizer_params={"weight_decay": 1 / len(x)},
                learning_rate=LEARNING_RATE,
                no_cuda=not torch.cuda.is_available(),
            ),
            callbacks=[clock := Clock()],
        )
        trainer.train()
    # The last one holds the saving of the final model as well.
    first, *seconds, _ = clock.spans
    return {"seconds": seconds, "first": first, "peak_mib": peak_mib()}
