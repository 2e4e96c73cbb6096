"""Configurations: the JSON round trip, overrides, and what is said of mistakes."""

import dataclasses
import json

import pytest

from ae_jax.core.errors import UserError
from ae_jax.objectives import OBJECTIVES, Elbo
from ae_jax.train.config import RunConfig, TrainConfig, differences, from_dict, override, to_dict
from ae_jax.train.optimisers import OPTIMISERS, Adam, Momentum, Sgd


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("optimiser", list(OPTIMISERS))
def test_every_configuration_survives_json(objective, optimiser):
    config = RunConfig(
        objective=OBJECTIVES.get(objective)(),
        optim=OPTIMISERS.get(optimiser)(learning_rate=0.125, clip_norm=2.0, schedule="cosine"),
        train=TrainConfig(seed=7),
    )
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, hidden=(3, 4), decoder_hidden=(5,))
    )
    values = json.loads(json.dumps(to_dict(config)))
    assert (values["objective"]["name"], values["optim"]["name"]) == (objective, optimiser)
    again = from_dict(values)
    assert again == config
    assert type(again.objective) is OBJECTIVES.get(objective)
    assert type(again.optim) is OPTIMISERS.get(optimiser)


def test_to_dict_is_complete():
    config = RunConfig(groups=(("decoder", Sgd(learning_rate=0.5)),))
    values = to_dict(config)
    assert values.keys() == {section.name for section in dataclasses.fields(RunConfig)}
    for name, options in values.items():
        if name == "groups":
            section, options = config.groups[0][1], options["decoder"]
        else:
            section = getattr(config, name)
        names = {field.name for field in dataclasses.fields(section)}
        # The options of a part are in its own table.
        assert names - {"options"} <= options.keys()
    encoder = {"batch_norm": False, "dropout": 0.0, "dropout_after": "each"}
    assert values["model"]["encoder"] == {"name": "mlp", **encoder}


def test_what_is_absent_keeps_its_default():
    assert from_dict({}) == RunConfig()
    assert from_dict({"objective": {"beta": 4}}) == RunConfig(objective=Elbo(beta=4.0))
    chosen = from_dict({"optim": {"name": "momentum", "momentum": 0.5}})
    assert chosen.optim == Momentum(momentum=0.5)


def test_overrides_are_json_or_text():
    values = override(
        {},
        [
            "objective.beta=4",
            "model.hidden=[500, 20]",
            "data.name=iris",
            "data.limit=null",
            "optim.learning_rate=1e-3",
        ],
    )
    assert values == {
        "objective": {"beta": 4},
        "model": {"hidden": [500, 20]},
        "data": {"name": "iris", "limit": None},
        "optim": {"learning_rate": 1e-3},
    }


def test_overrides_leave_their_input_and_the_last_one_wins():
    before = {"train": {"epochs": 3, "seed": 1}}
    after = override(before, ["train.epochs=4", "train.epochs=5"])
    assert after == {"train": {"epochs": 5, "seed": 1}}
    assert before == {"train": {"epochs": 3, "seed": 1}}


def test_naming_another_optimiser_drops_the_options_of_the_one_before():
    values = to_dict(RunConfig(optim=Adam(b1=0.5)))
    # In whatever order they are given.
    after = override(values, ["optim.learning_rate=0.5", "optim.name=sgd"])
    assert from_dict(after).optim == Sgd(learning_rate=0.5)
    kept = override(values, ["optim.name=adam", "optim.learning_rate=0.5"])
    assert from_dict(kept).optim == Adam(b1=0.5, learning_rate=0.5)


@pytest.mark.parametrize(
    ("values", "assignment"),
    [
        ({"objective": {"beta": 4.0}}, "objective.name=elbo"),
        ({"optim": {"b1": 0.5}}, "optim.name=adam"),
        ({"objective": {"name": "elbo", "beta": 4.0}}, 'objective.name="elbo"'),
    ],
)
def test_naming_what_is_chosen_already_drops_nothing(values, assignment):
    assert from_dict(override(values, [assignment])) == from_dict(values)


