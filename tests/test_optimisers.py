"""Update rules against optax and numpy, learning rates against formulas."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.train.optimisers import OPTIMISERS, Adagrad, Momentum, Optimiser, Sgd

PARAMS = {"a": jnp.asarray([1.0, -2.0, 3.0]), "b": jnp.asarray([[0.5, 4.0]])}
TOTAL = 100.0


def _gradient(params):
    """Of a badly scaled bowl."""
    return {"a": jnp.asarray([0.1, 1.0, 10.0]) * params["a"], "b": 2 * params["b"]}


def _run(transformation, steps=4):
    params, state = PARAMS, transformation.init(PARAMS)
    path = []
    for _ in range(steps):
        updates, state = transformation.update(_gradient(params), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


# What each entry of the registry means, said in optax's own words.
REFERENCES = {
    "adagrad": lambda: optax.adagrad(0.03, initial_accumulator_value=0.0, eps=1e-8),
    "adam": lambda: optax.adam(0.03, b1=0.9, b2=0.999, eps=1e-8),
    "adamw": lambda: optax.adamw(0.03, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.01),
    "momentum": lambda: optax.sgd(0.03, momentum=0.9),
    "rmsprop": lambda: optax.rmsprop(0.03, decay=0.9, eps=1e-8),
    "sgd": lambda: optax.sgd(0.03),
}


def test_every_optimiser_has_a_reference():
    assert sorted(REFERENCES) == list(OPTIMISERS)


def _assert_same_path(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, expected)


@pytest.mark.slow_cases("adagrad")
@pytest.mark.parametrize("name", list(REFERENCES))
def test_constant_rate_is_optaxs(name):
    optimiser = OPTIMISERS.get(name)(learning_rate=0.03)
    _assert_same_path(_run(optimiser.build(TOTAL)), _run(REFERENCES[name]()))


def test_nesterov_is_passed_on():
    actual = _run(Momentum(learning_rate=0.03, momentum=0.8, nesterov=True).build(TOTAL))
    _assert_same_path(actual, _run(optax.sgd(0.03, momentum=0.8, nesterov=True)))


@pytest.mark.parametrize("initial", [0.0, 0.1])
def test_adagrad_is_that_of_its_paper(initial):
    optimiser = Adagrad(learning_rate=0.03, initial_accumulator=initial)
    theta = np.array([1.0, -2.0, 3.0])
    total = np.full(3, initial)
    for params in _run(optimiser.build(TOTAL)):
        gradient = np.array([0.1, 1.0, 10.0]) * theta
        total += gradient**2
        theta -= 0.03 * gradient / np.sqrt(total)
        np.testing.assert_allclose(params["a"], theta, rtol=1e-5)


SHAPES = {
    "constant": lambda share, final: 1.0,
    "linear": lambda share, final: 1 + (final - 1) * share,
    "cosine": lambda share, final: final + (1 - final) * (1 + math.cos(math.pi * share)) / 2,
    "exponential": lambda share, final: math.exp(share * math.log(final)),
    "tripling": lambda share, final: _tripling(share, final),
}


def _tripling(share: float, final: float) -> float:
    """Stages of 1, 3, 9, ... parts of the run at 10^(-i/7), down to the final fraction."""
    stages = [i for i in range(40) if 10 ** (-i / 7) >= final * (1 - 1e-6)]
    whole = sum(3**i for i in stages)
    done = 0
    for i in stages:
        done += 3**i
        if share < done / whole - 1e-9:
            break
    return 10 ** (-i / 7)


@pytest.mark.parametrize("schedule", list(SHAPES))
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_learning_rates_follow_their_formula(schedule, warmup):
    optimiser = Optimiser(learning_rate=0.5, schedule=schedule, warmup=warmup, final_fraction=0.1)
    for step in [0, 5, 10, 20, 60, 99, 100, 150]:
        rate = float(optimiser.rate(jnp.asarray(step), TOTAL))
        if step < warmup * TOTAL:
            expected = 0.5 * step / (warmup * TOTAL)
        else:
            share = min(1.0, (step / TOTAL - warmup) / (1 - warmup))
            expected = 0.5 * SHAPES[schedule](share, 0.1)
        assert rate == pytest.approx(expected, rel=1e-5), step


@pytest.mark.slow
def test_the_schedule_of_the_importance_weighted_autoencoder():
    """0.001 * 10^(-i/7) for 3^i passes, i = 0 to 7; a shorter one is the beginning of it."""
    passes = [1e-3 * 10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    for stages in (1, 4, 8):
        total = sum(3**i for i in range(stages))
        final = 10 ** (-(stages - 1) / 7)
        optimiser = Optimiser(learning_rate=1e-3, schedule="tripling", final_fraction=final)
        steps = 5 * jnp.arange(total) + 2  # in the middle of each pass of five steps
        rates = optimiser.rate(steps, 5.0 * total)
        np.testing.assert_allclose(rates, passes[:total], rtol=1e-5)


def test_warm_up_over_the_whole_run_ends_at_the_full_rate():
    optimiser = Optimiser(learning_rate=0.5, warmup=1.0)
    rates = [float(optimiser.rate(jnp.asarray(step), TOTAL)) for step in (0, 50, 100)]
    np.testing.assert_allclose(rates, [0.0, 0.25, 0.5], rtol=1e-6)


def test_the_rule_takes_the_rate_of_each_step():
    optimiser = Sgd(learning_rate=0.03, schedule="linear", warmup=0.25, final_fraction=0.5)
    theta = np.array([1.0, -2.0, 3.0])
    for step, params in enumerate(_run(optimiser.build(4.0))):
        theta -= float(optimiser.rate(jnp.asarray(step), 4.0)) * np.array([0.1, 1, 10]) * theta
        np.testing.assert_allclose(params["a"], theta, rtol=1e-5)


@pytest.mark.parametrize("limit", [1.0, 1e6])
def test_clipping_scales_the_whole_gradient_down_to_its_norm(limit):
    optimiser = Sgd(learning_rate=1.0, clip_norm=limit)
    (after,) = _run(optimiser.build(TOTAL), steps=1)
    gradient = _gradient(PARAMS)
    norm = math.sqrt(sum(float(jnp.sum(g**2)) for g in gradient.values()))
    factor = min(1.0, limit / norm)
    for name, value in after.items():
        np.testing.assert_allclose(PARAMS[name] - value, factor * gradient[name], rtol=1e-5)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_numbers_are_traced_and_share_one_program(name):
    traces = 0

    @jax.jit
    def one_step(optimiser, total_steps):
        nonlocal traces
        traces += 1
        transformation = optimiser.build(total_steps)
        updates, _ = transformation.update(_gradient(PARAMS), transformation.init(PARAMS), PARAMS)
        return updates["a"]

    optimiser = OPTIMISERS.get(name)(learning_rate=0.03)
    small = one_step(optimiser, 100.0)
    large = one_step(dataclasses.replace(optimiser, learning_rate=0.06), 200.0)
    assert traces == 1
    np.testing.assert_allclose(large, 2 * small, rtol=1e-5)
