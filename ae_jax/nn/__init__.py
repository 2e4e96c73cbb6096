"""The exchangeable parts of a model: one line registers one."""

from ae_jax.core.registry import Registry
from ae_jax.nn.activations import ACTIVATIONS
from ae_jax.nn.count_heads import (
    MultinomialHead,
    NegativeBinomialHead,
    PoissonHead,
    TopicMixtureHead,
)
from ae_jax.nn.decoders import ConvDecoder, MLPDecoder, SoftmaxDecoder
from ae_jax.nn.encoders import ConvEncoder, MLPEncoder
from ae_jax.nn.flows import CouplingFlowLatent, FullGaussianLatent, PlanarFlowLatent
from ae_jax.nn.gated import GatedDecoder, GatedEncoder
from ae_jax.nn.grey_heads import (
    BetaHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
)
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
)
from ae_jax.nn.priors import (
    MixturePrior,
    NetworkPrior,
    NonePrior,
    NormalPrior,
    StandardNormalPrior,
    VampPrior,
)
from ae_jax.nn.simplex import (
    DirichletPrior,
    LogisticNormalLatent,
    LogisticNormalPrior,
    OneHotLatent,
    OneHotPrior,
)
from ae_jax.nn.sparse_latents import BatchTopKLatent, JumpReluLatent, TopKLatent

ENCODERS = Registry("encoder", {"mlp": MLPEncoder, "conv": ConvEncoder, "gated": GatedEncoder})
DECODERS = Registry(
    "decoder",
    {"mlp": MLPDecoder, "conv": ConvDecoder, "gated": GatedDecoder, "softmax": SoftmaxDecoder},
)
LATENTS = Registry(
    "latent",
    {
        "batch_top_k": BatchTopKLatent,
        "coupling_flow": CouplingFlowLatent,
        "deterministic": DeterministicLatent,
        "full_gaussian": FullGaussianLatent,
        "gaussian": GaussianLatent,
        "jump_relu": JumpReluLatent,
        "logistic_normal": LogisticNormalLatent,
        "one_hot": OneHotLatent,
        "planar_flow": PlanarFlowLatent,
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
        "beta": BetaHead,
        "categorical": CategoricalHead,
        "continuous_bernoulli": ContinuousBernoulliHead,
        "discretised_logistic": DiscretisedLogisticHead,
        "gaussian": GaussianHead,
        "gaussian_fixed": FixedGaussianHead,
        "gaussian_global": GlobalGaussianHead,
        "gaussian_sigmoid": SigmoidGaussianHead,
        "multinomial": MultinomialHead,
        "negative_binomial": NegativeBinomialHead,
        "poisson": PoissonHead,
        "topic_mixture": TopicMixtureHead,
    },
)
PRIORS = Registry(
    "prior",
    {
        "dirichlet": DirichletPrior,
        "logistic_normal": LogisticNormalPrior,
        "ladder": LadderPrior,
        "mixture": MixturePrior,
        "network": NetworkPrior,
        "none": NonePrior,
        "normal": NormalPrior,
        "one_hot": OneHotPrior,
        "standard_normal": StandardNormalPrior,
        "vamp": VampPrior,
    },
)

__all__ = ["ACTIVATIONS", "DECODERS", "ENCODERS", "HEADS", "INITIALISERS", "LATENTS", "PRIORS"]