@pytest.mark.parametrize("text", ["train.epochs", "epochs=3", "train.=3", "=3", ""])
def test_an_override_of_another_form_is_refused(text):
    with pytest.raises(UserError, match="is not of the form section.option=value"):
        override({}, [text])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"trian": {}}, r"unknown configuration section 'trian': did you mean 'train'\? valid: "),
        ({"train": 3}, "section 'train' must be a table of options"),
        (
            {"train": {"epoch": 3}},
            r"unknown configuration option 'train.epoch': did you mean 'train.epochs'\? valid: ",
        ),
        ({"train": {"epochs": 0}}, "train.epochs: .*greater than or equal to 1, not 0"),
        ({"train": {"epochs": 2.5}}, "train.epochs: .*valid integer.*, not 2.5"),
        ({"train": {"epochs": "many"}}, 'train.epochs: .*valid integer.*, not "many"'),
        ({"train": {"seed": 2**31}}, "train.seed: .*less than 2147483648"),
        ({"model": {"hidden": [5, 0]}}, "model.hidden.1: .*greater than or equal to 1, not 0"),
        ({"model": {"head_scale": 0}}, "model.head_scale: .*greater than 0, not 0"),
        ({"train": {"parallel": "pjit"}}, "train.parallel: .*'jit', 'sharded'.*, not \"pjit\""),
        ({"objective": {"name": "elbow"}}, r"unknown objective 'elbow': did you mean 'elbo'\?"),
        ({"objective": {"name": 3}}, "unknown objective '3'"),
        ({"objective": {"bta": 3}}, r"'objective.bta': did you mean 'objective.beta'\?"),
        ({"objective": {"beta": float("nan")}}, "objective.beta: .*finite"),
        ({"objective": {"num_samples": 0}}, "objective.num_samples: .*greater than or equal to 1"),
        ({"objective": {"kl_form": "mc"}}, "objective.kl_form: .*'analytic' or 'monte_carlo'"),
        ({"optim": {"name": "adm"}}, r"unknown optimiser 'adm': did you mean 'adam'\?"),
        ({"optim": {"learning_rate": -1}}, "optim.learning_rate: .*greater than 0, not -1"),
        ({"optim": {"name": "sgd", "b1": 0.5}}, "unknown configuration option 'optim.b1'"),
        ({"optim": {"b1": 1.0}}, "optim.b1: .*less than 1"),
    ],
)
def test_mistakes_are_named_in_one_sentence(values, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        from_dict(values)
    assert "\n" not in str(caught.value)


def test_an_unknown_section_in_an_override_is_named():
    with pytest.raises(UserError, match="unknown configuration section 'trian'"):
        override({}, ["trian.epochs=3"])


def test_differences_name_the_options_that_differ():
    old = to_dict(RunConfig())
    new = override(old, ["train.epochs=3", "model.hidden=[7]", "data.limit=5"])
    assert differences(old, old) == []
    assert differences(old, new) == [
        "data.limit: null -> 5",
        "model.hidden: [500] -> [7]",
        "train.epochs: 10 -> 3",
    ]
    assert differences({"a": {"b": 1}}, {"a": {"c": 2}}) == ["a.b: 1 -> null", "a.c: null -> 2"]


USER_OBJECTIVE = """
from ae_jax.objectives import Elbo
from flax import struct


@struct.dataclass
class Mine(Elbo):
    strength: float = 2.0
"""
USER_ENCODER = """
from ae_jax.nn.encoders import MLPEncoder


class Wide(MLPEncoder):
    factor: int = 2
"""


def test_a_users_objective_is_configured_by_its_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(USER_OBJECTIVE)
    config = from_dict({"objective": {"name": f"{path}:Mine", "strength": 3}})
    assert config.objective.strength == 3.0
    values = json.loads(json.dumps(to_dict(config)))
    assert values["objective"]["name"] == f"{path}:Mine"
    assert from_dict(values) == config


def test_references_are_kept_whole_for_every_option(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(USER_OBJECTIVE + USER_ENCODER)
    monkeypatch.chdir(tmp_path)
    options = {
        "data": {"name": "rows.npy", "preprocess": "mine.py:scaled"},
        "model": {"encoder": "mine.py:Wide", "hidden": [3], "head": "bernoulli"},
        "objective": {"name": "mine.py:Mine", "strength": 3},
    }
    config = from_dict(options)
    monkeypatch.chdir("/")
    assert from_dict(to_dict(config)) == config
    assert config.data.name == f"{tmp_path.resolve()}/rows.npy"
    assert config.data.preprocess == f"{tmp_path.resolve()}/mine.py:scaled"
    assert config.model.encoder == f"{tmp_path.resolve()}/mine.py:Wide"
    assert (config.model.hidden, config.model.head) == ((3,), "bernoulli")
    assert config.objective.strength == 3.0


def test_the_same_file_named_from_elsewhere_is_the_same_objective(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(USER_OBJECTIVE)
    values = to_dict(from_dict({"objective": {"name": f"{tmp_path}/mine.py:Mine", "strength": 3}}))
    monkeypatch.chdir(tmp_path)
    assert override(values, ["objective.name=mine.py:Mine"])["objective"]["strength"] == 3.0
