"""What each method is held against: the table of status, with counts from the committed results."""

import dataclasses
from pathlib import Path

from ae_jax.core.files import read_json
from ae_jax.report.pages import markdown_table

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Method:
    """One row.

    oracle    what tests hold it against
    figure    the published figure that it is trained to, or why there is none yet
    results   the committed results that say how far it came, if any
    page      the page of docs/ that shows them, if any
    """

    name: str
    oracle: str
    figure: str
    results: tuple[str, ...] = ()
    page: str = ""


METHODS = (
    Method(
        "VAE: Bernoulli and Gaussian likelihoods, ELBO, MAP",
        "scipy; exact evidence of a linear Gaussian model",
        "Kingma & Welling 2014, figure 2: AEVB to 1e7 samples, wake-sleep to 2e6",
        ("kingma_welling/quick", "kingma_welling/standard", "kingma_welling/frey_face"),
        "experiments/kingma_welling.md",
    ),
    Method(
        "undercomplete autoencoders, SGD, RMSProp, Adam",
        "closed forms, conformance",
        "errors of PCA; below them at sizes of 1 to 64",
        ("bottleneck",),
        "experiments/bottleneck.md",
    ),
    Method(
        "linear autoencoder",
        "scikit-learn",
        "PCA on MNIST and irises; the course of 2-1-2",
        ("linear_is_pca", "linear_or_not", "iris_course"),
        "experiments/linear_is_pca.md",
    ),
    Method(
        "k-means and PCA as probabilistic autoencoders",
        "scikit-learn; expansions in the variance",
        "rates of both limits",
        ("probabilistic_views",),
        "experiments/probabilistic_views.md",
    ),
    Method(
        "ELBO = log p(x) - KL; log p(x) by quadrature",
        "closed forms; exact evidence of a linear Gaussian model",
        "the gap along training, of two latents",
        ("elbo_identity",),
        "experiments/elbo_identity.md",
    ),
    Method(
        "codes of two dimensions",
        "PCA; quantiles of the prior",
        "784-100-2-100-784; Kingma & Welling, figure 4",
        ("code_2d", "manifolds"),
        "experiments/code_2d.md",
    ),
    Method(
        "RBMs, layer by layer, fine-tuned",
        "enumeration; closed forms",
        "Hinton & Salakhutdinov 2006, digits and faces",
        (
            "deep_digits",
            "deep_digits/standard",
            "stacked",
            "deep_faces/quick",
            "deep_faces/standard",
        ),
        "experiments/deep_digits.md",
    ),
    Method(
        "sparse: L1, KL, k highest",
        "closed forms",
        "beside PCA and dense codes",
        ("sparse",),
        "experiments/sparse.md",
    ),
    Method(
        "denoising, missing data",
        "best linear filters",
        "beside those filters",
        ("denoising",),
        "experiments/denoising.md",
    ),
    Method(
        "anomaly scores: error, bound, log p(x), code",
        "scikit-learn; closed forms; DeLong",
        "Farina et al. 2018, figure 3, beside PCA and mass",
        ("jets", "jets/standard", "held_out_digit"),
        "experiments/jets.md",
    ),
    Method(
        "PCA, probabilistic PCA, k-means, spherical mixture, NMF, ICA, sparse coding",
        "scikit-learn; float64 at any origin and unit",
        "one form, on digits and natural patches",
        ("dictionaries", "natural_patches"),
        "experiments/dictionaries.md",
    ),
    Method(
        "topic models: ProdLDA, NVLDA, NVDM",
        "NumPy; gensim; topics that documents were drawn from",
        "NPMI on 20 Newsgroups, of a plain ProdLDA and of the authors' own topics",
        ("topics", "topics/standard"),
        "experiments/topics.md",
    ),
    Method(
        "distributions: full, mixture, flows, counts, levels, grey, simplex",
        "scipy, quadrature, jacfwd, Monte Carlo",
        "not trained to one yet",
    ),
    Method(
        "learned priors: normal, mixture, VampPrior, network, Dirichlet",
        "exact evidence of a linear Gaussian model",
        "order of priors on binarised MNIST; pythae's rows: not trained to yet",
        ("priors",),
        "experiments/priors.md",
    ),
    Method(
        "conditional VAE",
        "labels permuted; exact density of a part of a linear Gaussian model",
        "quadrants filled in, Pyro's tutorial: its baseline, and a tighter bound",
        ("cvae", "cvae/standard"),
        "experiments/cvae.md",
    ),
    Method(
        "IWAE (plain, DReG, STL)",
        "exact gradient of a linear Gaussian model",
        "Burda et al. 2016, table 1: the first 364 of 3,280 epochs",
        ("iwae/quick", "iwae/standard", "iwae/kl"),
        "experiments/iwae.md",
    ),
    Method(
        "linear VAE",
        "probabilistic PCA in closed form",
        "Lucas et al. 2019: noise, log p(x), dimensions alive on MNIST",
        ("linear_vae", "linear_vae/standard"),
        page="experiments/linear_vae.md",
    ),
    Method(
        "log p(x): importance sampling, annealing, posterior draws by HMC",
        "exact evidence of a linear Gaussian model",
        "an estimate has none",
    ),
    Method(
        "wake-sleep, reweighted wake-sleep, Monte Carlo EM",
        "exact gradients of a linear Gaussian model",
        "beside AEVB in figure 2, first row; figure 3 to 1e6 samples",
        ("marginal_likelihood",),
        "experiments/marginal_likelihood.md",
    ),
    Method(
        "beta-VAE, beta-TCVAE, FactorVAE; MIG, SAP, DCI, FactorVAE score",
        "closed forms, NumPy estimators; measures at their extremes",
        "ahead of the VAE by MIG (beta-TCVAE) and FactorVAE score",
        ("disentangle",),
        page="experiments/disentangle.md",
    ),
    Method("InfoVAE, WAE-MMD", "closed forms, NumPy estimators", "not trained to one yet"),
    Method(
        "ladder of two stochastic layers, semi-supervised M2",
        "exact evidence; enumeration by NumPy",
        "not trained to one yet",
    ),
    Method("contractive", "closed form", "not trained to one yet"),
    Method(
        "jit, sharded, shard_map, pmap, stacked grids, several processes",
        "equal updates with plain SGD; killed and resumed to the bit",
        "CPUs only so far",
    ),
)


def markdown() -> str:
    """The table, one row a method."""
    rows = []
    for method in METHODS:
        claims = [c for name in method.results for c in _claims(name)]
        held = f"{sum(c['holds'] for c in claims)} of {len(claims)}" if claims else "–"
        name = f"[{method.name}](docs/{method.page})" if method.page else method.name
        rows.append(
            {
                "method": name,
                "tested against": method.oracle,
                "published figure": method.figure,
                "claims that hold": held,
            }
        )
    return markdown_table(rows, padded_to=3) + "\n"  # of README, which is to be short


def _claims(name: str) -> list[dict]:
    return read_json(RESULTS / name / "results.json")["claims"]
