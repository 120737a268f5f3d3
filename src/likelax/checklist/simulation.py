"""Line 5: data that the model simulates look like the data it was fitted to."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.checklist import view
from likelax.checklist.verdict import Line, Numbers, Verdict, line
from likelax.data import DataLike
from likelax.model import SupportsLogProb
from likelax.predictive import STATISTICS, correlation, statistics

# Smallest relevant distance of each statistic from its simulated mean: in standard deviations of the
# data, as a ratio, or in its own unit.
_SIZES = (0.1, 0.1, 0.3, 1.0, 1.0, 0.05, 0.15, 0.5)
_CORRELATION = 0.15
_MOST_PAIRS = 28


def check(
    key: Array, model: SupportsLogProb, train: DataLike, *, num_draws: int, level: float
) -> Line:
    """Line 5. See `checklist.run`."""
    if not view.can_sample(model):
        return line(
            5, Verdict.NOT_RUN, "The model has no `sample`, so nothing can be simulated.",
            "Give the model a `sample(key, shape)`.",
        )  # fmt: skip
    shape = view.shape_of(model, train)
    lead = len(shape)
    columns = view.column_names(train, lead)
    rows = math.prod(shape) * len(columns)
    real, simulated, seen = (
        np.asarray(a)
        for a in view.call(_simulated, key, model, train, static=(shape, num_draws, _chunk(rows)))
    )
    n = int(seen)
    if not np.isfinite(simulated[:, np.isfinite(real)]).any(axis=0).all():
        return line(
            5, Verdict.FAIL, "Simulated data hold NaN or infinity, and the training data do not.",
            "Look for values out of range among the parameters.", Numbers(n=n),
        )  # fmt: skip
    names = [f"{kind} of {c}" for c in columns for kind in STATISTICS]
    names += [f"correlation of {a} and {b}" for a, b in _pairs(columns)]
    sizes = np.array([*_SIZES * len(columns), *[_CORRELATION] * len(_pairs(columns))])
    p_values = np.array([two_sided(r, s) for r, s in zip(real, simulated.T, strict=True)])
    adjusted = holm(p_values)
    effects = _effects(real, simulated, len(columns)) / sizes
    order = np.lexsort((-effects, adjusted))
    significant = [i for i in order if adjusted[i] < level]
    serious = [i for i in significant if effects[i] >= 1]
    chosen = (serious or significant or list(order))[0]
    with np.errstate(invalid="ignore"):  # a heavy tail may give infinity
        mean, spread = simulated[:, chosen].mean(), simulated[:, chosen].std()
    said = (
        f"{names[chosen]} is {real[chosen]:.4g} in the data and {mean:.4g} +- {spread:.2g} in "
        f"{num_draws} simulations"
    )
    numbers = Numbers(statistic=real[chosen], threshold=level, p_value=adjusted[chosen], n=n)
    remedy = _remedy(names[chosen])
    if serious:
        others = f" ({len(serious)} of {len(names)} checks fail)" if len(serious) > 1 else ""
        return line(5, Verdict.FAIL, f"{said}{others}.", remedy, numbers=numbers)
    if n < 20:
        return line(
            5, Verdict.INCONCLUSIVE, f"{n} rows are too few to tell real from simulated; {said}.",
            "Collect at least 20 rows.", numbers=numbers,
        )  # fmt: skip
    if significant:
        return line(5, Verdict.WARN, f"{said}: significant, but small.", remedy, numbers=numbers)
    return line(
        5, Verdict.PASS,
        f"None of {len(names)} checks differs; the closest to doing so: {said}.", numbers=numbers,
    )  # fmt: skip


def _remedy(name: str) -> str:
    if name.startswith(("lag-1", "longest")):
        return (
            "Rows depend on those before: use an HMM. If their order means nothing, shuffle them."
        )
    if name.startswith("correlation"):
        return "The fields depend on each other: a full covariance, or a mixture, lets them."
    if name.startswith("zeros"):
        return "Add a component for the zeros, or a family with more of them."
    return "Another family, or more components, for this variable."


def _chunk(numbers: int) -> int:
    """Simulations at a time: about four million numbers in memory."""
    return max(1, 4_000_000 // max(numbers, 1))


def _simulated(
    key: Array, model: view.Simulator, train: DataLike, plan: tuple[tuple[int, ...], int, int]
) -> tuple[Array, Array, Array]:
    """Statistics of the data, of (S,) simulations with the same entries missing, and rows seen.

    The data go through the program as one more simulation, so that it is compiled once.
    """
    shape, num_draws, chunk = plan
    chunk = min(chunk, num_draws)
    values, observed = view.columns(train, len(shape))

    def some(key: Array) -> Array:
        drawn = model.sample(key, (chunk, *shape))
        drawn = jax.vmap(lambda d: view.columns(d, len(shape))[0])(drawn)
        both = jnp.concatenate([values[None], drawn])
        return jax.vmap(_statistics, in_axes=(0, None))(both, observed)

    if chunk == num_draws:
        found = some(key)[None]
    else:
        found = jax.lax.map(some, jax.random.split(key, math.ceil(num_draws / chunk)))
    simulated = found[:, 1:].reshape(-1, found.shape[-1])[:num_draws]
    return found[0, 0], simulated, jnp.max(jnp.sum(observed, axis=(1, 2)))


def _pairs(columns: Any) -> list[tuple[Any, Any]]:
    return list(itertools.islice(itertools.combinations(columns, 2), _MOST_PAIRS))


def _statistics(values: Array, observed: Array) -> Array:
    """The eight statistics of each column, then the correlations, in one vector.

    Args:
      values, observed: (C, B, T).
    """
    each = jax.vmap(statistics)(values, observed)
    both = [
        correlation(values[i], values[j], observed[i] & observed[j])
        for i, j in _pairs(range(values.shape[0]))
    ]
    return jnp.concatenate([each.reshape(-1), jnp.stack(both)]) if both else each.reshape(-1)


def _effects(real: np.ndarray, simulated: np.ndarray, num_columns: int) -> np.ndarray:
    """Distance of each statistic from its simulated mean, in the units of `_SIZES`."""
    expected = simulated.mean(axis=0)
    with np.errstate(invalid="ignore"):  # the extremes of a column without a value are infinite
        effect = np.abs(real - expected)
    for c in range(num_columns):
        at = c * len(STATISTICS)
        sd = max(float(expected[at + 1]), float(real[at + 1]), 1e-30)
        effect[[at, at + 3, at + 4]] /= sd
        for ratio in (at + 1, at + 7):
            top, low = max(real[ratio], expected[ratio]), min(real[ratio], expected[ratio])
            effect[ratio] = 0.0 if top == low else math.log(top / low) if low > 0 else math.inf
    return effect


def two_sided(observed: float, simulated: np.ndarray) -> float:
    """Two-sided p-value of a statistic among its simulations.

    Twice the smaller tail, each tail counting the observation itself. Where the observation
    lies beyond every simulation, the tail of a Student t with 8 degrees of freedom goes on
    from there: it is heavier than a normal tail, so that extremes are not overrated.
    """
    count = len(simulated)
    below = (1 + np.sum(simulated <= observed)) / (count + 1)
    above = (1 + np.sum(simulated >= observed)) / (count + 1)
    p_value = min(1.0, 2 * min(below, above))
    if not np.isfinite(simulated).all():  # a heavy tail: its ranks alone tell
        return float(p_value)
    sd = float(np.std(simulated))
    if observed < simulated.min() or observed > simulated.max():
        z = abs(observed - float(np.mean(simulated))) / sd if sd > 0 else math.inf
        p_value = min(p_value, _student_tail(z))
    return float(p_value)


def _student_tail(z: float) -> float:
    """P(|T| > z) for eight degrees of freedom, in closed form."""
    if math.isinf(z):
        return 0.0
    c = z / math.sqrt(8 + z * z)
    inside = c * (1 + (1 - c * c) / 2 + 3 * (1 - c * c) ** 2 / 8 + 5 * (1 - c * c) ** 3 / 16)
    return max(0.0, 1 - inside)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment: reject where the result is below the level.

    Source: Holm (1979), Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p_values)
    factor = len(p_values) - np.arange(len(p_values))
    stepped = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factor))
    out = np.empty_like(stepped)
    out[order] = stepped
    return out
