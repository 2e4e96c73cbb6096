"""The contract of a model: no part that is given goes unused, and what is missing is refused."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from scipy import stats

from ae_jax.api import configure, fit
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.distributions import DiagonalGaussian, StandardNormal, draw_each, kl
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.train.grid import Member, shared_program, train_grid
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.program import AXIS, data_mesh, on_parts

PARTS = Path(__file__).with_name("users_parts.py")
DIM, CLASSES = 5, 3


def part(name: str) -> str:
    return f"{PARTS}:{name}"


@pytest.fixture(scope="module")
def labelled():
    """Vectors about a centre that the label decides: without labels the classes are a blur."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=3.0, size=(CLASSES, DIM))

    def split(count: int) -> Split:
        y = (np.arange(count) % CLASSES).astype(np.int32)
        return Split((centres[y] + 0.5 * rng.normal(size=(count, DIM))).astype(np.float32), y)

    return DataSet("labelled", {"train": split(96), "test": split(30)})


SMALL = {"hidden": (), "latent_dim": 2, "batch_size": 32, "epochs": 2, "learning_rate": 0.01}


def test_the_kl_is_to_the_prior_that_is_given():
    q = DiagonalGaussian(jnp.full((1, 1), 1.0), jnp.full((1, 1), 0.5))
    for loc, scale in ((0.0, 1.0), (0.0, 3.0), (-2.0, 6.9)):
        p = DiagonalGaussian(jnp.full((1, 1), loc), jnp.full((1, 1), np.log(scale)))
        z = np.linspace(-30, 30, 200_001)
        density = stats.norm.pdf(z, 1.0, np.exp(0.5))
        log_q = stats.norm.logpdf(z, 1.0, np.exp(0.5))
        right = np.trapezoid(density * (log_q - stats.norm.logpdf(z, loc, scale)), z)
        assert float(kl(q, p)[0]) == pytest.approx(right, rel=1e-4)


def test_the_bound_is_under_the_prior_of_the_model(labelled):
    options = {**SMALL, "model__head": "gaussian_fixed"}
    prior = {"model__prior": "normal", "model__prior__scale": 6.9, "model__prior__learned": False}
    near, far = (prepare_run(configure(None, options | more), labelled) for more in ({}, prior))
    state = far.initial_state()
    posterior = far.architecture.model.apply(state.variables, setup_batch(far), method="encode")
    own = far.own_metrics(state.variables, 0, "test")
    wide = DiagonalGaussian(jnp.zeros((1, 2)), jnp.full((1, 2), np.log(6.9)))
    assert own["kl"] == pytest.approx(float(kl(posterior, wide).mean()), rel=1e-5)
    plain = near.own_metrics(near.initial_state().variables, 0, "test")
    assert plain["kl"] == pytest.approx(float(kl(posterior, StandardNormal(2)).mean()), rel=1e-5)
    assert abs(own["kl"] - plain["kl"]) > 0.5


def setup_batch(setup):
    split = setup.dataset.splits["test"]
    ids = jnp.arange(len(split)) + split.first_id
    return {"x": jnp.asarray(split.x), "id": ids, "mask": jnp.ones(len(split)), "y": split.y}


def test_a_prior_with_parameters_is_learned_scored_and_drawn_from(labelled):
    """A linear Gaussian model under a prior of its own has a log p(x) in closed form."""
    model = fit(
        labelled,
        **SMALL | {"epochs": 300, "learning_rate": 0.05, "eval__every": 300},
        model__head="gaussian_fixed",
        model__prior="normal",
    )
    prior = {k: np.asarray(v, np.float64)[0] for k, v in model.params["prior_part"].items()}
    assert np.abs(prior["loc"]).max() > 0.1, "the prior has not moved"
    head = model.params["head"]["mean"]
    kernel, bias = (np.asarray(head[k], np.float64) for k in ("kernel", "bias"))
    covariance = kernel.T @ np.diag(np.exp(2 * prior["log_scale"])) @ kernel + np.eye(DIM)
    x = labelled.splits["test"].x.astype(np.float64)
    exact = stats.multivariate_normal.logpdf(x, prior["loc"] @ kernel + bias, covariance).mean()
    found = model.evaluate("test", [ImportanceSampledLikelihood(2000)])
    assert found["log_likelihood"] == pytest.approx(exact, abs=0.05)
    assert found["elbo"] < exact
    codes = model.draw(4000)
    error = 4 * np.exp(prior["log_scale"]) / np.sqrt(len(codes))
    assert (np.abs(codes.mean(axis=0) - prior["loc"]) < error).all()


