"""Whose code is executed when a run is opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.core import trust
from ae_jax.core.errors import UserError
from faults.shared import two_clusters

OBJECTIVE = """
from pathlib import Path
from flax import struct
from ae_jax.objectives import Elbo
Path({trace!r}).touch()

@struct.dataclass
class Mine(Elbo):
    "The ELBO."
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> tuple[Path, Path, Path]:
    """A run with an objective of the user's own; its file, and what the file leaves."""
    monkeypatch.setenv("AE_JAX_STATE", str(tmp_path / "state"))
    code, trace, run = tmp_path / "mine.py", tmp_path / "trace", tmp_path / "run"
    code.write_text(OBJECTIVE.format(trace=str(trace)))
    fit(tmp_path)
    trace.unlink()
    forget(monkeypatch)
    return run, code, trace


def fit(folder: Path, **more):
    data = two_clusters(folder / "x.npy", 60)
    options = {"latent_dim": 2, "hidden": [3], "epochs": 1, "batch_size": 16}
    objective = f"{folder / 'mine.py'}:Mine"
    return ae_jax.fit(
        ae_jax.data.load(str(data)),
        workdir=folder / "run",
        data__name=str(data),
        objective__name=objective,
        **options,
        **more,
    )


def forget(monkeypatch) -> None:
    """As in another process: no module of users' files is loaded."""
    import sys

    monkeypatch.setattr(trust, "_known_here", set())
    for name in [name for name in sys.modules if name.startswith("ae_jax_user_")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.slow
def test_a_run_of_ones_own_opens_without_a_question(own):
    run, _, trace = own
    ae_jax.load(run)
    assert trace.exists()
    assert (run.parent / "state/trusted_code").stat().st_mode & 0o777 == 0o600


def test_a_run_of_somebody_else_executes_nothing_unless_trusted(own, monkeypatch, tmp_path):
    run, code, trace = own
    monkeypatch.setenv("AE_JAX_STATE", str(tmp_path / "another user"))
    for _ in range(2):
        with pytest.raises(UserError, match=f"{code} is code that would be executed.*--trust"):
            ae_jax.load(run)
        assert not trace.exists()
    ae_jax.load(run, trust=True)
    assert trace.exists()


@pytest.mark.slow
def test_a_list_that_others_may_write_is_not_believed(own):
    run, _, trace = own
    (run.parent / "state/trusted_code").chmod(0o666)
    with pytest.raises(UserError, match="is code that would be executed"):
        ae_jax.load(run)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("section", ["model", "data", "objective"])
def test_code_is_found_anywhere_in_the_configuration(own, section, tmp_path):
    run, _, _ = own
    other = tmp_path / "other.py"
    other.write_text("raise SystemExit('executed')")
    config = json.loads((run / "config.json").read_text())
    config[section]["encoder" if section == "model" else "name"] = f"{other}:It"
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="other.py"):
        ae_jax.load(run)


def test_edited_code_is_refused_by_the_name_of_the_file_and_noted_where_accepted(
    own, monkeypatch, tmp_path
):
    run, code, _ = own
    before = json.loads((run / "provenance.json").read_text())["code"]
    code.write_text(code.read_text() + "\n# edited\n")
    for use in (lambda: ae_jax.load(run), lambda: fit(tmp_path)):
        with pytest.raises(UserError, match=f"{code} was edited since .*--accept-code"):
            use()
        forget(monkeypatch)
    ae_jax.load(run, accept_code=True)
    forget(monkeypatch)
    fit(tmp_path, accept_code=True)
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["changes"] == [{"code": before}] and provenance["code"] != before
    ae_jax.load(run)


@pytest.mark.slow
def test_accepting_an_edit_is_not_trusting_somebody_else(own, monkeypatch, tmp_path):
    run, code, trace = own
    code.write_text(code.read_text() + "\n# edited\n")
    monkeypatch.setenv("AE_JAX_STATE", str(tmp_path / "another user"))
    with pytest.raises(UserError, match="--trust"):
        ae_jax.load(run, accept_code=True)
    assert not trace.exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    data = ae_jax.data.from_array(np.load(two_clusters(tmp_path / "x.npy", 60)))
    options = {"latent_dim": 2, "hidden": [3], "epochs": 1, "batch_size": 16}
    for rate in (0.1, 0.2):
        ae_jax.fit(data, workdir=tmp_path / str(rate), learning_rate=rate, **options)
    shutil.rmtree(tmp_path / "0.1/checkpoints")
    shutil.copytree(tmp_path / "0.2/checkpoints", tmp_path / "0.1/checkpoints")
    with pytest.raises(UserError, match="is of another run: optim.learning_rate: 0.2 -> 0.1"):
        ae_jax.load(tmp_path / "0.1", data=data)


def test_a_lost_configuration_is_not_replaced_by_another(tmp_path):
    x = np.load(two_clusters(tmp_path / "x.npy", 60))
    data, other_data = ae_jax.data.from_array(x), ae_jax.data.from_array(x + 1)
    options = {"latent_dim": 2, "hidden": [3], "epochs": 1, "batch_size": 16}
    run = tmp_path / "run"
    ae_jax.fit(data, workdir=run, **options)
    config = (run / "config.json").read_bytes()
    (run / "config.json").unlink()
    for other, what in (({"learning_rate": 0.5}, "optim.learning_rate"), ({"seed": 3}, "seed")):
        with (
            pytest.warns(UserWarning, match="what the checkpoints say"),
            pytest.raises(UserError, match=f"holds a run of another configuration.*{what}"),
        ):
            ae_jax.fit(data, workdir=run, **options, **other)
        assert not (run / "config.json").exists()
    with (
        pytest.warns(UserWarning, match="what the checkpoints say"),
        pytest.raises(UserError, match="holds a run on other data.*sha256"),
    ):
        ae_jax.fit(other_data, workdir=run, **options)
    with pytest.warns(UserWarning, match="what the checkpoints say"):
        ae_jax.load(run, data=data)
    with pytest.warns(UserWarning, match="what the checkpoints say"):
        ae_jax.fit(data, workdir=run, **options)
    assert (run / "config.json").read_bytes() == config
