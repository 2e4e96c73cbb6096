"""Objectives with groups, critics and whole batches in training: devices, grids and resumes.

Every case is a tiny run of plain SGD, which hides no wrong scale. Programs are what takes time
here, so that the tests of a case share them.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.data.batches import Order
from ae_jax.objectives import OBJECTIVES
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.config import from_dict, override
from ae_jax.train.engines import Single, Stacked
from ae_jax.train.prepare import prepare_run

PLAIN = {
    "data": {"preprocess": "identity"},
    "model": {"hidden": [6], "latent_dim": 3, "head": "gaussian", "prior": "normal"},
    "optim": {"name": "sgd", "learning_rate": 0.01},
    "train": {"batch_size": 16, "epochs": 2},
}
CRITIC = (
    "objective.critic_hidden=[7]",
    "groups.critic.name=sgd",
    "groups.critic.learning_rate=0.1",
)
CASES = {
    "beta_tcvae": ("objective.name=beta_tcvae",),
    "factor_vae": ("objective.name=factor_vae", *CRITIC),
    "info_vae": ("objective.name=info_vae", "objective.kernel=imq", "objective.alpha=0.5"),
    "iwae": ("objective.name=iwae", "objective.gradient=dreg", "objective.beta=1.5"),
    "ladder": (
        "objective.name=iwae",
        "model.name=ladder",
        "model.latent=ladder",
        "model.prior=auto",
    ),
    "mcem": ("objective.name=mcem", "objective.updates=1", "objective.leapfrog_steps=3"),
    "reweighted": ("objective.name=reweighted_wake_sleep", "objective.recognition=both"),
    "semi_supervised": (
        "objective.name=semi_supervised",
        "objective.classifier_hidden=[5]",
        "objective.labelled=0.4",
        "model.condition=label",
    ),
    "wae_mmd": ("objective.name=wae_mmd", "model.latent=deterministic"),
    "wake_sleep": ("objective.name=wake_sleep",),
}
# Run by `make test-all` alone.
DEARER = ("beta_tcvae", "info_vae", "iwae", "ladder", "reweighted", "semi_supervised")
# These have all that devices could get wrong, or what is remembered of examples; the other modes
# run them.
EVERYTHING = ("factor_vae", "mcem")


@pytest.fixture(scope="module")
def dataset():
    """Forty rows: the last of three batches is half full."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    return DataSet("rows", {"train": Split(x, rng.integers(0, 3, 40).astype(np.int32))})


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    return request.param


def _setup(case, dataset, *more):
    return prepare_run(from_dict(override(PLAIN, [*CASES[case], *more])), dataset)


@pytest.fixture(scope="module")
def alone(case, dataset):
    """A setup, its engine at the end, the states after each epoch and the last report."""
    setup = _setup(case, dataset)
    engine, states = Single(setup, setup.initial_state()), []
    for epoch in (1, 2):
        (report,) = engine.epoch(epoch)
        states.append(jax.device_get(engine.state(0)))
    return setup, states, report


def test_every_new_objective_is_a_case():
    new = {"iwae", "wake_sleep", "reweighted_wake_sleep", "factor_vae", "beta_tcvae"}
    new |= {"wae_mmd", "info_vae", "semi_supervised", "mcem"}
    assert new == {CASES[case][0].partition("=")[2] for case in CASES}
    assert new <= set(OBJECTIVES)


@pytest.mark.slow
def test_a_run_that_was_saved_continues_with_the_same_bits(alone, tmp_path):
    setup, states, report = alone
    objective = setup.numbers.objective
    with Checkpoints(tmp_path, objective.headline, objective.maximise) as saved:
        saved.save(states[0])
    with Checkpoints(tmp_path, objective.headline, objective.maximise) as saved:
        state = saved.restore(setup.initial_state())
    engine = Single(setup, state)
    (again,) = engine.epoch(2)
    chex.assert_trees_all_equal(jax.device_get(engine.state(0)), states[1])
    chex.assert_trees_all_equal(again, report)


