"""Supports and constraints of distributions of distrax, distreqx and TensorFlow Probability.

These libraries declare no supports, or do not use them: the log density of TensorFlow Probability's gamma
at -1 is 1, and that of its categorical at 7 is 0.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from likelax import constraints
from likelax.constraints import Constraint
from likelax.interop.external import double_where
from likelax.numerics.checks import check_type


class Support(NamedTuple):
    """The observations of positive density.

    Attributes:
      inside: (distribution, x (..., *event)) -> booleans (...).
      point: (distribution, x) -> an array that broadcasts to x: a point of the support.
    """

    inside: Callable[[Any, Array], Array]
    point: Callable[[Any, Array], Any]


def _whole(x: Array) -> Array:
    return jnp.floor(x) == x


def _to(top: Callable[[Any], Any]) -> Support:
    """Whole numbers from 0 to a limit."""
    return Support(lambda d, x: _whole(x) & (x >= 0) & (x <= top(d)), lambda d, x: 0)


def _first(d: Any, x: Array) -> Array:
    """All in the first category."""
    total = getattr(d, "total_count", 1)
    total = jnp.broadcast_to(jnp.asarray(total, x.dtype), x.shape[:-1])[..., None]
    return jnp.where(jnp.arange(x.shape[-1]) == 0, total, 0)


def _parts_of(total: Callable[[Any], Any]) -> Support:
    """Vectors of whole numbers with this sum."""

    def inside(d: Any, x: Array) -> Array:
        return jnp.all(_whole(x) & (x >= 0), axis=-1) & (jnp.sum(x, axis=-1) == total(d))

    return Support(inside, _first)


def _num_categories(d: Any) -> int:
    logits = getattr(d, "logits", None)
    if logits is None:
        logits = d.probs
    return logits.shape[-1]


_SIMPLEX_ERROR = 1e-4
"""Largest error of the sum of shares that were rounded to float32."""

_positive = Support(lambda d, x: x > 0, lambda d, x: 1)
_unit = Support(lambda d, x: (x > 0) & (x < 1), lambda d, x: 0.5)
_binary = _to(lambda d: 1)
_counts = _to(lambda d: jnp.inf)
_trials = _to(lambda d: d.total_count)
_codes = _to(lambda d: _num_categories(d) - 1)
_one_hot = _parts_of(lambda d: 1)
_totals = _parts_of(lambda d: d.total_count)
_simplex = Support(
    lambda d, x: jnp.all(x >= 0, axis=-1) & (abs(jnp.sum(x, axis=-1) - 1) < _SIMPLEX_ERROR),
    lambda d, x: 1 / x.shape[-1],
)

SUPPORTS: Mapping[str, Support] = {
    "Bernoulli": _binary,
    "Beta": _unit,
    "BetaBinomial": _trials,
    "Binomial": _trials,
    "Categorical": _codes,
    "Dirichlet": _simplex,
    "DirichletMultinomial": _totals,
    "FlatDirichlet": _simplex,
    "Gamma": _positive,
    "Geometric": _counts,
    "Multinomial": _totals,
    "NegativeBinomial": _counts,
    "OneHotCategorical": _one_hot,
    "Poisson": _counts,
    "ProbitBernoulli": _binary,
}
"""By the name of the class, which these libraries share."""

_BY_NAME: Mapping[str, Constraint] = {
    **dict.fromkeys(
        ("scale", "rate", "concentration", "alpha", "beta", "scale_diag", "temperature"),
        constraints.positive,
    ),
    "covariance_matrix": constraints.positive_definite,
    "scale_tri": constraints.scale_tril,
    "prob_a": constraints.unit_interval,
}
"""Constraints of parameters, by the names that distrax and distreqx share."""


def constraint_of(name: str, kind: str) -> Constraint | None:
    """The constraint of a parameter of a class of distrax or distreqx; None for a real one."""
    if name == "probs":
        return constraints.simplex if kind in _OF_CATEGORIES else constraints.unit_interval
    return _BY_NAME.get(name)


_OF_CATEGORIES = frozenset({"Categorical", "Multinomial", "OneHotCategorical"})


def merged(
    found: Mapping[str, Constraint | None], given: Mapping[str, Constraint] | None
) -> tuple[tuple[str, Constraint], ...]:
    """The constraints of parameters as `External` takes them, those of the caller before ours.

    Raises:
      TypeError: for something that is no `Constraint`.
      ValueError: for the constraint of a name that is no parameter.
    """
    given = dict(given or {})
    for name, value in given.items():
        check_type(f"constraints[{name!r}]", value, Constraint)
        if name not in found:
            raise ValueError(f"constraints: wanted parameters {sorted(found)}, got {name!r}")
    both = {**found, **given}
    return tuple((name, ours) for name in sorted(both) if (ours := both[name]) is not None)


def log_density(distribution: Any, x: Array) -> Array:
    """The log density of their distribution, -inf off its support where that is known."""
    support = SUPPORTS.get(type(distribution).__name__)
    if support is None:
        return distribution.log_prob(x)
    point = support.point(distribution, x)
    return double_where(support.inside(distribution, x), x, point, distribution.log_prob)