@pytest.mark.parametrize("decoder", ["SoftmaxDecoder", "LabelDecoder"])
def test_codes_are_padded_only_where_every_part_declares_it(decoder, labelled):
    more = {"model__condition": "label"} if decoder == "LabelDecoder" else {}
    setups = [
        prepare_run(
            configure(None, SMALL | {"latent_dim": size, "model__decoder": part(decoder)} | more),
            labelled,
        )
        for size in (2, 4)
    ]
    assert shared_program(setups[0]) != shared_program(setups[1])


@pytest.mark.slow
def test_the_conditional_decoder_of_the_library_is_padded_rightly(labelled, tmp_path):
    members = [
        Member(
            f"z{size}",
            configure(
                None,
                SMALL
                | {
                    "latent_dim": size,
                    "hidden": (6,),
                    "model__condition": "label",
                    "model__prior": "mixture",
                    "objective__kl_form": "monte_carlo",
                },
            ),
        )
        for size in (2, 4)
    ]
    setups = [prepare_run(member.config, labelled) for member in members]
    assert shared_program(setups[0]) == shared_program(setups[1])
    together = train_grid(members, labelled, tmp_path, stack="always")
    for member, setup in zip(members, setups, strict=True):
        alone = train(setup).state.params
        chex.assert_trees_all_close(
            jax.device_get(together[member.name].state.params),
            jax.device_get(alone),
            rtol=2e-5,
            atol=2e-6,
        )


@pytest.fixture(scope="module")
def conditional(labelled):
    return fit(
        labelled,
        **SMALL | {"epochs": 40, "learning_rate": 0.05},
        model__head="gaussian_fixed",
        model__condition="label",
    )


def test_labels_reach_codes_reconstructions_bounds_and_samples(labelled, conditional):
    test = labelled.splits["test"]
    other = (test.y + 1) % CLASSES
    assert not np.allclose(conditional.encode(test.x, test.y), conditional.encode(test.x, other))
    right, wrong = (conditional.reconstruct(test.x, y) for y in (test.y, other))
    assert np.square(right - test.x).mean() < 0.5 * np.square(wrong - test.x).mean()
    assert np.allclose(conditional.reconstruct(test), right), "a split brings its own labels"
    centres = np.stack([test.x[test.y == label].mean(axis=0) for label in range(CLASSES)])
    for label in range(CLASSES):
        mean = conditional.sample(200, y=label).mean(axis=0)
        assert np.square(centres - mean).sum(axis=1).argmin() == label
    blind = fit(
        labelled, **SMALL | {"epochs": 40, "learning_rate": 0.05}, model__head="gaussian_fixed"
    )
    told = conditional.evaluate("test", ["log_likelihood"])
    assert told["log_likelihood"] > blind.evaluate("test", ["log_likelihood"])["log_likelihood"]


