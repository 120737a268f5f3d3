"""Simulation-based calibration: a test whether posteriors have their nominal coverage."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import named_floats
from likelax.numerics.checks import (
    check_fraction,
    check_function,
    check_key,
    check_numbers,
    check_size,
)
from likelax.numerics.tails import beta_tails


def rank(key: Array, x: ArrayLike, draws: ArrayLike) -> Array:
    """Number of draws below x, with ties broken at random.

    It is uniform on 0 ... S if x and the draws have one distribution.

    Args:
      key: a typed key.
      x: (...).
      draws: (S, ...).
    Returns:
      (...) integers in 0 ... S.
    Raises:
      ValueError: if the shapes do not fit, or an array holds NaN.
    Source: Talts et al. (2018), Validating Bayesian inference algorithms with SBC.

    Examples:
      >>> print(rank(jax.random.key(0), jnp.array([2.5]), jnp.arange(4.0)[:, None]))
      [3]
    """
    check_key(key)
    x, draws = named_floats(x=x, draws=draws)
    if draws.shape[1:] != x.shape or draws.ndim != x.ndim + 1:
        raise ValueError(
            f"draws must have shape (S, *x.shape), got {draws.shape} for x of {x.shape}"
        )
    check_numbers(x=x, draws=draws)
    below = jnp.sum(draws < x[None], axis=0)
    ties = jnp.sum(draws == x[None], axis=0)
    return below + jax.random.randint(key, x.shape, 0, ties + 1)


def calibration_ranks(
    key: Array,
    prior: Callable[[Array], Any],
    simulate: Callable[[Array, Any], Any],
    posterior: Callable[[Array, Any], Any],
    *,
    num_simulations: int,
    chunk_size: int | None = None,
) -> Any:
    """Ranks of simulation-based calibration: uniform if the posterior is right.

    Draw theta from the prior, data from theta, and draws from the posterior of those data. The rank
    of theta among the draws is then uniform on 0 ... S. A histogram with a hump means that the
    posterior is too wide, one with a valley that it is too narrow, and a slope that it is biased.

    Args:
      key: a typed key.
      prior: key -> theta, any pytree of arrays.
      simulate: (key, theta) -> data.
      posterior: (key, data) -> draws, theta's pytree with a leading axis S.
      num_simulations: N.
      chunk_size: simulations at a time; None is all at once.
    Returns:
      theta's pytree of integers with a leading axis N.
    Raises:
      ValueError: if num_simulations or chunk_size is below 1, or the draws do not have theta's form.
    Source: Talts et al. (2018), Validating Bayesian inference algorithms with SBC. Draws from a
      Markov chain must be thinned first.

    Examples:
      >>> ranks = calibration_ranks(
      ...     jax.random.key(0),
      ...     lambda key: jax.random.normal(key),
      ...     lambda key, theta: theta + jax.random.normal(key),
      ...     lambda key, x: x / 2 + jnp.sqrt(0.5) * jax.random.normal(key, (9,)),
      ...     num_simulations=500,
      ... )
      >>> ranks.shape, int(ranks.min()), int(ranks.max())
      ((500,), 0, 9)
    """
    check_key(key)
    check_size("num_simulations", num_simulations)
    if chunk_size is not None:
        check_size("chunk_size", chunk_size)
    for name, f in (("prior", prior), ("simulate", simulate), ("posterior", posterior)):
        check_function(name, f)

    def one(key: Array) -> Any:
        theta_key, data_key, draw_key, rank_key = jax.random.split(key, 4)
        theta = prior(theta_key)
        draws = posterior(draw_key, simulate(data_key, theta))
        leaves, tree = jax.tree.flatten(theta)
        wanted: Any = tree
        if jax.tree.structure(draws) != wanted:
            raise ValueError(
                f"posterior must return draws of theta's form, {tree}, got "
                f"{jax.tree.structure(draws)}"
            )
        keys = jax.random.split(rank_key, len(leaves))
        ranks = [
            rank(k, t, d) for k, t, d in zip(keys, leaves, jax.tree.leaves(draws), strict=True)
        ]
        return jax.tree.unflatten(tree, ranks)

    keys = jax.random.split(key, num_simulations)
    if chunk_size is None or chunk_size >= num_simulations:
        return jax.vmap(one)(keys)
    return jax.lax.map(one, keys, batch_size=chunk_size)


class Envelope(NamedTuple):
    """Simultaneous bounds of the empirical distribution function of N uniform values.

    Attributes:
      points: (K - 1,) in (0, 1).
      lower, upper: (K - 1,) bounds of the empirical distribution function at the points.
      pointwise: scalar, the probability that one bound holds; it is larger than that of all bounds.
    """

    points: Array
    lower: Array
    upper: Array
    pointwise: Array


def uniform_envelope(
    key: Array,
    num_values: int,
    *,
    mass: float = 0.95,
    num_parts: int = 100,
    num_draws: int = 2000,
) -> Envelope:
    """Simultaneous envelope for the distribution function of PIT values or of ranks.

    At each point the count is binomial; the central intervals are widened until samples of
    uniform values stay inside at every point with probability `mass`, which is simulated.

    For ranks on 0 ... S use (rank + 1) / (S + 1), and num_parts = S + 1 or a divisor of it. Then the
    points are at the steps of the distribution function of the ranks.

    Args:
      key: a typed key.
      num_values: N.
      mass: in (0, 1), of all the points together.
      num_parts: K of [0, 1]; the points are 1 / K ... (K - 1) / K.
      num_draws: simulated samples.
    Returns:
      `Envelope` at K - 1 points.
    Raises:
      ValueError: if mass is not in (0, 1), num_parts < 2, or num_values or num_draws < 1.
    Source: Sailynoja, Burkner, Vehtari (2022), Statistics and Computing 32.

    Examples:
      >>> envelope = uniform_envelope(jax.random.key(0), 100, num_parts=10)
      >>> bool((envelope.lower < envelope.points).all() & (envelope.points < envelope.upper).all())
      True
    """
    check_key(key)
    check_fraction("mass", mass)
    check_size("num_parts", num_parts, 2)
    check_size("num_values", num_values)
    check_size("num_draws", num_draws)
    points = jnp.asarray(np.arange(1, num_parts) / num_parts, jnp.zeros(()).dtype)
    counts = jnp.arange(num_values + 1, dtype=points.dtype)
    shape = (num_values + 1, num_parts - 1)
    p = jnp.broadcast_to(points[None], shape)
    inside = jnp.broadcast_to((counts + 1)[:, None], shape)
    # P(X <= x) of a binomial count; at x = N it is one
    rest = jnp.where(num_values + 1 - inside > 0, num_values + 1 - inside, 1)
    below = jnp.where(inside > num_values, 1, beta_tails(inside, rest, p, 1 - p)[1])
    above = 1 - jnp.concatenate([jnp.zeros((1, num_parts - 1), p.dtype), below[:-1]])
    tails = jnp.minimum(below, above)  # (N + 1, K - 1), the smaller tail of each count

    least = _least(jax.random.split(key, num_draws), tails)
    tail = jnp.quantile(least, 1 - mass)
    kept = tails >= tail
    low = jnp.argmax(kept, axis=0)
    high = num_values - jnp.argmax(kept[::-1], axis=0)
    scale = jnp.asarray(1 / num_values, points.dtype)
    return Envelope(
        points, low.astype(points.dtype) * scale, high.astype(points.dtype) * scale, 1 - 2 * tail
    )


@jax.jit
def _least(keys: Array, tails: Array) -> Array:
    """The smallest tail, over all points, of each of some samples of uniform values.

    Args:
      keys: (S,).
      tails: (N + 1, K - 1), of each count of N values at each point.
    """
    num_values, num_parts = tails.shape[0] - 1, tails.shape[1] + 1

    def lowest(key: Array) -> Array:
        values = jax.random.randint(key, (num_values,), 0, num_parts)
        held = jnp.cumsum(jnp.zeros(num_parts, int).at[values].add(1))[:-1]
        return jnp.min(jnp.take_along_axis(tails, held[None], axis=0))

    return jax.lax.map(lowest, keys, batch_size=64)


def distribution(values: ArrayLike, points: ArrayLike) -> Array:
    """Empirical distribution function at given points, to compare with `uniform_envelope`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      values: (N,).
      points: (K,).
    Returns:
      (K,) fractions of the values at or below each point.
    Raises:
      ValueError: if values are not (N,) with N >= 1, or an array holds NaN.

    Examples:
      >>> print(distribution(jnp.array([0.1, 0.5, 0.9]), jnp.array([0.5])).round(3))
      [0.667]
    """
    values, points = named_floats(values=values, points=points)
    if values.ndim != 1 or values.shape[0] < 1:
        raise ValueError(f"values must have shape (N,) with N >= 1, got {values.shape}")
    check_numbers(values=values, points=points)
    below = jnp.searchsorted(jnp.sort(values), points, side="right")
    return below.astype(points.dtype) / values.shape[0]
