"""What the contract of a model promises where its parts meet: told, not made up, and said early."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.api import Fitted, configure
from ae_jax.api.layerwise import Layerwise, pretrain
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.models import Examples, ModelConfig, build_rbm
from ae_jax.nn.forward import Forward, passing
from ae_jax.objectives import Elbo, Reconstruction
from ae_jax.train.config import from_dict, to_dict
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.step import make_step

PARTS = Path(__file__).with_name("users_parts.py")
DIM, CLASSES = 4, 3
SMALL = {"hidden": (), "latent_dim": 2, "batch_size": 6, "epochs": 1}


def dataset(**test):
    """Twelve examples with labels and conditions to train on; of the test split what is given."""
    rng = np.random.default_rng(0)

    def split(count: int, **columns) -> Split:
        y = (np.arange(count) % CLASSES).astype(np.int32)
        condition = rng.normal(size=(count, 2)).astype(np.float32)
        x = rng.normal(size=(count, DIM)).astype(np.float32)
        return Split(x, **{"y": y, "condition": condition, **columns})

    return DataSet("told", {"train": split(12), "test": split(6, **test)})


def prepared(data=None, **options):
    return prepare_run(configure(None, SMALL | options), data or dataset())


@pytest.mark.parametrize(
    "objective",
    [
        {"objective__kl_form": "monte_carlo"},
        {"objective__name": "factor_vae", "objective__critic_hidden": (4,)},
    ],
)
def test_a_random_code_without_a_prior_has_no_bound(objective):
    """log q(z|x) alone was its KL, and the reported bound no bound."""
    with pytest.raises(UserError, match="no prior: .*model.prior=standard_normal"):
        prepared(model__prior="none", **objective)


def test_a_place_for_a_condition_wants_a_condition():
    with pytest.raises(UserError, match="model.into=decoder .* model.condition is none"):
        prepared(model__into=("decoder",))


def test_pseudo_inputs_have_no_condition():
    with pytest.raises(UserError, match="prior 'vamp' .* leave encoder out of model.into"):
        prepared(
            model__prior="vamp",
            model__prior__components=3,
            model__condition="label",
            objective__kl_form="monte_carlo",
        )


@pytest.mark.parametrize(
    ("kind", "test", "sentence"),
    [
        ("label", {"y": None}, "the test split has no labels"),
        ("input", {"condition": None}, "the test split has no condition"),
        ("label", {"y": np.full(6, -1, np.int32)}, "the test split has labels below 0"),
    ],
)
def test_every_split_has_the_condition_before_any_work(kind, test, sentence):
    with pytest.raises(UserError, match=sentence):
        prepared(dataset(**test), model__condition=kind)


def normalised(layer: nn.BatchNorm, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, dict]:
    with passing(Forward()):
        variables = layer.init(jax.random.key(0), jnp.asarray(x))
    with passing(Forward(train=True, mask=jnp.asarray(mask))):
        y, changed = layer.apply(variables, jnp.asarray(x), mutable=["batch_stats"])
    return np.asarray(y), changed["batch_stats"]


def test_a_norm_that_is_told_in_its_constructor_leaves_out_what_fills_up_a_batch():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    _, statistics = normalised(nn.BatchNorm(use_running_average=False), x, mask)
    assert np.allclose(statistics["mean"], 0.01 * x[:4].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("WritesInLooks", "writes its state in a look: take the keyword train"),
        ("DropsInLooks", "draws noise in a look"),
    ],
)
def test_a_layer_that_trains_in_a_look_is_told_so(part, sentence):
    with pytest.raises(UserError, match=sentence):
        train(prepared(model__encoder=f"{PARTS}:{part}"))


def test_noise_of_layers_belongs_to_examples():
    keys = jax.random.split(jax.random.key(0), 4)
    with (
        passing(Forward(train=True, keys=keys)),
        pytest.raises(UserError, match="noise for 1 rows where there are 4 examples"),
    ):
        nn.Dropout(0.5).apply({}, jnp.ones((1, 3)))


@pytest.mark.slow
def test_what_layers_write_inside_a_gradient_of_the_objectives_own_is_refused():
    normed = {"hidden": (3,), "model__encoder__batch_norm": True}
    setup = prepared(**normed, objective__name=f"{PARTS}:GradientOfItsOwn")
    with pytest.raises(UserError, match=r"GradientOfItsOwn: .* use model.fixed\(\) there"):
        train(setup)


@pytest.mark.parametrize(
    ("option", "value"), [("into", ("decoder",)), ("hidden", (3,)), ("tied", True)]
)
def test_a_machine_refuses_what_it_would_not_use(option, value):
    rbm = {"name": "rbm", "latent": "sigmoid", "head": "bernoulli"}
    with pytest.raises(UserError, match=f"an RBM is one layer of weights.* model.{option}"):
        build_rbm(ModelConfig(**rbm | {option: value}), Examples((3,)))


def test_a_norm_over_other_axes_is_refused():
    with pytest.raises(UserError, match="BatchNorm .* last axis, not axis=1"):
        normalised(nn.BatchNorm(axis=1), np.ones((6, 3, 2), np.float32), np.ones(6, np.float32))
    one = np.ones((6, 2), np.float32)
    with pytest.raises(UserError, match="the mask of the batch"), passing(Forward()):
        nn.BatchNorm().init(jax.random.key(0), one, mask=one)


def dropped(layer: nn.Dropout, shape: tuple[int, ...]) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), shape[0])
    with passing(Forward(train=True, keys=keys)):
        return np.asarray(layer.apply({}, jnp.ones(shape)))


def test_dropout_shares_the_axes_that_it_is_asked_to_counted_from_either_end():
    fro, back = (dropped(nn.Dropout(0.5, broadcast_dims=(axis,)), (4, 8, 3)) for axis in (2, -1))
    assert np.array_equal(fro, back)
    assert (back == back[..., :1]).all()


def test_dropout_of_all_units_has_a_gradient():
    def total(x):
        return nn.Dropout(1.0).apply({}, x).sum()

    with passing(Forward(train=True, keys=jax.random.split(jax.random.key(0), 2))):
        assert np.array_equal(jax.grad(total)(jnp.ones((2, 3))), np.zeros((2, 3)))


def test_a_counter_of_a_layer_is_a_whole_number_on_many_devices():
    setup = prepared(model__encoder=f"{PARTS}:CountingEncoder")
    step = make_step(setup.architecture.model, Elbo(), optax.sgd(0.1))
    state, batch = setup.state_shapes(), setup.batch_shapes()
    state = state.replace(opt_state=jax.eval_shape(optax.sgd(0.1).init, state.params))
    many = {k: jax.ShapeDtypeStruct((2, *v.shape), v.dtype) for k, v in batch.items()}

    def on_two(state, batch):
        mapped = jax.vmap(partial(step, axis_name="devices"), (None, 0), axis_name="devices")
        return mapped(state, batch)

    after, _ = jax.eval_shape(on_two, state, many)
    assert after.collections["counts"]["encoder"]["steps"].dtype == jnp.int32


@pytest.mark.parametrize("place", ["latent", "head"])
def test_latents_and_heads_are_told_what_they_ask_for(place):
    name = {"latent": "ToldLatent", "head": "ToldHead"}[place]
    prepared(**{f"model__{place}": f"{PARTS}:{name}"})


def test_a_prior_may_ask_for_the_condition_and_for_codes():
    prepared(
        model__prior=f"{PARTS}:ToldPrior",
        model__condition="label",
        model__into=("decoder", "prior"),
    )


def test_an_option_that_json_does_not_hold_stays_with_its_part():
    config = configure(None, SMALL | {"model__encoder": f"{PARTS}:OwnStart"})
    assert from_dict(to_dict(config)) == config


@pytest.mark.slow
def test_a_posterior_of_many_batches_keeps_what_its_examples_share():
    setup = prepared(
        model__latent="coupling_flow",
        model__latent__width=3,
        objective__kl_form="monte_carlo",
        eval__batch_size=4,
    )
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), setup.state_shapes().params)
    posterior = Fitted(setup, params, 0, []).posterior(setup.dataset.splits["train"].x)
    assert posterior.base.loc.shape == (12, 2)
    assert posterior.hidden_kernel.shape == (4, 2, 3)
    assert posterior.log_prob(jnp.zeros((12, 2))).shape == (12,)


@pytest.mark.slow_cases("options1-encoder.norm_0")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model__condition": "label"}, "model.condition"),
        ({"model__encoder__batch_norm": True}, "encoder.norm_0"),
    ],
)
def test_a_whole_that_layers_cannot_make_is_refused_before_the_first_is_trained(options, sentence):
    config = configure(
        None,
        SMALL
        | {"hidden": (3,), "model__activation": "sigmoid", "model__latent": "deterministic"}
        | {"model__head": "gaussian_fixed", "objective__name": "reconstruction"}
        | options,
    )

    def train(member, data):
        raise AssertionError("a layer is trained")

    with pytest.raises(UserError, match=sentence):
        pretrain(config, dataset(), Layerwise(objective=Reconstruction()), train)
