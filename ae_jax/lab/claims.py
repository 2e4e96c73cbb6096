"""A claim in one call: a value, how it is judged, and by whom it was said."""

from typing import Any

from ae_jax.core.errors import UserError
from ae_jax.lab.sweeps import Estimate
from ae_jax.report import claims
from ae_jax.report.claims import Claim

OURS = "the claim of this experiment"


def claim(
    name: str,
    value: float | Estimate,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    close_to: float | None = None,
    equal_to: float | None = None,
    tolerance: float = 0.0,
    errors: float = 0.0,
    unit: str = "",
    source: str = OURS,
) -> Claim:
    """The claim that a value is at least, at most, about or exactly something: one of the four.

    tolerance   how far on the wrong side of its target a value may be
    errors      by how many standard errors of an `Estimate` it has to be beyond its target; for
                `close_to`, how many of them it may be away, besides the tolerance
    unit        of value and target, such as "nats per example"
    source      who says so

    Raises UserError for more or less than one target, for what is negative, and for errors of a
    single number or seed.
    """
    targets: dict[str, Any] = {
        "at_least": at_least, "at_most": at_most, "close_to": close_to, "equal_to": equal_to
    }  # fmt: skip
    given = {how: target for how, target in targets.items() if target is not None}
    if len(given) != 1:
        raise UserError(f"the claim {name!r} needs one of {', '.join(targets)}")
    ((how, target),) = given.items()
    if errors < 0 or tolerance < 0:
        raise UserError(f"the claim {name!r} has a tolerance or errors below 0")
    mean = value.mean if isinstance(value, Estimate) else value
    if errors and not (isinstance(value, Estimate) and value.seeds > 1):
        raise UserError(f"the claim {name!r} counts standard errors, and its value has none")
    margin = errors * value.standard_error if isinstance(value, Estimate) else 0
    if how == "equal_to":
        if tolerance or errors:
            raise UserError(f"the claim {name!r} is exact: what is near is close_to")
        return claims.equal_to(name, mean, target, unit, source)
    # The error of one seed is not known, and no error of 0.
    spread = value.standard_error if isinstance(value, Estimate) and value.seeds > 1 else None
    if how == "close_to":
        return claims.close_to(name, mean, target, tolerance + margin, unit, source, spread)
    beyond = margin if how == "at_least" else -margin
    return getattr(claims, how)(name, mean, target + beyond, tolerance, unit, source, spread)
