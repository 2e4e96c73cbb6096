import gc
import os
import shutil
import threading
import warnings
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from ae_jax.core.errors import RunWarning, UserError
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.locks import reading
from ae_jax.train.optimisers import OPTIMISERS
from ae_jax.train.step import TrainState


def state_at(step: int, optimiser: str = "sgd", width: int = 4) -> TrainState:
    """A state of random bits that belong to its step."""
    params = {"dense": {"kernel": np.zeros((3, width)), "bias": np.zeros(width)}}
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    opt_state = OPTIMISERS.get(optimiser)().build(10.0).init(params)
    rng = np.random.default_rng(step)

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, step, leaf.dtype)

    params, opt_state = jax.tree.map(fill, (params, opt_state))
    return TrainState(jnp.asarray(step, jnp.int32), jnp.uint32(7), params, opt_state)


def saved(
    path: Path, scores: list[float], maximise: bool = True, *, now: bool = True
) -> Checkpoints:
    """Checkpoints at steps 1, 2, ... with these headline metrics."""
    checkpoints = Checkpoints(path, "elbo", maximise)
    for step, score in enumerate(scores, start=1):
        checkpoints.save(state_at(step), {"elbo": score}, now=now)
    checkpoints.wait()
    return checkpoints


def steps_on_disk(path: Path) -> list[int]:
    return sorted(int(folder.name) for folder in path.iterdir())


@pytest.mark.parametrize(
    ("scores", "maximise", "best", "kept"),
    [
        ([-5, -1, -3, -4, -2], True, 2, [2, 5]),
        ([-5, -1, -3, -4, -2], False, 1, [1, 5]),
        ([-3, -2, -1], True, 3, [3]),
        ([-1, -2, -3], True, 1, [1, 3]),
    ],
    ids=["best is older", "smaller is better", "best is latest", "best is first"],
)
@pytest.mark.parametrize("now", [True, False])
def test_latest_and_best_are_kept_apart_and_nothing_else(
    tmp_path, scores, maximise, best, kept, now
):
    with saved(tmp_path, scores, maximise, now=now) as checkpoints:
        assert bool(steps_on_disk(tmp_path)) == now
        assert checkpoints.step("latest") == len(scores)
        assert checkpoints.step("best") == best
        for which, step in (("latest", len(scores)), ("best", best)):
            chex.assert_trees_all_equal(checkpoints.restore(state_at(0), which), state_at(step))
    assert steps_on_disk(tmp_path) == kept


def test_what_is_held_is_the_newest_of_equals_and_gives_way_to_a_better_one_on_disk(tmp_path):
    with saved(tmp_path, [-3.0, -1.0]) as checkpoints:
        for step, score in ((3, -2.0), (4, -2.0), (5, -4.0)):
            checkpoints.save(state_at(step), {"elbo": score}, now=False)
        assert steps_on_disk(tmp_path) == [2]
        assert (checkpoints.step("best"), checkpoints.step("latest")) == (2, 5)
        for step, score in ((6, -1.0), (7, -1.0)):
            checkpoints.save(state_at(step), {"elbo": score}, now=False)
        checkpoints.save(state_at(8), now=False)
        assert (checkpoints.step("best"), checkpoints.step("latest")) == (7, 8)


def test_without_metrics_a_checkpoint_is_the_latest_until_the_next_and_never_the_best(tmp_path):
    with saved(tmp_path, [-2.0, -3.0]) as checkpoints:
        checkpoints.save(state_at(3))
        assert (checkpoints.step("latest"), checkpoints.step("best")) == (3, 1)
    with Checkpoints(tmp_path, "elbo", True) as again:
        chex.assert_trees_all_equal(again.restore(state_at(0)), state_at(3))
        again.save(state_at(4), {"elbo": -4.0})
        assert (again.step("latest"), again.step("best")) == (4, 1)
    assert steps_on_disk(tmp_path) == [1, 4]


def test_of_checkpoints_without_metrics_none_is_the_best(tmp_path):
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        checkpoints.save(state_at(1))
        assert (checkpoints.step("latest"), checkpoints.step("best")) == (1, None)
        with pytest.raises(UserError, match="holds no checkpoint"):
            checkpoints.restore(state_at(0), "best")