def test_a_condition_is_never_made_up(labelled, conditional):
    x = labelled.splits["test"].x
    for call in (
        lambda: conditional.encode(x),
        lambda: conditional.sample(3),
        lambda: conditional.decode(np.zeros((3, 2))),
    ):
        with pytest.raises(UserError, match="conditioned on the label: give labels as y"):
            call()
    with pytest.raises(UserError, match="labels lie between 0 and 2"):
        conditional.sample(3, y=7)
    without = DataSet("bare", {"train": Split(x), "test": Split(x)})
    with pytest.raises(UserError, match="model.condition=label needs labels"):
        fit(without, **SMALL | {"batch_size": 8}, model__condition="label")
    blind = fit(labelled, **SMALL)
    with pytest.raises(UserError, match="not conditioned on the label"):
        blind.sample(3, y=1)


@pytest.mark.slow
def test_what_an_evaluator_says_takes_no_metrics_place(labelled):
    model = fit(labelled, **SMALL, objective__name=part("Halved"))
    found = model.evaluate("test", ["bound"])
    assert found["elbo"] == pytest.approx(0.5 * found["bound/elbo"], rel=1e-5)


def test_draws_belong_to_examples_wherever_they_are_taken():
    mesh = data_mesh()
    keys = jax.random.split(jax.random.key(0), 2 * mesh.size)
    prior, parts = StandardNormal(3), PartitionSpec(AXIS)
    spread = on_parts(lambda keys: prior.sample(keys, 1)[0], mesh, (parts,), parts)(keys)
    assert np.array_equal(spread, prior.sample(keys, 1)[0])
    assert len(np.unique(np.asarray(spread)[:, 0])) == len(keys)
    later = draw_each(lambda key: jax.random.normal(key, (3,)), keys, 2, first=3)
    whole = draw_each(lambda key: jax.random.normal(key, (3,)), keys, 5)
    assert np.array_equal(later, whole[3:])


def test_what_an_objective_needs_is_asked_for_before_any_work(labelled):
    with pytest.raises(UserError, match="NeedsMachine needs model.name=rbm, and model.name is"):
        fit(labelled, **SMALL, objective__name=part("NeedsMachine"))


@pytest.mark.slow
def test_deterministic_codes_have_no_prior_unless_one_is_fitted(labelled):
    model = fit(labelled, **SMALL, model__latent="deterministic", objective__name="reconstruction")
    with pytest.raises(UserError, match="no prior over codes to draw from; prior=fitted"):
        model.sample(3)
    codes = model.encode(labelled.splits["train"])
    drawn = model.draw(4000, prior="fitted")
    error = 5 * codes.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - codes.mean(axis=0)) < error).all()
    assert model.sample(4, prior="fitted").shape == (4, DIM)


@pytest.mark.slow
def test_probabilistic_pca_answers_as_a_model(labelled):
    """Its posterior is exact, so every importance weight is p(x): one sample is enough."""
    model = fit(labelled, codec="probabilistic_pca", latent_dim=2)
    found = model.evaluate("test", [ImportanceSampledLikelihood(1), "bound"])
    assert found["log_likelihood"] == pytest.approx(
        found["ImportanceSampledLikelihood/log_likelihood"], rel=1e-5
    )
    assert found["elbo"] == pytest.approx(found["log_likelihood"], abs=0.5)
    samples = model.sample(4000)
    x = labelled.splits["train"].x
    assert np.allclose(samples.mean(axis=0), x.mean(axis=0), atol=0.25)


@pytest.mark.slow
def test_k_means_says_that_its_code_has_no_bound(labelled):
    model = fit(labelled, codec="kmeans", latent_dim=3)
    with pytest.raises(UserError, match="KL of a deterministic code .* is infinite"):
        model.evaluate("test", ["bound"])
    assert model.sample(5).shape == (5, DIM)


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("model__prior", "NoDensity", "prior of Autoencoder gives an array, which has no log_prob"),
        ("model__head", "BareHead", "decode of Autoencoder gives an array, which has no log_prob"),
        ("model__encoder", "Halved", "no class derived from flax.linen.Module"),
    ],
)
def test_a_part_that_gives_the_wrong_thing_is_named(option, name, sentence, labelled):
    with pytest.raises(UserError, match=sentence):
        fit(labelled, **SMALL, **{option: part(name)})


