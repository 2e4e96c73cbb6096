"""`ae-jax check` finds what is wrong with a part, and nothing where nothing is."""

from pathlib import Path

import pytest

from ae_jax.cli.check import check
from ae_jax.core.errors import UserError

PARTS = Path(__file__).with_name("wrong_parts.py")
WRONG = {
    "Undecorated": ("declaration", "lacks the decorator @flax.struct.dataclass"),
    "OldSignature": ("declaration", "an objective takes (model, batch, key, step)"),
    "Scalar": ("traces", "loss has shape (), not one value an example"),
    "LostHeadline": ("traces", "headline 'elbo' is not among its metrics ['bound']"),
    "Infinite": ("finite gradients", "is not finite at the start"),
    "NaiveMean": ("batches of any size", "means over a batch have to be"),
    "OneKeyLatent": ("noise belongs to examples", "one key an example"),
    "FalselyPadded": ("padded code", "can_pad is declared and does not hold"),
    "NoDefault": ("declaration", "NoDefault.blocks has no default"),
    "NoLikelihood": ("traces", "which has no log_prob"),
    "StaticNumber": ("one trace", "share is a number whose value no shape depends on"),
    "Turned": ("traces", "encoder Turned makes features of shape (4, 1) of 1 examples"),
    "Summed": ("traces", "decoder Summed makes features of shape (4,) of 1 examples"),
    "Bare": ("traces", "encode of Autoencoder gives an array, which has no log_prob"),
    "MakesNoise": ("traces", "draws noise by make_rng, one key for all examples"),
}


@pytest.mark.slow_cases("Infinite", "OneKeyLatent", "NaiveMean", "FalselyPadded")
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(name):
    where, sentence = WRONG[name]
    first = next(finding for finding in check(f"{PARTS}:{name}") if finding.wrong is not None)
    assert first.name == where
    assert sentence in first.wrong, first.wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Right", "RightLatent", "StaticShape"])
def test_nothing_is_wrong_with_what_fits_in(name):
    findings = list(check(f"{PARTS}:{name}"))
    assert len(findings) >= 10
    assert [finding for finding in findings if finding.wrong is not None] == []


def test_what_is_no_part_is_refused():
    with pytest.raises(UserError, match="is no objective, optimiser or part of a model"):
        next(iter(check(f"{PARTS}:bound")))
