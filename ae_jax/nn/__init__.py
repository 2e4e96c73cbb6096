"""The exchangeable parts of a model: one line registers one."""

from ae_jax.core.registry import Registry
from ae_jax.nn.activations import ACTIVATIONS
from ae_jax.nn.decoders import ConvDecoder, MLPDecoder
from ae_jax.nn.encoders import ConvEncoder, MLPEncoder
from ae_jax.nn.heads import (
    BernoulliHead,
    FixedGaussianHead,
    GaussianHead,
    GlobalGaussianHead,
    SigmoidGaussianHead,
)
from ae_jax.nn.initialisers import INITIALISERS
from ae_jax.nn.ladder import LadderLatent, LadderPrior
from ae_jax.nn.latents import (
    DeterministicLatent,
    GaussianLatent,
    ReluLatent,
    SigmoidLatent,
    TopKLatent,
)
from ae_jax.nn.priors import (
    MixturePrior,
    NetworkPrior,
    NonePrior,
    NormalPrior,
    StandardNormalPrior,
    VampPrior,
)

ENCODERS = Registry("encoder", {"mlp": MLPEncoder, "conv": ConvEncoder})
DECODERS = Registry("decoder", {"mlp": MLPDecoder, "conv": ConvDecoder})
LATENTS = Registry(
    "latent",
    {
        "deterministic": DeterministicLatent,
        "gaussian": GaussianLatent,
        "ladder": LadderLatent,
        "relu": ReluLatent,
        "sigmoid": SigmoidLatent,
        "top_k": TopKLatent,
    },
)
HEADS = Registry(
    "head",
    {
        "bernoulli": BernoulliHead,
        "gaussian": GaussianHead,
        "gaussian_fixed": FixedGaussianHead,
        "gaussian_global": GlobalGaussianHead,
        "gaussian_sigmoid": SigmoidGaussianHead,
    },
)
PRIORS = Registry(
    "prior",
    {
        "ladder": LadderPrior,
        "mixture": MixturePrior,
        "network": NetworkPrior,
        "none": NonePrior,
        "normal": NormalPrior,
        "standard_normal": StandardNormalPrior,
        "vamp": VampPrior,
    },
)

__all__ = ["ACTIVATIONS", "DECODERS", "ENCODERS", "HEADS", "INITIALISERS", "LATENTS", "PRIORS"]