def test_the_best_survives_a_restart(tmp_path):
    saved(tmp_path, [-5, -1, -3]).close()
    with Checkpoints(tmp_path, "elbo", True) as again:
        again.save(state_at(4), {"elbo": -2.0})
        assert (again.step("latest"), again.step("best")) == (4, 2)
    assert steps_on_disk(tmp_path) == [2, 4]


@pytest.mark.parametrize("optimiser", list(OPTIMISERS))
def test_restores_the_bits_and_placement_of_every_optimiser(tmp_path, optimiser):
    state = state_at(3, optimiser)
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        checkpoints.save(state, {"elbo": 0.0})
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        restored = checkpoints.restore(state_at(0, optimiser))
    chex.assert_trees_all_equal(restored, state)
    chex.assert_trees_all_equal_dtypes(restored, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_a_state_may_be_given_away_while_it_is_written(tmp_path):
    """Training goes on in the memory of the state that is being saved."""
    state, go_on = state_at(0, width=200_000), jax.jit(_plus_one, donate_argnums=0)
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        for _ in range(3):
            state = go_on(state)
            expected = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
            checkpoints.save(state, {"elbo": float(state.step)})
            for _ in range(5):
                state = go_on(state)
            chex.assert_trees_all_equal(
                jax.device_get(checkpoints.restore(state_at(0, width=200_000))), expected
            )


def _plus_one(state):
    return jax.tree.map(lambda leaf: leaf + 1, state)


def test_what_cannot_be_written_in_the_background_is_said_at_the_next_occasion(
    tmp_path, monkeypatch
):
    checkpoints = saved(tmp_path, [0.0])

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", no_space)
        patch.setattr("os.replace", no_space)
        patch.setattr(Path, "rename", no_space)
        with pytest.raises(UserError, match="cannot write a checkpoint in .*No space left"):
            checkpoints.save(state_at(2), {"elbo": 1.0})
            checkpoints.wait()
    checkpoints.close()
    with Checkpoints(tmp_path, "elbo", True) as again:
        assert again.step() == 1


def test_another_width_is_one_sentence_with_parameter_and_shapes(tmp_path):
    with (
        saved(tmp_path, [0.0]) as checkpoints,
        pytest.raises(UserError, match="is of another model") as caught,
    ):
        checkpoints.restore(state_at(0, width=5))
    assert "params.dense.kernel: (3, 4) saved, (3, 5) expected" in str(caught.value)
    assert "params.dense.bias: (4,) saved, (5,) expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_optimiser_is_refused_by_the_names_that_are_absent(tmp_path):
    with (
        saved(tmp_path, [0.0]) as checkpoints,
        pytest.raises(UserError, match=r"opt_state\S*mu\S*kernel: absent saved, \(3, 4\) expected"),
    ):
        checkpoints.restore(state_at(0, "adam"))


def test_an_empty_folder_is_refused(tmp_path):
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        assert checkpoints.step() is None
        with pytest.raises(UserError, match="holds no checkpoint"):
            checkpoints.restore(state_at(0))


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("intact")
    saved(path, [-1.0]).close()
    return path


def damage(intact: Path, copy: Path, how: str):
    """Every way to damage one file: yields a folder in which only that file is damaged."""
    for file in sorted(p.relative_to(intact) for p in intact.rglob("*") if p.is_file()):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(intact, copy)
        content = (copy / file).read_bytes()
        if how == "absent":
            (copy / file).unlink()
        elif how == "truncated":
            (copy / file).write_bytes(content[: len(content) // 2])
        else:
            (copy / file).write_bytes(b"\x00garbage" * (len(content) // 8 + 1))
        yield file


# Orbax leaves other failed reads of the same damaged checkpoint behind it, unawaited.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["absent", "truncated", "garbage"])
def test_damage_to_any_file_is_a_sentence_or_harmless(intact, tmp_path, how):
    """Whatever file suffers, the state comes back whole or a UserError says it cannot."""
    refused = 0
    for file in damage(intact, tmp_path / "copy", how):
        try:
            with Checkpoints(tmp_path / "copy", "elbo", True) as checkpoints:
                restored = checkpoints.restore(state_at(0), "best")
        except UserError as error:
            assert "\n" not in str(error), file
            refused += 1
        else:
            chex.assert_trees_all_equal(restored, state_at(1))
    assert refused > 0
    gc.collect()  # so that what Orbax left behind is reported here, where it is expected


def half_written(path: Path) -> Path:
    """A folder as Orbax has it while it writes the checkpoint of step 9."""
    folder = path / "9.orbax-checkpoint-tmp"
    folder.mkdir(parents=True)
    return folder


def test_readers_leave_what_is_half_written_to_its_writer(tmp_path):
    saved(tmp_path, [-1.0]).close()
    folder = half_written(tmp_path)
    with Checkpoints(tmp_path, "elbo", True, read_only=True) as reader:
        chex.assert_trees_all_equal(reader.restore(state_at(0)), state_at(1))
    assert folder.is_dir()
    with Checkpoints(tmp_path, "elbo", True) as writer:
        chex.assert_trees_all_equal(writer.restore(state_at(0)), state_at(1))
    assert not folder.exists()


# Orbax leaves its failed read of the checkpoint that is gone behind it, unawaited.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_reader_takes_the_newer_checkpoint_where_a_live_run_replaced_the_older(
    tmp_path, monkeypatch
):
    """Also where the file system has no locks, or the run is of a version that knows none."""
    with (
        saved(tmp_path, [-1.0]) as writer,
        Checkpoints(tmp_path, "elbo", True, read_only=True) as reader,
    ):
        read = reader._load

        def replaced_meanwhile(step, like):
            if step == 1:
                shutil.rmtree(tmp_path / "1")
                writer.save(state_at(2), {"elbo": -0.5})
                writer.wait()
            return read(step, like)

        monkeypatch.setattr(reader, "_load", replaced_meanwhile)
        chex.assert_trees_all_equal(reader.restore(state_at(0)), state_at(2))
        # Nothing newer to take: what was wrong is said.
        for file in (tmp_path / "2/state").rglob("*"):
            if file.is_file():
                file.unlink()
        with pytest.raises(UserError, match="is corrupt.*no other is left"):
            reader.restore(state_at(0))
    gc.collect()


def test_a_run_does_not_delete_what_is_being_read(tmp_path):
    with saved(tmp_path, [-1.0]) as writer:
        with reading(tmp_path), reading(tmp_path):
            writer.save(state_at(2), {"elbo": -0.5})
            writer.wait()
            assert steps_on_disk(tmp_path) == [1, 2]
        writer.save(state_at(3), {"elbo": -0.4})
        writer.wait()
        assert steps_on_disk(tmp_path) == [3]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to count in")
def test_saves_leave_neither_open_files_nor_threads_behind(tmp_path):
    with saved(tmp_path, [-1.0]) as checkpoints:
        before = open_files(), threading.active_count()
        for step in range(2, 12):
            checkpoints.save(state_at(step), {"elbo": float(step)})
        checkpoints.wait()
        # Threads of tests before this one may end meanwhile.
        assert open_files() <= before[0] and threading.active_count() <= before[1]


# Orbax leaves its failed reads of the damaged metadata behind it, unawaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_flipped_bit_is_silently_another_state_or_another_score(tmp_path):
    """Of every file of a checkpoint many bits are flipped, one at a time."""
    with Checkpoints(tmp_path / "whole", "elbo", True) as checkpoints:
        checkpoints.save(state_at(1, width=500), {"elbo": -1.0}, {"epoch": 1, "step": 1})
    like, right = state_at(0, width=500), state_at(1, width=500)
    rng, counts = np.random.default_rng(0), {"refused": 0, "unharmed": 0, "said": 0}
    files = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*")]
    for file in sorted(f for f in files if (tmp_path / "whole" / f).is_file()):
        content = (tmp_path / "whole" / file).read_bytes()
        for _ in range(6 if content else 0):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(tmp_path / "whole", copy)
            damaged = bytearray(content)
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
            (copy / file).write_bytes(damaged)
            with (
                Checkpoints(copy, "elbo", True, read_only=True) as reader,
                warnings.catch_warnings(record=True) as heard,
            ):
                warnings.simplefilter("always")
                try:
                    state, found = reader.load(like)
                except UserError as error:
                    assert "\n" not in str(error), file
                    counts["refused"] += 1
                    continue
            chex.assert_trees_all_equal(state, right)
            if any(issubclass(one.category, RunWarning) for one in heard):
                counts["said"] += 1
            else:
                assert (found.metrics, found.record) == ({"elbo": -1.0}, {"epoch": 1, "step": 1})
                counts["unharmed"] += 1
    print(counts)
    assert counts["refused"] > 10 and counts["unharmed"] > 0
    gc.collect()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_newest_intact_checkpoint_is_used_and_the_damaged_one_set_aside(tmp_path):
    saved(tmp_path, [-1.0, -2.0, -3.0]).close()
    assert steps_on_disk(tmp_path) == [1, 3]
    cut_off(tmp_path / "3")
    with (
        Checkpoints(tmp_path, "elbo", True, read_only=True) as reader,
        pytest.warns(RunWarning, match=r"3 is corrupt: .*; \S*/1 is used instead"),
    ):
        chex.assert_trees_all_equal(reader.restore(state_at(0)), state_at(1))
    with Checkpoints(tmp_path, "elbo", True) as writer:
        with pytest.warns(RunWarning, match=r"3 is corrupt: .*; \S*/1 is used instead"):
            chex.assert_trees_all_equal(writer.restore(state_at(0)), state_at(1))
        assert writer.step() == 1 and (tmp_path / "3.damaged").is_dir()
        for step in (2, 3):  # again
            writer.save(state_at(step), {"elbo": -step})
        chex.assert_trees_all_equal(writer.restore(state_at(0)), state_at(3))
    gc.collect()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damage_to_the_best_does_not_touch_the_latest(tmp_path):
    saved(tmp_path, [-1.0, -2.0]).close()
    (tmp_path / "1/_CHECKPOINT_METADATA").write_text("{")
    with Checkpoints(tmp_path, "elbo", True, read_only=True) as reader:
        chex.assert_trees_all_equal(reader.restore(state_at(0)), state_at(2))
        with pytest.warns(RunWarning, match=r"1 is corrupt: .*; \S*/2 is used instead"):
            chex.assert_trees_all_equal(reader.restore(state_at(0), "best"), state_at(2))
    gc.collect()


def before_seals(path: Path, scores: list[float]) -> None:
    """Checkpoints as they were written before there were seals."""
    with ocp.training.Checkpointer(path.absolute()) as checkpointer:
        for step, score in enumerate(scores, start=1):
            checkpointer.save(step, state_at(step), metrics={"elbo": score}, force=True)


def test_a_checkpoint_older_than_seals_is_taken_and_said_to_be_unverified(tmp_path):
    before_seals(tmp_path, [-1.0, -2.0])
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        for which, step in (("latest", 2), ("best", 1)):
            with pytest.warns(RunWarning, match="is older than seals"):
                chex.assert_trees_all_equal(checkpoints.restore(state_at(0), which), state_at(step))
        with pytest.raises(UserError, match="kernel: .3, 4. saved, .3, 5. expected"):
            checkpoints.restore(state_at(0, width=5))
        checkpoints.save(state_at(3), {"elbo": -1.5})
    assert steps_on_disk(tmp_path) == [1, 3]


def test_types_of_few_bits_and_scalars_come_back(tmp_path):
    params = {"half": jnp.arange(5, dtype=jnp.bfloat16), "yes": jnp.array(True), "no": jnp.ones(0)}
    state = TrainState(jnp.asarray(1, jnp.int32), jnp.uint32(7), params, ())
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        checkpoints.save(state)
    with Checkpoints(tmp_path, "elbo", True) as checkpoints:
        restored = checkpoints.restore(jax.tree.map(jnp.zeros_like, state))
    chex.assert_trees_all_equal(restored, state)
    chex.assert_trees_all_equal_dtypes(restored, state)


def cut_off(checkpoint: Path) -> None:
    arrays = [path for path in checkpoint.rglob("*") if path.is_file() and path.parent.name == "d"]
    assert arrays
    for path in arrays:
        path.write_bytes(b"")


# Orbax leaves other failed reads of the same damaged checkpoint behind it, unawaited.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_whose_arrays_are_cut_off_is_corrupt_and_not_another_model(tmp_path):
    saved(tmp_path, [-1.0]).close()
    cut_off(tmp_path / "1")
    with (
        Checkpoints(tmp_path, "elbo", True, read_only=True) as reader,
        pytest.raises(UserError, match="the checkpoint .*1 is corrupt"),
    ):
        reader.restore(state_at(0))
    gc.collect()