@pytest.mark.slow
def test_all_parameters_move(alone):
    _, states, report = alone
    moved = jax.tree.map(lambda a, b: (a != b).any(), states[0].params, states[1].params)
    assert jax.tree.all(moved), moved
    assert all(np.isfinite(value) for value in report.totals.means().values())


def _epochs(setup):
    """Two epochs without an order of its own, so that modes of execution get the same one."""
    rng, state = np.random.default_rng(1), setup.initial_state()
    for _ in range(2):
        masks = np.ones((3, 16), np.float32)
        masks[1, [0, 1, 5, 9, 12, 13]] = 0
        masks[2, 7:] = 0  # of eight devices four have none
        index = rng.permutation(48).reshape(3, 16) % 40
        order = Order(jnp.asarray(index, jnp.int32), jnp.asarray(masks))
        state, report = setup.execution.epoch(
            state, order, setup.splits["train"], setup.numbers, architecture=setup.architecture
        )
    return jax.device_get((state, report))


@pytest.fixture(scope="module")
def on_one_device(case, alone):
    return _epochs(alone[0])


def _assert_same_update(found, expected):
    chex.assert_trees_all_close(found[0], expected[0], rtol=2e-5, atol=2e-6)
    chex.assert_trees_all_close(found[1].totals, expected[1].totals, rtol=1e-4, atol=1e-4)


@pytest.mark.slow_cases(*DEARER, "factor_vae", "mcem", "wae_mmd")
def test_the_update_is_the_same_on_eight_devices(case, dataset, on_one_device):
    assert jax.device_count() == 8
    setup = _setup(case, dataset, "train.parallel=shard_map")
    _assert_same_update(_epochs(setup), on_one_device)


@pytest.mark.slow_cases(*(f"{case}*" for case in DEARER), "factor_vae*", "mcem*", "wae_mmd-sharded")
@pytest.mark.parametrize("mode", ["sharded", "pmap"])
def test_the_update_is_the_same_in_other_modes(mode, case, dataset, on_one_device):
    if case in EVERYTHING:
        setup = _setup(case, dataset, f"train.parallel={mode}")
        _assert_same_update(_epochs(setup), on_one_device)


@pytest.mark.slow
def test_a_member_of_a_grid_is_the_run_alone(case, alone, dataset):
    """Also where codes of different sizes share the program."""
    setup, states, _ = alone
    can_pad = setup.architecture.model.can_pad and setup.numbers.objective.can_pad
    assert can_pad == (case not in ("ladder", "mcem"))
    other = _setup(case, dataset, "train.seed=4", f"model.latent_dim={5 if can_pad else 3}")
    setups = [setup, other]
    engine = Stacked(setups, [one.initial_state() for one in setups], devices_each=2)
    for epoch in (1, 2):
        engine.epoch(epoch)
    state = jax.device_get(engine.state(0))
    chex.assert_trees_all_close(state, states[1], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("case", ["wake_sleep", "reweighted", "mcem"])
def test_tied_weights_belong_to_no_group(case, dataset):
    with pytest.raises(UserError, match="needs model.tied=False, and model.tied is True"):
        _setup(case, dataset, "model.tied=true")


def test_semi_supervised_needs_labels_and_a_condition(dataset):
    unlabelled = DataSet("rows", {"train": Split(dataset.splits["train"].x)})
    with pytest.raises(UserError, match="objective SemiSupervised needs labels"):
        _setup("semi_supervised", unlabelled)
    with pytest.raises(UserError, match="needs model.condition=label, and .* is none"):
        _setup("semi_supervised", dataset, "model.condition=none")


def test_deterministic_codes_without_a_prior_have_nothing_to_match(dataset):
    with pytest.raises(UserError, match="objective wae_mmd needs a prior"):
        _setup("wae_mmd", dataset, "model.prior=auto")
