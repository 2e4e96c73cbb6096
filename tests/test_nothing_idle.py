"""Options that could change nothing, and values that would be taken for others, are refused."""

import dataclasses

import numpy as np
import pytest
from flax import struct

import ae_jax
from ae_jax.api import UserError, as_dataset, configure, prepare
from ae_jax.core.fields import Checked
from ae_jax.data import DataSet, Split
from ae_jax.eval import EVALUATORS
from ae_jax.eval.bounds import ImportanceSampledLikelihood
from ae_jax.objectives import Objective, Terms, draw
from ae_jax.train.values import telling_rows

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 1, "batch_size": 16}
POINTS = {"model__latent": "deterministic"}
MASKED = {"objective": "masked_reconstruction"}


def positive(count: int = 40, size: int = 4) -> np.ndarray:
    return np.random.default_rng(count).uniform(0.1, 0.9, (count, size)).astype(np.float32)


def prepared(x=None, **options):
    config = configure(None, SMALL | options)
    return prepare(config, as_dataset(positive() if x is None else x, None, config.data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (POINTS | {"objective__num_samples": 5}, "num_samples=5 changes nothing.*deterministic"),
        (POINTS | {"objective__kl_form": "monte_carlo"}, "kl_form=monte_carlo changes nothing"),
        (POINTS | {"objective__beta": 2.0}, "beta=2.0 changes nothing"),
        (POINTS | {"objective__free_bits": 0.5}, "free_bits=0.5 changes nothing"),
        ({"model__prior": "mixture", "objective": "reconstruction"}, "mixture is learned.*loss"),
        ({"model__prior": "mixture", "objective": "denoising"}, "mixture is learned.*denoising"),
        (MASKED | {"objective__pattern": "none", "objective__share": 0.3}, "pattern is none"),
        (MASKED | {"objective__withheld_pattern": "none"}, "objective.withheld is 0"),
        (
            MASKED | {"objective__withheld_pattern": "none", "objective__withheld": 0.2},
            "withheld_pattern=none hides nothing",
        ),
        (MASKED | {"objective__scored": "hidden", "objective__share": 0.0}, "hides nothing"),
        (
            {"objective": "completion_elbo", "objective__pattern": "quadrants"}
            | {"objective__share": 0.1},
            "share=0.1 of the pattern quadrants hides nothing",
        ),
        ({"eval__every": 3, "eval__per_decade": 5}, "eval.every=3 and eval.per_decade=5"),
        ({"optim__final_fraction": 0.5}, "optim.final_fraction is what a rate ends at.*constant"),
        ({"objective__beta": True}, "objective.beta: input should be a number, not true"),
        (
            {"optim__learning_rate": False},
            "optim.learning_rate: input should be a number, not false",
        ),
        (
            {"model__encoder__dropout": True},
            "model.encoder.dropout: input should be a number, not true",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        prepared(**options)


@pytest.mark.parametrize("objective", ["wake_sleep", "wae_mmd", "iwae", "elbo"])
def test_a_learned_prior_that_a_loss_looks_at_is_taken(objective):
    options = {"objective": objective, "model__prior": "mixture"}
    if objective == "elbo":
        options["objective__kl_form"] = "monte_carlo"
    prepared(**options)


def test_true_is_a_number_for_no_codec():
    with pytest.raises(UserError, match="codec.tolerance: input should be a number, not true"):
        ae_jax.fit(positive(), codec="kmeans", latent_dim=2, codec__tolerance=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idle")


def test_a_flag_and_set_do_not_set_the_same(command):
    status, _, said = command("train", "digits", "--latent-dim", 3, "--set", "model.latent_dim=4")
    assert status == 2
    assert "--latent-dim and --set model.latent_dim set the same" in said
    status, _, said = command("train", "")
    assert status == 2
    assert "the name of the data is empty" in said


def test_an_option_of_what_has_none_is_said_to_be_of_none():
    with pytest.raises(UserError, match="unknown option of head bernoulli 'foo': there is none"):
        prepared(model__head__foo=1, model__head="bernoulli")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposal": "nope"}, "proposal: input should be 'prior' or 'posterior'"),
        ({"num_samples": 0}, "num_samples: input should be greater than or equal to 1, not 0"),
        ({"num_samples": True}, "num_samples: input should"),
        ({"num_samples": "5"}, "num_samples: input should be a valid integer"),
        ({"share": 2.0}, "share: input should be less than 1"),
    ],
)
def test_an_evaluator_is_checked_when_it_is_made(options, message):
    with pytest.raises(UserError, match=f"ImportanceSampledLikelihood.*{message}"):
        ImportanceSampledLikelihood(**options)
    ImportanceSampledLikelihood(np.int64(5), share=np.float32(0.5))


def test_every_evaluator_with_options_checks_them():
    made = [one for _, one in EVALUATORS.items() if hasattr(one, "__dataclass_fields__")]
    assert len(made) > 5
    assert all(isinstance(one, Checked) for one in made)


def test_a_streamed_set_is_judged_by_all_of_its_values():
    x = np.random.default_rng(0).poisson(2.0, (3000, 4)).astype(np.float32)
    x[2345, 2] = 0.5  # beyond what is looked at on the device
    data = DataSet("mine", {"train": Split(x), "test": Split(x[:10])})
    config = configure(None, SMALL | {"model__head": "poisson", "data__memory_budget": 40_000})
    with pytest.raises(UserError, match="whole numbers.*holds other values"):
        prepare(config, data)
    x[2345, 2] = 1.0
    assert prepare(config, data).streams


def test_telling_rows_hold_the_extremes_and_a_fraction():
    x = np.arange(24_000, dtype=np.float32).reshape(-1, 4) - 7
    x[4000, 1], x[5000, 2], x[17, 0] = -1e3, 1e6, np.nan
    assert len(telling_rows(x, (4,))) == 4
    x[3000, 3] = 0.25
    rows = telling_rows(x, (4,))
    np.testing.assert_array_equal(rows[:2], [[-1e3] * 4, [1e6] * 4])
    np.testing.assert_array_equal(rows[2:], x[[4000, 5000, 3000]])
    np.testing.assert_array_equal(telling_rows(np.uint8([[3, 9]]), (2,)), [[3, 3], [9, 9]])


@pytest.mark.parametrize("name", ["unit_sum", "unit_sum_sqrt", "unit_sum_log"])
def test_shares_are_of_examples_that_are_complete_and_not_negative(name):
    holes = positive()
    holes[3, 1] = np.nan
    options = {"data__preprocess": name, "model__head": "gaussian_fixed"} | POINTS
    with pytest.raises(UserError, match=f"preprocess={name} needs all values of an example"):
        prepared(holes, **options, **MASKED, objective__pattern="none")


def test_new_examples_are_judged_by_themselves():
    model = ae_jax.fit(positive(), **SMALL, data__preprocess="unit_sum", model__head="bernoulli")
    below = positive(3)
    below[1, 2] = -0.4  # alone: examples that are negative throughout have shares above 0
    with pytest.raises(UserError, match="head 'bernoulli' needs data in .*what was given"):
        model.encode(below)
    assert model.encode(positive(3)).shape == (3, 2)


@struct.dataclass
class Counted(Objective):
    """An option that decides a shape and is traced."""

    blocks: int = 2

    def __call__(self, model, batch, key, step):
        terms = draw(model, batch, key, self.blocks).log_likelihood.mean(axis=0)
        return Terms(-terms, {})


def test_a_traced_number_that_decides_a_shape_is_named():
    config = dataclasses.replace(configure(None, SMALL), objective=Counted())
    with pytest.raises(UserError, match="Counted needs the value of a number.*pytree_node=False"):
        prepare(config, as_dataset(positive(), None, config.data))
