"""What is refused before any work, and what `auto` settles on."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from flax import struct

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split, from_object
from ae_jax.objectives import Elbo, Terms
from ae_jax.train import placement
from ae_jax.train.config import to_dict
from ae_jax.train.loop import train
from ae_jax.train.optimisers import Adagrad
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory

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
    kind = "NaN" if np.isnan(value) else "infinite values"
    sentence = rf"the test split of values holds {kind} \(the first in its example 2\)"
    with pytest.raises(UserError, match=sentence):
        prepared(with_values(value))


def test_of_a_table_the_column_is_named_that_lacks_a_value():
    x = np.ones((10, 3))
    x[4, 1] = np.nan
    data = from_object(pd.DataFrame(x, columns=["a", "b", "c"]), protocol="full")
    (split,) = [name for name, one in data.splits.items() if np.isnan(one.x).any()]
    row = int(np.flatnonzero(np.isnan(data.splits[split].x[:, 1]))[0])
    place = f"the first in its example {row}, in the column 'b'"
    with pytest.raises(UserError, match=f"the {split} split of array holds NaN .{place}"):
        prepared(data, batch_size=4)


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
        ("model__prior", "prior"),
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
    state, again, other = (
        prepared(vector_set, train__seed=seed).initial_state() for seed in (3, 3, 4)
    )
    kernel = state.params["encoder"]["dense_0"]["kernel"]
    assert (kernel == again.params["encoder"]["dense_0"]["kernel"]).all()
    assert not (kernel == other.params["encoder"]["dense_0"]["kernel"]).any()
    assert (int(state.step), int(state.seed)) == (0, 3)


def test_examples_have_ids_of_their_own_in_every_split(image_set):
    for dataset in (image_set, image_set.limited(50)):
        splits = prepared(dataset).splits
        first_ids = {name: int(split.first_id) for name, split in splits.items()}
        assert list(first_ids.items()) == [("train", 0), ("valid", 200), ("test", 240)]


def test_a_data_set_numbers_its_examples_in_the_order_of_the_splits():
    def part(count, first_id=None):
        return Split(np.zeros((count, 2), np.float32), first_id=first_id)

    def first_ids(**splits):
        return {name: split.first_id for name, split in DataSet("toy", splits).splits.items()}

    mixed = first_ids(test=part(2), valid=part(3), train=part(5))
    assert list(mixed.items()) == [("train", 0), ("valid", 5), ("test", 8)]
    assert first_ids(test=part(2), train=part(5)) == {"train": 0, "test": 5}
    # Ids given before are kept, and those that follow go on from them.
    assert first_ids(train=part(5, 100), test=part(2)) == {"train": 100, "test": 105}
    assert part(5, 100).head(2).first_id == 100


def test_the_configuration_names_the_data_that_there_are(image_set):
    full = dataclasses.replace(image_set, protocol="full").limited(50)
    wrong = {"data__name": "mnist", "data__protocol": "paper", "data__limit": 7}
    written = to_dict(prepared(full, **wrong).config)["data"]
    assert written == {
        "name": "bars",
        "protocol": "full",
        "preprocess": "grey",
        "limit": 50,
        "memory_budget": None,
        "layout": "channels_last",
        "placement": "auto",
    }


def test_examples_and_what_is_known_of_them_are_shared_with_a_like_run(image_set):
    first = prepared(image_set)
    second = prepare_run(configure(None, SMALL | {"seed": 1}), image_set, like=first)
    assert second.splits is first.splits
    assert second.values is first.values


def test_of_a_run_with_other_preprocessing_the_examples_alone_are_shared():
    first = prepared(with_values(255.0, max_value=255.0))
    options = SMALL | {"data__preprocess": "identity", "model__head": "gaussian"}
    second = prepare_run(configure(None, options), first.dataset, like=first)
    assert second.splits is first.splits
    assert (first.values.high, second.values.high) == (1.0, 255.0)


@pytest.mark.slow
def test_nothing_is_shared_with_a_run_that_has_its_examples_elsewhere(image_set):
    streams = configure(None, SMALL | {"data__memory_budget": 4000, "eval__batch_size": 10})
    first = prepare_run(streams, image_set)
    second = prepare_run(configure(None, SMALL), image_set, like=first)
    assert first.streams and not second.streams
    spread = configure(None, SMALL | {"train__parallel": "sharded", "batch_size": 16})
    third = prepare_run(spread, image_set, like=second)
    assert third.splits is not second.splits


@struct.dataclass
class TakesMissing(Elbo):
    accepts_missing = True


def test_missing_values_are_refused_beside_a_run_that_takes_them():
    dataset = with_values(np.nan)
    config = configure(None, SMALL)
    takes = dataclasses.replace(config, objective=TakesMissing())
    first = prepare_run(takes, dataset)
    assert first.values.missing_in == "test"
    with pytest.raises(UserError, match="the test split of values holds NaN"):
        prepare_run(config, dataset, like=first)


@struct.dataclass
class Reshaped(Elbo):
    """An ELBO whose terms come in the form that `form` makes of them."""

    form: object = struct.field(pytree_node=False, default=None)

    def __call__(self, model, batch, key, step, axis_name=None):
        terms = super().__call__(model, batch, key, step, axis_name)
        return self.form(terms)


@struct.dataclass
class Headless(Elbo):
    headline = "elbow"


WRONG = {
    "a mean for a loss": (
        Reshaped(form=lambda t: Terms(t.loss.mean(), t.metrics)),
        r"Reshaped: loss has shape \(\), not one value an example, \(10,\)",
    ),
    "a metric with an axis too many": (
        Reshaped(form=lambda t: Terms(t.loss, {**t.metrics, "wide": t.loss[:, None]})),
        r"Reshaped: wide has shape \(10, 1\), not one value an example",
    ),
    "a number for a metric": (
        Reshaped(form=lambda t: Terms(t.loss, {**t.metrics, "one": 1.0})),
        r"Reshaped: one has shape \(\), not one value an example",
    ),
    "a metric called loss": (
        Reshaped(form=lambda t: Terms(t.loss, {**t.metrics, "loss": t.loss})),
        "Reshaped: no metric may be called loss",
    ),
    "a headline that is no metric": (
        Headless(),
        "Headless: headline 'elbow' is not among its metrics .*'elbo'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_terms_of_a_wrong_form_are_refused_before_there_is_a_directory(case, vector_set, tmp_path):
    objective, sentence = WRONG[case]
    config = dataclasses.replace(configure(None, SMALL), objective=objective)
    with pytest.raises(UserError, match=sentence):
        train(prepare_run(config, vector_set), RunDirectory(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_what_has_to_fit_is_examples_parameters_gradients_and_optimiser_state(
    image_set, monkeypatch
):
    """To the byte: Adam holds two moments for each parameter and one count."""
    needed = {}
    for name, copies in (("adam", 4), ("sgd", 2)):  # parameters, gradients and moments
        setup = prepared(image_set, optim__name=name)
        state = setup.state_shapes()
        weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        counts = sum(leaf.size for leaf in jax.tree.leaves(state)) - (copies - 1) * weights
        examples = 280 * 8 * 8  # uint8
        needed[name] = examples + 4 * (copies * weights + counts)
    for name, size in needed.items():
        monkeypatch.setattr(placement, "memory_limit", lambda device, size=size: size)
        prepared(image_set, optim__name=name)
        monkeypatch.setattr(placement, "memory_limit", lambda device, size=size: size - 1)
        with pytest.raises(UserError, match="the run does not fit: examples, parameters, gradient"):
            prepared(image_set, optim__name=name)
    monkeypatch.setattr(placement, "memory_limit", lambda device: 280 * 8 * 8 - 1)
    with pytest.raises(UserError, match="2 batches take 128,000 bytes"):  # even streamed
        prepared(image_set)


def test_objectives_and_optimisers_with_equal_fields_never_share_a_program(vector_set):
    """JAX takes their pytrees for equal; what a program is compiled for tells them apart."""

    @struct.dataclass
    class Same(Elbo):
        pass

    @struct.dataclass
    class Twin(Adagrad):
        pass

    assert jax.tree.structure(Same()) == jax.tree.structure(Elbo())
    assert jax.tree.structure(Twin()) == jax.tree.structure(Adagrad())
    config = configure(None, SMALL)
    architectures = [
        prepare_run(
            dataclasses.replace(config, objective=objective, optim=optimiser), vector_set
        ).architecture
        for objective in (Elbo(), Same())
        for optimiser in (Adagrad(), Twin())
    ]
    assert len(set(architectures)) == 4
    again = prepare_run(dataclasses.replace(config, optim=Adagrad(0.5)), vector_set)
    assert again.architecture == architectures[0], "numbers do not matter"


def test_more_samples_than_fit_are_refused(vector_set):
    options = {"hidden": [4], "latent_dim": 2, "objective__num_samples": 10**9}
    with pytest.raises(UserError, match="does not fit: 1,000,000,000 samples of each example"):
        prepare_run(configure(None, options), vector_set)
