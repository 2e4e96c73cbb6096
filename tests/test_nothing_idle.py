"""Options that could change nothing, and values that would be taken for others, are refused."""

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
from flax import struct

import ae_jax
from ae_jax.api import UserError, as_dataset, configure, prepare
from ae_jax.core.errors import RunWarning
from ae_jax.core.fields import Checked, refuse_truth
from ae_jax.core.ranges import NonNegative
from ae_jax.data import DataSet, Split
from ae_jax.eval import EVALUATORS
from ae_jax.eval.bounds import ImportanceSampledLikelihood
from ae_jax.eval.completion import Completion
from ae_jax.eval.reconstruction import PeakSignalToNoise
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
        (MASKED | {"objective__pattern": "none", "objective__share": 0.3}, "pattern is none"),
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
        (
            POINTS | {"objective": "factor_vae", "objective__beta": 4.0},
            "beta=4.0 changes nothing: the code is deterministic",
        ),
        (
            {"objective": "info_vae", "objective__alpha": 1.0, "objective__beta_warmup": 9.0},
            "beta_warmup=9.0 changes nothing: with objective.alpha=1",
        ),
        (
            {"optim__name": "adagrad", "optim__burn_in": 2},
            "optim.burn_in=2 is no less than the updates of the run, 2: nothing",
        ),
        *(
            (
                {"model__latent": "one_hot", "objective": name, **more},
                "codes of this model are one-hot vectors, through whose draws no gradient",
            )
            for name, more in (
                ("elbo", {}),
                ("elbo", {"objective__kl_form": "monte_carlo"}),
                ("iwae", {"objective__gradient": "dreg"}),
                ("reconstruction", {}),
            )
        ),
        *(
            (
                {"objective": "contractive", f"model__{part}__batch_norm": True},
                "with batch_norm in encoder or latent the code depends on the whole batch",
            )
            for part in ("encoder", "latent")
        ),
        ({"eval__every": 3, "eval__per_decade": 5}, "eval.every=3 and eval.per_decade=5"),
        ({"optim__final_fraction": 0.5}, "optim.final_fraction is what a rate ends at.*constant"),
        ({"objective__beta": True}, "objective.beta: input should be a number, not true"),
        ({"optim__clip_norm": True}, "optim.clip_norm: input should be a number, not true"),
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


def test_what_was_trained_with_idle_options_opens_with_them():
    config = configure(None, SMALL | POINTS | {"objective__num_samples": 5})
    prepare(config, as_dataset(positive(), None, config.data), begins=False)


@pytest.mark.parametrize(
    "options",
    [
        MASKED | {"objective__pattern": "none", "objective__share": 0.0},
        MASKED | {"objective__withheld_pattern": "quadrants"},  # one end of a grid of shares
    ],
)
def test_what_is_consistent_is_taken(options):
    prepared(np.resize(positive(), (40, 4, 4, 1)), **options)


@pytest.mark.parametrize("objective", ["reconstruction", "denoising"])
def test_a_learned_prior_that_no_loss_looks_at_is_pointed_out(objective):
    said = f"mixture is learned.*{objective.capitalize()} does not depend on it"
    with pytest.warns(RunWarning, match=said):
        prepared(model__prior="mixture", objective=objective)


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
    ImportanceSampledLikelihood(np.int64(5), pattern="pixels", share=np.float32(0.5))


@pytest.mark.parametrize("options", [{"share": 0.5}, {"pattern": "pixels"}])
def test_a_pattern_and_a_share_go_together(options):
    with pytest.raises(UserError, match="a pattern hides a share.*do not go together"):
        ImportanceSampledLikelihood(**options)


def test_what_an_evaluator_does_not_look_at_is_refused():
    with pytest.raises(UserError, match="a level of 0.5 is that of a corruption"):
        PeakSignalToNoise(level=0.5)
    model = ae_jax.fit(positive(), **SMALL)
    with pytest.raises(UserError, match="completion: the pattern none.*hides no known value"):
        model.evaluate("train", [Completion(pattern="none")])


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
    x[2345, 2] = np.nan
    with pytest.raises(UserError, match="the train split of mine holds NaN"):
        prepare(config, data)
    x[2345, 2] = 1.0
    assert prepare(config, data).streams


def test_telling_rows_hold_the_extremes_and_a_fraction():
    x = np.arange(24_000, dtype=np.float32).reshape(-1, 4) - 7
    x[4000, 1], x[5000, 2], x[17, 0] = -1e3, 1e6, np.nan
    assert len(telling_rows(x, (4,))) == 5
    x[3000, 3] = 0.25
    rows = telling_rows(x, (4,))
    np.testing.assert_array_equal(rows[:2], [[-1e3] * 4, [1e6] * 4])
    np.testing.assert_array_equal(rows[2:], x[[4000, 5000, 17, 3000]])
    np.testing.assert_array_equal(telling_rows(np.uint8([[3, 9]]), (2,)), [[3, 3], [9, 9]])


@pytest.mark.parametrize("name", ["unit_sum", "unit_sum_sqrt", "unit_sum_log"])
def test_shares_are_of_examples_that_are_complete_and_not_negative(name):
    holes = positive()
    holes[3, 1] = np.nan
    options = {"data__preprocess": name, "model__head": "gaussian_fixed"} | POINTS
    with pytest.raises(UserError, match=f"preprocess={name} needs all values of an example"):
        prepared(holes, **options, **MASKED, objective__pattern="none")
    below = positive()
    below[7, 2] = -0.25
    with pytest.raises(UserError, match=r"shares of an example's sum, .* down to -0.25"):
        prepared(below, **options)


def test_new_examples_are_judged_by_themselves():
    model = ae_jax.fit(positive(), **SMALL, data__preprocess="unit_sum", model__head="bernoulli")
    below = positive(3)
    below[1, 2] = -0.4  # alone: examples that are negative throughout have shares above 0
    with pytest.raises(UserError, match="head 'bernoulli' needs data in .*what was given"):
        model.encode(below)
    assert model.encode(positive(3)).shape == (3, 2)


def test_shares_of_incomplete_new_examples_are_refused_whatever_is_beside_them():
    options = MASKED | {"data__preprocess": "unit_sum", "model__head": "gaussian_fixed"}
    model = ae_jax.fit(positive(), **SMALL, **options)
    holes = positive(30)
    holes[7, 2] = np.nan
    for some in (holes, holes[7:8]):
        with pytest.raises(UserError, match="needs all values of an example"):
            model.encode(some)


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        (bool | float, True),
        (bool, True),
        (Any, True),
        (str, True),
        (Literal["auto", True], True),
        (float | None, False),
        (float | Literal["auto"], False),
        (int | None, False),
        (NonNegative, False),
    ],
)
def test_what_takes_true_and_false(kind, takes):
    if takes:
        refuse_truth("", {"it": kind}, {"it": True})
    else:
        with pytest.raises(UserError, match="it: input should be a"):
            refuse_truth("", {"it": kind}, {"it": True})


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
