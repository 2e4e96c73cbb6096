"""Values that seem to mean something and do not: refused before anything is trained or said."""

import dataclasses

import numpy as np
import pytest

import ae_jax
from ae_jax.api import UserError, configure, prepare
from ae_jax.data import DataSet, Split
from ae_jax.train.config import RunConfig
from ae_jax.train.over import Over, members_over

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 1, "batch_size": 16}


def numbers(count: int = 40, size: int = 3) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)


def of(**columns) -> DataSet:
    return DataSet("mine", {"train": Split(numbers(), **columns)})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"y": np.zeros(30, np.int32)}, "40 examples need labels of shape"),
        ({"y": np.zeros(40) + 0.5}, "labels of type float64"),
        ({"condition": numbers(30, 2)}, "40 examples need as many conditions, not 30"),
        ({"condition": np.full((40, 2), np.nan, np.float32)}, "conditions are not finite"),
        ({"condition": np.ma.masked_greater(numbers(40, 2), 0)}, "conditions are masked"),
    ],
)
def test_labels_and_conditions_are_one_an_example(columns, message):
    with pytest.raises(UserError, match=message):
        ae_jax.fit(of(**columns), **SMALL)


@pytest.fixture(scope="module")
def conditional():
    return ae_jax.fit(of(condition=numbers(40, 2)), **SMALL, model__condition="input")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ([np.nan, 0.0], "not finite"),
        ([1j, 0.0], "real numbers"),
        (["a", "b"], "real numbers"),
        ([[1.0], [1.0, 2.0]], "array of numbers|real numbers"),
        (np.ma.masked_equal([1.0, 0.0], 0.0), "masked"),
    ],
)
def test_a_condition_is_numbers(conditional, condition, message):
    with pytest.raises(UserError, match=message):
        conditional.encode(numbers(3), condition=condition)


@pytest.mark.slow_cases("wake_sleep", "factor_vae", "semi_supervised")
@pytest.mark.parametrize("objective", ["iwae", "wake_sleep", "factor_vae", "semi_supervised"])
def test_codes_have_a_density_under_the_prior_or_no_bound(objective):
    options = configure(
        None,
        SMALL | {"objective": objective, "model__latent": "logistic_normal"}
        | {"model__prior": "standard_normal"},
    )  # fmt: skip
    data = of(y=np.resize(np.arange(3, dtype=np.int32), 40))
    with pytest.raises(UserError, match="no density under a prior|needs|condition"):
        prepare(options, data)


def test_a_grid_keeps_what_was_chosen_whatever_name_varies():
    def base(**options) -> RunConfig:
        return configure(None, options)

    def configs(config, path, values):
        return [m.config for _, members in members_over(config, Over({path: values})).values()
                for m in members]  # fmt: skip

    made = configs(base(learning_rate=0.1), "optim.name", ["sgd", "adam"])
    assert [one.optim.learning_rate for one in made] == [0.1, 0.1]
    made = configs(base(objective__beta=4.0), "objective.name", ["elbo", "iwae"])
    assert [one.objective.beta for one in made] == [4.0, 4.0]
    made = configs(base(model__encoder__batch_norm=True), "model.encoder", ["mlp", "conv"])
    assert [dict(one.model.options)["encoder.batch_norm"] for one in made] == [True, True]
    for config, path, values, message in (
        (base(optim__b1=0.5), "optim.name", ["adam", "sgd"], "optim.b1 is 0.5, and optim=sgd"),
        (base(objective__beta=4.0), "objective.name", ["reconstruction"], "beta is 4.0"),
        (base(model__encoder__dropout_after="last"), "model.encoder", ["conv"], "dropout_after"),
    ):
        with pytest.raises(UserError, match=message):
            members_over(config, Over({path: values}))


def with_holes() -> np.ndarray:
    x = numbers(60)
    x[::5, 1] = np.nan
    return x


HOLES = {"objective": "masked_reconstruction", "objective__pattern": "none"}
HOLES |= {"model__head": "gaussian_fixed", "model__latent": "deterministic"}


def test_evaluators_need_all_values_unless_they_say_otherwise():
    model = ae_jax.fit(with_holes(), **SMALL | HOLES)
    found = model.evaluate("train", ["squared_error", "completion"])
    assert np.isfinite(list(found.values())).all()
    for name in ("active_units", "explained_variance", "psnr"):
        with pytest.raises(UserError, match=f"evaluator {name} needs all values"):
            model.evaluate("train", [name])
    whole = numbers(60)
    complete = DataSet("whole", {"train": Split(whole), "test": Split(whole)})
    assert "active_units" in ae_jax.fit(complete, **SMALL | HOLES).evaluate(
        "test", ["active_units"]
    )


def test_what_is_missing_looks_in_training_as_ever_after():
    with pytest.raises(UserError, match="objective.fill is 3.*the encoder sees 0"):
        ae_jax.fit(with_holes(), **SMALL | HOLES, objective__fill=3.0)


@pytest.mark.parametrize(
    "options",
    [
        HOLES | {"objective__scored": "hidden"},
        {"objective": "completion_elbo", "objective__pattern": "none"},
    ],
)
def test_what_scores_nothing_is_refused(options):
    with pytest.raises(UserError, match="hides nothing"):
        ae_jax.fit(numbers(), **SMALL | options)


def test_masks_are_seen_in_any_layout():
    x = np.random.default_rng(0).uniform(size=(40, 1, 4, 4)).astype(np.float32)
    masked = np.ma.masked_less(x, 0.05)
    masked.data[masked.mask] = -9999.0
    with pytest.raises(UserError, match="missing|NaN"):
        ae_jax.fit(masked, **SMALL, data__layout="channels_first")
    model = ae_jax.fit(x, **SMALL, data__layout="channels_first")
    hidden = np.ma.masked_array(x[:2], mask=True)
    for asked in (
        lambda: model.encode(hidden),
        lambda: model.interpolate(hidden[0], x[1]),
        lambda: model.traverse(hidden[0], 0, [0.0]),
    ):
        with pytest.raises(UserError, match="every value is masked"):
            asked()


def test_masked_labels_are_none():
    y = np.resize(np.arange(3), 40)
    data = of(y=y.astype(np.int32))
    model = ae_jax.fit(data, **SMALL, model__condition="label")
    with pytest.raises(UserError, match="masked"):
        model.encode(numbers(3), np.ma.masked_equal([0, 1, 2], 1))
    masked = dataclasses.replace(data.splits["train"], y=np.ma.masked_equal(y, 1))
    with pytest.raises(UserError, match="labels are masked"):
        ae_jax.fit(DataSet("mine", {"train": masked}), **SMALL)