def test_layers_of_a_users_part_keep_a_state_and_draw_noise(labelled):
    options = SMALL | {"model__encoder": part("NormedEncoder"), "hidden": (6,), "epochs": 3}
    model = fit(labelled, **options, model__encoder__blocks=2)
    state = model.collections["batch_stats"]["encoder"]
    assert {"BatchNorm_0", "BatchNorm_1"} <= state.keys()
    assert float(np.abs(state["BatchNorm_0"]["mean"]).max()) > 0.01
    x = labelled.splits["test"].x
    assert np.allclose(model.encode(x[:7]), model.encode(x)[:7], atol=1e-6), "a look is a look"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sharded", "shard_map", "pmap"])
def test_batch_statistics_and_dropout_do_not_depend_on_devices(mode, labelled):
    """Also over the last batch, of which a part is filled up and must not count."""
    options = SMALL | {
        "optim__name": "sgd",
        "batch_size": 40,
        "hidden": (6, 5),
        "model__encoder__batch_norm": True,
        "model__decoder__batch_norm": True,
        "model__decoder__dropout": 0.3,
        "objective__num_samples": 2,
    }
    one = train(prepare_run(configure(None, options), labelled)).state
    many = train(prepare_run(configure(None, options | {"train__parallel": mode}), labelled)).state
    chex.assert_trees_all_close(
        *jax.device_get(((one.params, one.collections), (many.params, many.collections))),
        rtol=2e-5,
        atol=2e-6,
    )


@pytest.mark.slow
def test_batch_statistics_are_those_of_the_batch(labelled):
    """One step of momentum 0.99 from (0, 1), of the first layer's outputs, by NumPy."""
    options = SMALL | {
        "hidden": (6,),
        "batch_size": 96,
        "epochs": 1,
        "optim__name": "sgd",
        "model__encoder__batch_norm": True,
    }
    setup = prepare_run(configure(None, options), labelled)
    layer = setup.initial_state().params["encoder"]["dense_0"]
    x = labelled.splits["train"].x.astype(np.float64)
    h = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
    found = train(setup).state.collections["batch_stats"]["encoder"]["norm_0"]
    assert np.allclose(found["mean"], 0.01 * h.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert np.allclose(found["var"], 0.99 + 0.01 * h.var(axis=0), rtol=1e-4, atol=1e-6)


def test_options_of_parts_are_fields_of_theirs(labelled):
    config = configure(None, {"model__encoder": part("NormedEncoder"), "model__encoder__blocks": 3})
    assert config.model.options_of("encoder") == {"blocks": 3}
    with pytest.raises(UserError, match="unknown option of encoder .* 'bloks': did you mean"):
        configure(None, {"model__encoder": part("NormedEncoder"), "model__encoder__bloks": 3})
    with pytest.raises(UserError, match="model.encoder.rate: input should be a valid number"):
        configure(None, {"model__encoder": part("NormedEncoder"), "model__encoder__rate": "much"})
    with pytest.raises(UserError, match="model.latent.dim is decided by model.latent_dim"):
        configure(None, {"model__latent__dim": 3})


@pytest.mark.slow
def test_groups_of_parameters_have_optimisers_of_their_own(labelled):
    """A decoder whose step size is next to nothing stays where it was, and the rest moves."""
    options = SMALL | {"groups__head__name": "sgd", "groups__head__learning_rate": 1e-30}
    setup = prepare_run(configure(None, options), labelled)
    before, after = setup.initial_state().params, train(setup).state.params
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after, before)
    assert max(jax.tree.leaves(moved["head"])) < 1e-20
    assert min(jax.tree.leaves(moved["latent"])) > 1e-4
    with pytest.raises(UserError, match="unknown group of parameters 'hed'"):
        prepare_run(configure(None, SMALL | {"groups__hed__learning_rate": 0.1}), labelled)
