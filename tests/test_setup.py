"""What is refused before any work, and what `auto` settles on."""

import dataclasses

import numpy as np
import pytest

from ae_jax.api import configure
from ae_jax.config import to_dict
from ae_jax.data import DataSet, Split
from ae_jax.errors import UserError
from ae_jax.train.setup import prepare_run

SMALL = {"hidden": [3], "latent_dim": 2, "batch_size": 10}


def prepared(dataset: DataSet, **options):
    return prepare_run(configure(None, SMALL | options), dataset)


def with_values(*values: float, max_value: float | None = None) -> DataSet:
    """Twelve training and three test vectors [2] of zeros; the last test value is replaced."""
    train, test = np.zeros((12, 2), np.float32), np.zeros((3, 2), np.float32)
    test[-1, -1 * len(values) :] = values
    return DataSet("values", {"train": Split(train), "test": Split(test)}, max_value)


def test_a_batch_larger_than_the_training_set_is_refused(image_set):
    with pytest.raises(UserError, match="batch_size is 201, more than the 200 training examples"):
        prepared(image_set, batch_size=201)
    assert prepared(image_set, batch_size=200).steps_per_epoch == 1


def test_bernoulli_refuses_raw_grey_levels_anywhere_in_the_data():
    options = {"model__head": "bernoulli", "data__preprocess": "identity"}
    with pytest.raises(UserError, match=r"'bernoulli' needs data in .*values from 0 to 255"):
        prepared(with_values(255.0, max_value=255.0), **options)
    with pytest.raises(UserError, match="values from -0.5 to 0"):
        prepared(with_values(-0.5), **options)
    assert prepared(with_values(1.0), **options).config.model.head == "bernoulli"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_refused(value):
    with pytest.raises(UserError, match="the test split of values holds NaN or infinite values"):
        prepared(with_values(value))


@pytest.mark.parametrize("name", ["grey", "threshold", "dynamic_binarization", "dequantization"])
def test_real_measurements_have_no_grey_levels(name, vector_set):
    with pytest.raises(UserError, match=f"preprocess={name} needs .*plane holds real numbers"):
        prepared(vector_set, data__preprocess=name)


@pytest.mark.parametrize(
    ("dataset", "options", "preprocess", "head"),
    [
        ("image_set", {}, "grey", "bernoulli"),
        ("image_set", {"data__preprocess": "standardization"}, "standardization", "gaussian"),
        ("image_set", {"model__head": "gaussian_sigmoid"}, "grey", "gaussian_sigmoid"),
        ("vector_set", {}, "identity", "gaussian"),
        ("vector_set", {"model__head": "gaussian_fixed"}, "identity", "gaussian_fixed"),
    ],
)
def test_auto_is_settled_in_the_configuration(dataset, options, preprocess, head, request):
    setup = prepared(request.getfixturevalue(dataset), **options)
    written = to_dict(setup.config)
    assert written["data"]["preprocess"] == preprocess
    assert written["model"]["head"] == head
    # The settled configuration is complete: it prepares to itself.
    assert prepare_run(setup.config, setup.dataset).config == setup.config


def test_auto_takes_real_values_in_the_unit_interval_for_probabilities():
    assert prepared(with_values(0.25, 1.0)).config.model.head == "bernoulli"
    assert prepared(with_values(0.25, 1.01)).config.model.head == "gaussian"


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("data__preprocess", "preprocessing"),
        ("model__name", "model"),
        ("model__encoder", "encoder"),
        ("model__decoder", "decoder"),
        ("model__activation", "activation"),
        ("model__latent", "latent"),
        ("model__head", "head"),
        ("model__init", "initialis"),
        ("objective__name", "objective"),
        ("optim__name", "optimiser"),
    ],
)
def test_unknown_names_are_answered_with_the_valid_ones(option, kind, image_set):
    with pytest.raises(UserError, match=f"unknown {kind}.* 'nonesuch': .*valid: "):
        prepared(image_set, **{option: "nonesuch"})


def test_the_initial_state_belongs_to_the_seed(vector_set):
    setup = prepared(vector_set, seed=3)
    state, again, other = (setup.initial_state(seed) for seed in (None, 3, 4))
    kernel = state.params["encoder"]["dense_0"]["kernel"]
    assert (kernel == again.params["encoder"]["dense_0"]["kernel"]).all()
    assert not (kernel == other.params["encoder"]["dense_0"]["kernel"]).any()
    assert (int(state.step), int(state.seed)) == (0, 3)


def test_examples_have_ids_of_their_own_in_every_split(image_set):
    splits = prepared(image_set).splits
    assert [int(splits[name].first_id) for name in ("train", "valid", "test")] == [0, 200, 240]


def test_placed_splits_are_used_as_they_are(image_set):
    first = prepared(image_set)
    second = prepare_run(dataclasses.replace(first.config), image_set, first.splits)
    assert second.splits is first.splits
