"""What every registered part must do, tested the moment that it is registered.

Most cases train a small model on 64 rows, in which one part is taken from its registry and the
rest is plain. What a part means is tested elsewhere, against an oracle; here it has to fit in.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Facts, Split
from ae_jax.data.batches import Order, take_batch
from ae_jax.data.preprocess import PREPROCESSING
from ae_jax.distributions import NoPrior, StandardNormal
from ae_jax.eval import EVALUATORS, EvaluationData
from ae_jax.models import MODELS, BoundModel, Examples
from ae_jax.nn import ACTIVATIONS, DECODERS, ENCODERS, HEADS, INITIALISERS, LATENTS, PRIORS
from ae_jax.nn.initialisers import initialise
from ae_jax.numerics.noise import example_keys, stream_key
from ae_jax.objectives import OBJECTIVES
from ae_jax.train.config import ModelConfig, RunConfig, from_dict, override
from ae_jax.train.optimisers import OPTIMISERS
from ae_jax.train.prepare import prepare_run
from ae_jax.train.step import NO_STEP, evaluate_objective, gradients, make_step
from tests.bound import as_batch

ROWS, DIM, STEPS = 64, 3, 25
ALL_ROWS = Order(np.arange(ROWS, dtype=np.int32), np.ones(ROWS, np.float32))

PLAIN = {
    "model": {"hidden": [8], "latent_dim": DIM},
    "optim": {"name": "adam", "learning_rate": 0.01},
    "train": {"batch_size": ROWS, "epochs": STEPS},
}


def _config(*assignments: str) -> RunConfig:
    # A machine is one layer of weights, and refuses others.
    machine = ("model.hidden=[]",) if "model.name=rbm" in assignments else ()
    return from_dict(override(PLAIN, (*assignments, *machine)))


def _setup(config: RunConfig, dataset: DataSet):
    rows = {"train": dataset.splits["train"].head(ROWS)}
    return prepare_run(config, dataclasses.replace(dataset, splits=rows))


def _batch(setup, key):
    split, statistics = setup.splits["train"], setup.numbers.statistics
    order = jax.tree.map(jnp.asarray, ALL_ROWS)
    return take_batch(split, order, setup.architecture.preprocess, statistics, key)


def _parts(role: str, registry, *more: str) -> list:
    """One case an entry: the assignments that choose it."""
    return [pytest.param((f"{role}={name}", *more), id=f"{role}-{name}") for name in registry]


def _objective_options(name: str) -> tuple[str, ...]:
    """What chooses an objective, and the parts without which it has no meaning."""
    needs = [need for need in OBJECTIVES.get(name).needs if need != "labels"]  # the images have
    return (f"objective.name={name}", *needs)


BY_MONTE_CARLO = ("objective.kl_form=monte_carlo",)
LADDER = ("model.latent=ladder", *BY_MONTE_CARLO)
NO_GRADIENT = ("objective.name=reweighted_wake_sleep",)  # gets through draws of one-hot codes
# What a prior has no meaning without: codes that have none, a condition, an estimate of the KL.
PRIORS_NEED = {
    "ladder": LADDER,
    "logistic_normal": ("model.latent=logistic_normal",),
    "mixture": BY_MONTE_CARLO,
    "network": ("model.condition=label", 'model.into=["encoder", "decoder", "prior"]'),
    "none": ("model.latent=deterministic",),
    "one_hot": ("model.latent=one_hot", *NO_GRADIENT),
    "vamp": BY_MONTE_CARLO,
}
LATENTS_NEED = {
    **dict.fromkeys(("coupling_flow", "ladder", "planar_flow"), BY_MONTE_CARLO),
    "one_hot": NO_GRADIENT,
}
# What a likelihood has no density of otherwise: whole numbers, or what is neither 0 nor 1.
HEADS_NEED = {
    "beta": ("data.preprocess=dequantization",),
    **{name: ("data.preprocess=identity",) for name, head in HEADS.items() if head.support.integer},
}
# On vectors only, and so on counts of words in tests of their own.
OF_VECTORS = ("multinomial", "topic_mixture")
OF_IMAGES = [name for name in HEADS if name not in OF_VECTORS]
MODELS_NEED = {"ladder": LADDER}


def _needing(role: str, registry, needs) -> list:
    """One case an entry, with what it has no meaning without."""
    return [
        pytest.param((f"{role}={name}", *needs.get(name, ())), id=f"{role}-{name}")
        for name in registry
    ]


ON_IMAGES = [
    *[pytest.param(_objective_options(name), id=f"objective.name-{name}") for name in OBJECTIVES],
    *_needing("model.name", MODELS, MODELS_NEED),
    *[
        pytest.param((f"model.encoder={e}", f"model.decoder={d}"), id=f"model-{e}-{d}")
        for e in ENCODERS
        for d in DECODERS
    ],
    *_needing("model.latent", LATENTS, LATENTS_NEED),
    *_needing("model.prior", PRIORS, PRIORS_NEED),
    *_needing("model.head", OF_IMAGES, HEADS_NEED),
    *_parts("model.init", INITIALISERS, "model.init_scale=0.5"),
    *_parts("data.preprocess", PREPROCESSING),
    *_parts("optim.name", OPTIMISERS, "optim.learning_rate=0.01"),
]
UNBOUNDED = [name for name, head in HEADS.items() if head.support.low == -math.inf]
BOUNDED = [name for name in HEADS if name not in UNBOUNDED]
ON_VECTORS = [
    *_parts("model.head", UNBOUNDED),
    *_needing("model.latent", LATENTS, LATENTS_NEED),
    *_parts("model.encoder", [n for n, part in ENCODERS.items() if not part.for_images]),
    *_parts("model.decoder", [n for n, part in DECODERS.items() if not part.for_images]),
]


# What is trained on vectors too, or has other tests here or of its own.
@pytest.mark.slow_cases(
    "model.prior-dirichlet",
    "objective.name-elbo",
    "data.preprocess-dequantization",
    "data.preprocess-dynamic_binarization",
    "model-conv-gated",
    "model-conv-softmax",
    "model-gated-conv",
    "model-gated-gated",
    "model-gated-mlp",
    "model-gated-softmax",
    "model-mlp-gated",
    "model.head-gaussian_sigmoid",
    "model.head-poisson",
    "model.prior-logistic_normal",
    "model.prior-normal",
    "model.prior-one_hot",
    "objective.name-contrastive_divergence",
    "objective.name-sparse_auxk",
    "objective.name-sparse_kl",
    "objective.name-sparse_l0",
    "objective.name-sparse_resampling",
    "optim.name-sgd",
    "model-mlp-conv",
    "model.prior-ladder",
    "model.prior-mixture",
    "model.prior-network",
    "model.prior-vamp",
    *("data.preprocess-fixed_binarization", "data.preprocess-identity"),
    *("data.preprocess-standardization", "data.preprocess-threshold", "data.preprocess-unit_*"),
    *("model.head-beta", "model.head-categorical", "model.head-discretised_logistic"),
    *("model.head-gaussian", "model.head-gaussian_fixed", "model.head-gaussian_global"),
    *("model.head-negative_binomial", "model.init-glorot_*", "model.init-he_*"),
    *("model.init-lecun_normal", "model.init-orthogonal", "model.latent-coupling_flow"),
    *("model.latent-deterministic", "model.latent-full_gaussian", "model.latent-ladder"),
    *("model.latent-logistic_normal", "model.latent-one_hot", "model.latent-planar_flow"),
    *("model.latent-relu", "model.latent-sigmoid", "model.latent-top_k", "model.name-ladder"),
    *("model-conv-conv", "model-conv-mlp", "model-mlp-softmax"),
    *("objective.name-beta_tcvae", "objective.name-completion_elbo", "objective.name-contractive"),
    *("objective.name-denoising", "objective.name-factor_vae", "objective.name-info_vae"),
    *("objective.name-iwae", "objective.name-masked_reconstruction", "objective.name-sparse"),
    *("objective.name-mcem", "objective.name-reweighted_wake_sleep"),
    "objective.name-semi_supervised",
    *("objective.name-sparse_l1", "objective.name-wae_mmd", "objective.name-wake_sleep"),
    *("optim.name-adagrad", "optim.name-adamw", "optim.name-momentum", "optim.name-rmsprop"),
)
@pytest.mark.parametrize("parts", ON_IMAGES)
def test_learns_from_images(parts, image_set):
    _assert_learns(_setup(_config(*parts), image_set))


@pytest.mark.slow_cases(
    "model.decoder-gated",
    "model.decoder-softmax",
    "model.encoder-gated",
    "model.head-gaussian",
    "model.head-gaussian_fixed",
    "model.head-gaussian_global",
    "model.latent-batch_top_k",
    "model.latent-logistic_normal",
    "model.latent-coupling_flow",
    "model.latent-full_gaussian",
    "model.latent-ladder",
    "model.latent-planar_flow",
)
@pytest.mark.parametrize("parts", ON_VECTORS)
def test_learns_from_vectors(parts, vector_set):
    _assert_learns(_setup(_config(*parts), vector_set))


@pytest.mark.parametrize("head", BOUNDED)
def test_heads_refuse_data_outside_their_support(head, vector_set):
    with pytest.raises(
        UserError, match=f"head '{head}' needs .*, but plane (has values|holds other values)"
    ):
        _setup(_config(f"model.head={head}"), vector_set)


traces = 0


@partial(jax.jit, static_argnames="architecture")
def _train_step(state, split, numbers, *, architecture):
    global traces
    traces += 1
    key = stream_key(state.seed, "preprocessing", state.step)
    batch = take_batch(split, ALL_ROWS, architecture.preprocess, numbers.statistics, key)
    return make_step(architecture.model, numbers.objective, numbers.transformation())(state, batch)


def _assert_learns(setup):
    """Finite and falling losses, parameters that all move, and a single trace for all steps."""
    objective, state = setup.numbers.objective, setup.initial_state()
    before, losses = jax.device_get(state.params), []
    for step in range(STEPS):
        state, report = _train_step(
            state, setup.splits["train"], setup.numbers, architecture=setup.architecture
        )
        means = report.totals.means()
        assert int(report.bad_step) == NO_STEP, step
        assert {"loss", objective.headline} <= means.keys()
        assert all(math.isfinite(value) for value in means.values()), step
        losses.append(means["loss"])
        if step == 0:
            first_trace = traces
    assert traces == first_trace, "later steps were traced again"
    assert int(state.step) == STEPS
    assert np.mean(losses[-5:]) < np.mean(losses[:2])
    moved = jax.tree.map(
        lambda a, b: bool(np.isfinite(b).all() & (a != b).any()),
        before,
        jax.device_get(state.params),
    )
    assert jax.tree.all(moved), moved


@pytest.fixture(scope="module", params=list(OBJECTIVES))
def objective_case(request, image_set):
    """A model at its start, a batch, and the terms of an objective as eager and compiled calls."""
    setup = _setup(_config(*_objective_options(request.param)), image_set)
    state, batch = setup.initial_state(), _batch(setup, jax.random.key(0))
    params = state.params

    def terms(params, batch, key):
        variables, objective = {**state.variables, "params": params}, setup.numbers.objective
        model = BoundModel(setup.architecture.model, variables)
        return evaluate_objective(objective, model, batch, key, jnp.asarray(3))

    return setup.numbers.objective, params, batch, terms, jax.jit(terms)


def _values(terms):
    return {"loss": terms.total(), **terms.metrics}


@pytest.mark.slow_cases(
    "denoising",
    "info_vae",
    "sparse_auxk",
    "wae_mmd",
    "beta_tcvae",
    "factor_vae",
    "semi_supervised",
    "wake_sleep",
)
def test_terms_are_finite_and_one_an_example(objective_case):
    _, params, batch, _, compiled = objective_case
    for name, value in _values(compiled(params, batch, jax.random.key(1))).items():
        assert value.shape == (ROWS,)
        assert np.isfinite(value).all(), name


@pytest.mark.slow_cases(
    "reconstruction",
    "sparse_auxk",
    "contrastive_divergence",
    "elbo",
    *("beta_tcvae", "completion_elbo", "contractive", "denoising", "factor_vae", "info_vae"),
    *("iwae", "masked_reconstruction", "mcem", "reweighted_wake_sleep", "semi_supervised"),
    *("sparse", "sparse_kl", "sparse_l1", "wae_mmd", "wake_sleep"),
)
def test_terms_are_the_same_compiled(objective_case):
    _, params, batch, eager, compiled = objective_case
    values = _values(eager(params, batch, jax.random.key(1)))
    for name, value in _values(compiled(params, batch, jax.random.key(1))).items():
        np.testing.assert_allclose(value, values[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow_cases("factor_vae", "semi_supervised", "sparse_auxk")
def test_terms_follow_their_key(objective_case):
    objective, params, batch, _, compiled = objective_case
    first, again, other = (compiled(params, batch, jax.random.key(i)).total() for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    # Codes without noise leave an objective that draws nothing else the same.
    if not any(need.startswith("model.latent=") for need in objective.needs):
        assert (first != other).all()


@pytest.mark.slow_cases("factor_vae", "semi_supervised")
def test_terms_do_not_change_with_examples_that_should_not_matter(objective_case):
    """Those of the first half when the other half is replaced, and masked if it may matter."""
    objective, params, batch, _, compiled = objective_case
    half = ROWS // 2
    weight = 0.0 if objective.whole_batch else 1.0
    batch = {**batch, "mask": batch["mask"].at[half:].set(weight)}
    other = {
        **batch,
        "x": batch["x"].at[half:].set(1 - batch["x"][half:]),
        "id": batch["id"].at[half:].add(1000),
    }
    values, others = (_values(compiled(params, b, jax.random.key(1))) for b in (batch, other))
    for name, value in values.items():
        np.testing.assert_allclose(value[:half], others[name][:half], rtol=1e-5, err_msg=name)
        # A count of the units in use need not change, and one of the whole batch must not.
        if name in ("loss", objective.headline):
            assert (value[half:] != others[name][half:]).any(), name


@pytest.mark.slow_cases(
    "completion_elbo",
    "contractive",
    "info_vae",
    "iwae",
    "reweighted_wake_sleep",
    "semi_supervised",
    "sparse",
    "wae_mmd",
    "wake_sleep",
    "beta_tcvae",
    "denoising",
    "factor_vae",
    "sparse_kl",
    "sparse_auxk",
)
def test_gradients_of_an_objective_are_finite_and_reach_every_parameter(objective_case):
    objective, params, batch, _, compiled = objective_case

    def losses_of(params):
        losses = compiled(params, batch, jax.random.key(1)).losses()
        return {group: loss.mean() for group, loss in losses.items()}, None

    _, found, _ = gradients(losses_of, params, objective.groups)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all(), path
        assert (leaf != 0).any(), path


def _model_cases():
    """Every model, and every part of one; what is plain in several ways comes once."""
    plain = ModelConfig(hidden=(4,), latent_dim=DIM, head="bernoulli")
    own = {"ladder": {"latent": "ladder"}, "rbm": {"hidden": ()}}
    choices = [
        *({"name": name} | own.get(name, {}) for name in MODELS),
        *({"encoder": e, "decoder": d} for e in ENCODERS for d in DECODERS),
        *({"latent": name} for name in LATENTS),
        *({"head": name} for name in OF_IMAGES),
    ]
    cases = {
        dataclasses.replace(plain, **choice): "-".join(v for v in choice.values() if v)
        for choice in choices
    }
    return [pytest.param(config, id=name) for config, name in cases.items()]


@pytest.mark.slow_cases(
    "categorical",
    "continuous_bernoulli",
    "conv-conv",
    "conv-gated",
    "conv-mlp",
    "conv-softmax",
    "coupling_flow",
    "discretised_logistic",
    "full_gaussian",
    "gated-conv",
    "gated-gated",
    "gated-mlp",
    "mlp-conv",
    "mlp-softmax",
    "gated-softmax",
    "ladder",
    "planar_flow",
    "rbm",
    "batch_top_k",
    "bernoulli",
    "ladder-ladder",
    "poisson",
    "beta",
    "negative_binomial",
)
@pytest.mark.parametrize("config", _model_cases())
def test_models_keep_shapes_and_examples_apart(config):
    shape = (9, 7, 2)
    module = MODELS.get(config.name)(config, Examples(shape))
    x = np.random.default_rng(0).random((5, *shape), np.float32)
    if HEADS.get(config.head).support.integer:
        x = np.floor(4 * x)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), as_batch(x)))
    model = BoundModel(module, _random_like(variables))
    is_deterministic = jax.eval_shape(model.encode, as_batch(x)).is_deterministic
    prior = NoPrior(DIM) if is_deterministic else StandardNormal(DIM)
    if getattr(LATENTS.get(config.latent), "default_prior", "") in ("none", "standard_normal"):
        assert model.prior(as_batch(x)) == prior

    @jax.jit
    def run(x):
        batch = as_batch(x)
        posterior, keys = model.encode(batch), example_keys(jax.random.key(2), batch["id"])
        z = posterior.sample(keys, 2)
        likelihood = model.decode(z, batch)
        (drawn,) = likelihood.sample(keys, 1)
        return posterior.mean(), z, likelihood.mean(), likelihood.log_prob(x), drawn

    outputs = run(x)
    expected = [(5, DIM), (2, 5, DIM), (2, 5, *shape), (2, 5), (2, 5, *shape)]
    assert [out.shape for out in outputs] == expected
    assert all(out.dtype == jnp.float32 and np.isfinite(out).all() for out in outputs)
    changed = run(np.concatenate([x.max() - x[:1], x[1:]]))
    for axis, a, b in zip((0, 1, 1, 1), outputs, changed, strict=False):
        a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
        np.testing.assert_allclose(a[1:], b[1:], rtol=1e-5, atol=1e-6)
        # A cluster may stay the same.
        assert (a[0] != b[0]).any() or config.latent == "one_hot"


def _random_like(tree):
    """Variables at random; thresholds are so low that some unit is above its own."""
    rng = np.random.default_rng(1)

    def drawn(path, leaf):
        centre = -3.0 if "log_threshold" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.normal(centre, 0.3, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(drawn, tree)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_are_elementwise_and_finite_far_out(name):
    activation = ACTIVATIONS.get(name)
    x = jnp.asarray([-200.0, -3.0, -0.5, 0.5, 3.0, 200.0])
    values, jacobian = jax.jit(lambda x: (activation(x), jax.jacobian(activation)(x)))(x)
    assert values.shape == x.shape
    assert values.dtype == x.dtype
    assert np.isfinite(values).all()
    assert np.isfinite(jacobian).all()
    np.testing.assert_array_equal(jacobian, np.diag(np.diag(jacobian)))
    assert np.diag(jacobian)[3:5].all(), "no gradient where units work"
    np.testing.assert_allclose(values, activation(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(INITIALISERS))
def test_initialisers_depend_on_their_key_and_scale_alone(name):
    tree = {"d": {"kernel": jnp.zeros((3, 3, 2, 4)), "bias": jnp.ones(4)}}
    draw = jax.jit(partial(initialise, scheme=name))
    params, other, doubled = (
        draw(tree, jax.random.key(seed), scale=scale)
        for seed, scale in [(0, 0.5), (1, 0.5), (0, 1.0)]
    )
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), tree
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-5), params, doubled)
    kernel = np.asarray(params["d"]["kernel"])
    assert np.isfinite(kernel).all()
    assert np.unique(kernel).size == kernel.size
    assert (kernel != other["d"]["kernel"]).all()


@pytest.mark.slow_cases("dequantization", "dynamic_binarization", "standardization")
@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_preprocessing_keeps_shapes_and_is_the_same_compiled(name, image_set):
    setup = _setup(_config(f"data.preprocess={name}"), image_set)
    preprocess = PREPROCESSING.get(name)
    raw, ids = setup.splits["train"].x, jnp.arange(ROWS)
    arguments = (raw, setup.numbers.statistics, jax.random.key(0), ids)
    x = jax.jit(preprocess)(*arguments)
    assert x.shape == raw.shape
    assert x.dtype == jnp.float32
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x, preprocess(*arguments), rtol=1e-5, atol=1e-6)


OF_COUNTS = ("document_completion", "perplexity_bound", "topics")


@pytest.fixture(scope="module")
def count_set():
    """Documents of which each uses one of two halves of a vocabulary."""
    rng = np.random.default_rng(0)
    means = np.repeat(rng.permuted(np.tile([0.2, 2.0], (ROWS, 1)), axis=1), 15, axis=1)
    counts = rng.poisson(means).astype(np.uint8)
    return DataSet("bags", {"train": Split(counts), "test": Split(counts)}, facts=Facts("counts"))


def _setup_for(evaluator, seed, request):
    """A model at its start, of what the evaluator can be asked about."""
    if evaluator in OF_COUNTS:
        config = _config(f"train.seed={seed}", "model.decoder_hidden=[]")
        return _setup(config, request.getfixturevalue("count_set"))
    plane = "model.latent_dim=2"  # which all of the others take
    return _setup(_config(plane, f"train.seed={seed}"), request.getfixturevalue("image_set"))


def _evaluation_data(setup):
    """Training examples; what they are made from are labels, and which are odd."""
    split = setup.dataset.splits["train"]
    labels = np.zeros(len(split), int) if split.y is None else split.y
    factors = np.stack([labels, np.arange(len(split)) % 2], axis=1)
    numbers, architecture = setup.numbers, setup.architecture
    return EvaluationData(
        setup.splits["train"], numbers.statistics, architecture.preprocess, 32, factors
    )


@pytest.mark.slow_cases(
    "active_units",
    "aggregate_posterior",
    "log_likelihood",
    "perplexity_bound",
    "disentanglement",
    "document_completion",
    "ais",
    "hmc_likelihood",
    "plane_quadrature",
)
@pytest.mark.parametrize("name", list(EVALUATORS))
def test_evaluators_answer_finite_numbers_that_follow_the_parameters(name, request):
    setup, other_setup = (_setup_for(name, seed, request) for seed in (0, 1))
    data = _evaluation_data(setup)
    evaluate = partial(EVALUATORS.get(name), setup.architecture.model)
    first, again, other = (
        evaluate(drawn.initial_state().variables, data, jax.random.key(0))
        for drawn in (setup, setup, other_setup)
    )
    assert first
    assert all(isinstance(value, float) and math.isfinite(value) for value in first.values())
    assert first == again
    assert first.keys() == other.keys()
    assert any(first[metric] != other[metric] for metric in first)  # counts need not


@pytest.mark.slow
def test_metrics_of_evaluators_are_named_apart(request):
    names = []
    for name, evaluate in EVALUATORS.items():
        setup = _setup_for(name, 0, request)
        data = _evaluation_data(setup)
        variables = setup.initial_state().variables
        names += evaluate(setup.architecture.model, variables, data, jax.random.key(0))
    assert len(set(names)) == len(names)
