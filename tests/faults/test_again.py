"""The same numbers again: from a configuration alone, and with more epochs."""

import json
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.cli.training import _default_name
from ae_jax.core.errors import RunWarning
from ae_jax.train.config import from_dict
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from faults.shared import records_of, two_clusters

OPTIONS = {"latent_dim": 2, "hidden": [4], "batch_size": 16, "optim__name": "adam"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return two_clusters(tmp_path_factory.mktemp("data") / "x.npy")


def trained(data: Path, run: Path, epochs: int, **more):
    dataset = ae_jax.data.load(str(data))
    config = ae_jax.api.configure(None, {**OPTIONS, "epochs": epochs, **more})
    return jax.device_get(train(prepare_run(config, dataset), RunDirectory(run)).state)


def test_a_run_comes_again_bit_for_bit_from_its_config_alone(data, tmp_path):
    first = trained(data, tmp_path / "first", 3)
    config = from_dict(json.loads((tmp_path / "first/config.json").read_text()))
    source = config.data
    dataset = ae_jax.data.load(source.name, protocol=source.protocol, limit=source.limit)
    second = train(prepare_run(config, dataset), RunDirectory(tmp_path / "second")).state
    chex.assert_trees_all_equal(jax.device_get(second), first)
    assert records_of(tmp_path / "second") == records_of(tmp_path / "first")


@pytest.mark.slow
def test_a_finished_run_given_more_epochs_equals_one_that_had_them(data, tmp_path):
    trained(data, tmp_path / "longer", 2)
    longer, whole = trained(data, tmp_path / "longer", 4), trained(data, tmp_path / "whole", 4)
    chex.assert_trees_all_equal(longer, whole)
    assert records_of(tmp_path / "longer") == records_of(tmp_path / "whole")
    assert ae_jax.load(tmp_path / "longer").step == int(whole.step)


def test_the_same_command_finds_a_run_that_it_gives_more_epochs():
    def name(**options):
        return _default_name(ae_jax.api.configure(None, options))

    assert name(epochs=10) == name(epochs=20) != name(epochs=10, seed=1)
    follows = {"optim__schedule": "cosine"}
    assert name(epochs=10, **follows) != name(epochs=20, **follows)


@pytest.mark.slow
def test_it_is_said_where_it_does_not(data, tmp_path):
    with_course = {"optim__schedule": "cosine"}
    trained(data, tmp_path / "longer", 2, **with_course)
    with pytest.warns(RunWarning, match="differs from a run of 4 in one go"):
        longer = trained(data, tmp_path / "longer", 4, **with_course)
    assert np.isfinite(jax.tree.leaves(longer.params)[0]).all() and int(longer.step) == 48
