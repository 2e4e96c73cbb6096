"""The count of arithmetic against products counted by hand."""

from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from compile_counts import compilations

from ae_jax.api import configure
from ae_jax.train import arithmetic, prepare
from ae_jax.train.arithmetic import product_flops, step_flops
from ae_jax.train.devices import matrix_rate
from ae_jax.train.prepare import prepare_run


def flops(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return product_flops(jax.make_jaxpr(function)(*arrays).jaxpr)


def test_a_matrix_product_is_two_operations_an_entry_and_term():
    assert flops(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7


def test_a_batched_product_counts_each_of_the_batch():
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (4, 3, 5), (4, 5, 7)) == 840


def test_a_scan_counts_its_body_as_often_as_it_runs():
    def repeated(a, b):
        return jax.lax.scan(lambda carry, _: (carry @ b, None), a, length=6)[0]

    assert flops(repeated, (3, 5), (5, 5)) == 6 * 2 * 3 * 5 * 5


def test_a_choice_counts_what_is_done_in_any_case():
    def chosen(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b @ b, lambda: a @ b)

    assert flops(chosen, (3, 5), (5, 5)) == 2 * 3 * 5 * 5


def test_a_convolution_counts_every_output_over_its_window():
    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops(convolved, (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3)


@pytest.mark.parametrize("samples", [1, 2])
def test_a_step_counts_forward_and_both_gradients_but_not_that_of_the_data(samples, vector_set):
    """6-9-(3, 3) once, 3-9-6 for each sample; the first layer has no gradient towards the data."""
    config = configure(
        None,
        {
            "hidden": [9],
            "latent_dim": 3,
            "batch_size": 50,
            "objective__num_samples": samples,
            "model__head": "gaussian_fixed",
        },
    )
    encoder, decoder = 6 * 9 + 2 * 9 * 3, 3 * 9 + 9 * 6
    products = 3 * encoder - 6 * 9 + samples * 3 * decoder
    assert step_flops(prepare_run(config, vector_set)) == 2 * 50 * products


def test_like_runs_are_checked_and_counted_by_one_trace(vector_set, monkeypatch):
    traces = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(*arguments):
            traces[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, counted)

    count(prepare, "evaluate_objective")
    count(arithmetic, "make_step")
    for seed, rate in ((0, 1e-3), (1, 2e-3)):
        options = {"hidden": [11], "latent_dim": 2, "batch_size": 40, "seed": seed}
        config = configure(None, options | {"learning_rate": rate})
        step_flops(prepare_run(config, vector_set))
    assert traces == {"evaluate_objective": 1, "make_step": 1}


@pytest.mark.slow
def test_the_matrix_rate_is_measured_once_on_one_program():
    """A second one would be of another precision, and have its compilation in the time."""
    matrix_rate.cache_clear()
    jax.clear_caches()
    with compilations() as counts:
        assert matrix_rate() == matrix_rate() > 0
    assert counts["jit(matmul)"] == 1
