"""Where every method of the library stands among those of unsupervised learning.

The tree is that of the lecture "Unsupervised Deep Learning (I): autoencoders" (P. Martínez Olmos,
adapted by A. Guerrero López), with the formalism of the lecture "Autoencoders" for the codecs. A
registered name that stands nowhere is an error, and so is one that is placed without being
registered: `markdown` raises for both. A branch of the tree where nothing stands says why.
"""

import dataclasses

from ae_jax.codecs import CODECS
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import PATTERNS
from ae_jax.models import MODELS
from ae_jax.nn import DECODERS, ENCODERS, HEADS, LATENTS, PRIORS
from ae_jax.objectives import OBJECTIVES
from ae_jax.report.pages import markdown_table

REGISTRIES = {
    "objective": OBJECTIVES,
    "encoder": ENCODERS,
    "latent": LATENTS,
    "prior": PRIORS,
    "decoder": DECODERS,
    "head": HEADS,
    "codec": CODECS,
    "model": MODELS,
    "corruption": CORRUPTIONS,
    "pattern of missing entries": PATTERNS,
}


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch of the tree.

    kind      of model, the first cut
    entries   {kind: names} of the registered entries that stand here
    left_out  what else the branch has, and why the library has it not
    also      what stands here without being an entry of a registry
    """

    kind: str
    place: str
    what: str
    entries: dict[str, tuple[str, ...]]
    left_out: str = ""
    also: str = ""


NON_PROBABILISTIC = "Non-probabilistic models"
TRACTABLE = "Probabilistic models with a density that can be evaluated"
NON_TRACTABLE = "Probabilistic models with a density that is bounded or estimated"
IMPLICIT = "Probabilistic models without a density"

BRANCHES = (
    Branch(
        NON_PROBABILISTIC,
        "linear decoding, dictionary learning",
        "X = Z Phi; each codec is a constraint on Z or Phi",
        {"codec": ("pca", "kmeans", "nmf", "ica", "sparse_coding")},
        "K-SVD and convolutional dictionaries: alternating minimisation as here, other update",
    ),
    Branch(
        NON_PROBABILISTIC,
        "autoencoders",
        "f and g are networks; reconstruction loss; any latent without noise, no prior",
        {
            "objective": ("reconstruction",),
            "latent": ("deterministic", "relu", "sigmoid"),
            "prior": ("none",),
            "model": ("autoencoder",),
            "encoder": ("mlp", "conv", "gated"),
            "decoder": ("mlp", "conv", "gated"),
        },
        "vector quantisation: a code of whole numbers needs an estimator and a prior of its own",
    ),
    Branch(
        NON_PROBABILISTIC,
        "sparse autoencoders",
        "a penalty on z, the highest activations, or those above a threshold; dead units revived",
        {
            "objective": (
                "sparse",
                "sparse_auxk",
                "sparse_kl",
                "sparse_l0",
                "sparse_l1",
                "sparse_resampling",
            ),
            "latent": ("top_k", "batch_top_k", "jump_relu"),
        },
    ),
    Branch(
        NON_PROBABILISTIC,
        "denoising, contractive, missing data",
        "reconstruction of clean or whole x from a corrupted or incomplete one; a penalty on df/dx",
        {
            "objective": ("denoising", "contractive", "masked_reconstruction"),
            "corruption": ("gaussian", "masking", "salt_and_pepper"),
            "pattern of missing entries": ("fixed_quadrants", "none", "pixels", "quadrants"),
        },
        "masked autoencoders of image patches: their encoders are transformers",
    ),
    Branch(
        NON_PROBABILISTIC,
        "stacked autoencoders",
        "a layer at a time, then the whole",
        {},
        also="`ae_jax.fit_layerwise`, of any objective or of Boltzmann machines",
    ),
    Branch(
        TRACTABLE,
        "linear Gaussian models and mixtures",
        "the evidence has a closed form, and is what is fitted",
        {"codec": ("probabilistic_pca", "spherical_mixture")},
        "factor analysis and full mixtures: scikit-learn has both",
    ),
    Branch(
        TRACTABLE,
        "fully observed belief nets, NADE, PixelRNN",
        "densities without a code",
        {},
        "all of it: no encoder, no decoder, no code",
    ),
    Branch(
        NON_TRACTABLE,
        "Boltzmann machines",
        "an undirected model of two layers, trained by contrastive divergence",
        {"model": ("rbm",), "objective": ("contrastive_divergence",)},
        "deep Boltzmann machines: their posterior is no encoder but an iteration",
    ),
    Branch(
        NON_TRACTABLE,
        "Helmholtz machines",
        "a recognition and a generative network with losses of their own",
        {"objective": ("wake_sleep", "reweighted_wake_sleep", "mcem")},
        "machines of several binary layers: one layer of codes here",
    ),
    Branch(
        NON_TRACTABLE,
        "variational autoencoders, the bound",
        "lower bounds on log p(x), of one sample or several",
        {"objective": ("elbo", "iwae", "completion_elbo")},
    ),
    Branch(
        NON_TRACTABLE,
        "variational autoencoders, codes that stand apart",
        "the KL in parts with weights of their own",
        {"objective": ("beta_tcvae", "factor_vae", "info_vae")},
    ),
    Branch(
        NON_TRACTABLE,
        "variational autoencoders, q(z|x)",
        "families of posteriors",
        {
            "latent": (
                "gaussian",
                "full_gaussian",
                "planar_flow",
                "coupling_flow",
                "logistic_normal",
                "one_hot",
            )
        },
        "autoregressive flows: slow to draw from or slow to score",
    ),
    Branch(
        NON_TRACTABLE,
        "variational autoencoders, p(z)",
        "fixed and learned priors, of vectors, shares of topics and classes",
        {
            "prior": (
                "standard_normal",
                "normal",
                "mixture",
                "vamp",
                "network",
                "dirichlet",
                "logistic_normal",
                "one_hot",
            )
        },
        "diffusion priors: a second model, trained on codes",
    ),
    Branch(
        NON_TRACTABLE,
        "variational autoencoders, p(x|z)",
        "likelihoods of bits, grey levels, reals, counts and words (topic models)",
        {
            "head": (
                "bernoulli",
                "beta",
                "categorical",
                "continuous_bernoulli",
                "discretised_logistic",
                "gaussian",
                "gaussian_fixed",
                "gaussian_global",
                "gaussian_sigmoid",
                "multinomial",
                "negative_binomial",
                "poisson",
                "topic_mixture",
            ),
            "decoder": ("softmax",),
        },
        "autoregressive decoders: they do without the code",
    ),
    Branch(
        NON_TRACTABLE,
        "several layers of codes",
        "p(z2) p(z1|z2) p(x|z1)",
        {"model": ("ladder",), "latent": ("ladder",), "prior": ("ladder",)},
        "very deep hierarchies: two layers here",
    ),
    Branch(
        NON_TRACTABLE,
        "labels, seen in part",
        "a class as a part of the code, or as a condition of all parts",
        {"objective": ("semi_supervised",)},
        "inference of labels by several networks (auxiliary models): one encoder each here",
        also="`model.condition`",
    ),
    Branch(
        IMPLICIT,
        "moment matching",
        "codes match the prior by a discrepancy of samples",
        {"objective": ("wae_mmd",)},
        "moment matching networks without an encoder: no autoencoders",
    ),
    Branch(
        IMPLICIT,
        "generative adversarial networks",
        "a critic of samples x",
        {},
        "all of it: no encoder; adversarial autoencoders, whose critic sees codes, could be added "
        "as an objective with groups, as `factor_vae` is",
    ),
)


def unplaced() -> list[str]:
    """What is registered and stands nowhere, and what stands somewhere and is not registered."""
    placed = {
        f"{kind} {name}"
        for branch in BRANCHES
        for kind, names in branch.entries.items()
        for name in names
    }
    registered = {f"{kind} {name}" for kind, registry in REGISTRIES.items() for name in registry}
    return sorted(placed ^ registered)


def markdown() -> str:
    """A heading and a table for each kind of model, one row a branch.

    Raises ValueError where a registered method has no place.
    """
    if missing := unplaced():
        raise ValueError(f"no place in the taxonomy, or not registered: {', '.join(missing)}")
    kinds = dict.fromkeys(branch.kind for branch in BRANCHES)
    return "\n\n".join(f"## {kind}\n\n{_table(kind)}" for kind in kinds) + "\n"


def _table(kind: str) -> str:
    rows = [
        {
            "place": branch.place,
            "what": branch.what,
            "here": _here(branch),
            "left out, and why": branch.left_out or "–",
        }
        for branch in BRANCHES
        if branch.kind == kind
    ]
    return markdown_table(rows)


def _here(branch: Branch) -> str:
    parts = [_named(kind, names) for kind, names in branch.entries.items()]
    return "; ".join([*parts, *filter(None, [branch.also])]) or "–"


def _named(kind: str, names: tuple[str, ...]) -> str:
    return f"{kind} {', '.join(f'`{name}`' for name in names)}"
