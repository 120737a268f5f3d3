"""Moment matching: leave-one-out where importance sampling alone fails, without another fit."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from likelax.data import DataLike, convert
from likelax.monte_carlo._psis import psis, tail_length
from likelax.numerics import cholesky, inverse_lower, logsumexp, named_floats, solve_lower
from likelax.numerics.checks import check_function, check_number, check_size, check_type, explained
from likelax.predictive._loo import Loo
from likelax.predictive.score import check_draws, elpd_of, log_mean


class _Match(NamedTuple):
    """Draws moved by an affine map, with the importance weights that they have then."""

    matrix: Array  # (D, D)
    shift: Array  # (D,)
    draws: Array  # (S, D)
    log_weights: Array  # (S,) normalised
    k_hat: Array
    steps: Array
    improved: Array


@explained
def moment_match(
    result: Loo,
    log_posterior: Callable[[Any], Array],
    log_prob: Callable[[Any, Any], Array],
    draws: Any,
    x: DataLike,
    *,
    threshold: float = 0.7,
    max_steps: int = 30,
) -> Loo:
    """`loo` again where k-hat is high, from draws that are moved to the posterior without the row.

    An affine map gives the draws the mean, then the variances, then the covariance that their
    importance weights say, as long as k-hat falls. The value is estimated from half of the draws moved
    and half not, weighted against the mixture of both.

    Args:
      result: of `loo` or `loo_of`, for the same draws and rows.
      log_posterior: one draw -> log density of the posterior up to a constant, nats. Draws and density
        are over unconstrained parameters: of a scale, its log.
      log_prob: (one draw, one row) -> log p(row | draw), nats, as in `loo_of`.
      draws: a pytree with leaves (S, ...).
      x: a pytree with leaves (N, ...).
      threshold: rows with a larger k-hat are computed again, one after the other.
      max_steps: moves for each row, at most. Moves go on as long as k-hat falls, below the threshold too.
    Returns:
      `Loo`, with new values and k-hats for these rows. k-hat is -inf where the largest weights are equal
      but for rounding, as they are when the draws were moved exactly.
    Raises:
      ValueError: if draws or x have no common leading axis or other sizes than result, or max_steps < 1.
    Float32: the moves are chosen by comparing k-hats, so one rounding may choose another map. The answers
      then differ as two estimates from the same draws do, by some hundredths of a nat.
    Source: Paananen, Piironen, Buerkner, Vehtari (2021), Statistics and Computing 31.

    Examples:
      >>> from likelax.predictive import loo_of
      >>> rows = [-1.0, -0.5, 0.0, 0.5, 9.0]  # the last is an outlier
      >>> x = jnp.array(rows)
      >>> draws = jnp.mean(x) + jax.random.normal(jax.random.key(0), (1000,)) / 5**0.5
      >>> log_prob = lambda loc, row: -((row - loc) ** 2) / 2
      >>> posterior = lambda loc: sum(log_prob(loc, row) for row in rows)
      >>> rough = loo_of(log_prob, draws, x)
      >>> better = moment_match(rough, posterior, log_prob, draws, x)
      >>> bool(rough.k_hat[4] > 0.7), bool(better.k_hat[4] < 0.7)
      (True, True)
    """
    check_type("result", result, Loo)
    check_function("log_posterior", log_posterior)
    check_function("log_prob", log_prob)
    size, rows = check_draws(draws, least=4), check_draws(x, name="x")
    check_number("threshold", threshold, lambda v: v == v, "a number")
    check_size("max_steps", max_steps)
    if result.pointwise.shape != (rows,):
        raise ValueError(
            f"result must be of the {rows} rows of x, got {result.pointwise.shape[0]} values"
        )
    draws = jax.tree.map(lambda leaf: named_floats(draws=leaf)[0], draws)
    x = convert("x", x)
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], draws))[1]
    flat = jax.vmap(lambda draw: ravel_pytree(draw)[0])(draws)

    def density(name: str, f: Callable[..., Array], *row: Any) -> Callable[[Array], Array]:
        def of_all(flat: Array) -> Array:
            values = jax.vmap(lambda v: f(unravel(v), *row))(flat)
            if values.shape != flat.shape[:1]:
                raise ValueError(
                    f"{name} must return a scalar for one of the draws, got shape {values.shape[1:]}"
                )
            return values.astype(flat.dtype)

        return of_all

    log_target = density("log_posterior", log_posterior)
    before = log_target(flat)

    def again(row: Any) -> tuple[Array, Array]:
        log_lik = density("log_prob", log_prob, row)
        found = _matched(log_target, log_lik, flat, before, max_steps)
        return _split(log_target, log_lik, flat, before, found, size // 2)

    def point(args: tuple[Any, Array, Array]) -> tuple[Array, Array, Array]:
        row, value, k_hat = args
        inside = log_mean(density("log_prob", log_prob, row)(flat))
        return jax.lax.cond(
            k_hat > threshold, lambda: (*again(row), inside), lambda: (value, k_hat, inside)
        )

    judged = (result.pointwise.astype(flat.dtype), result.k_hat.astype(flat.dtype))
    pointwise, k_hat, inside = jax.lax.map(point, (x, *judged))
    total, gap = elpd_of(pointwise), elpd_of(inside - pointwise)
    return Loo(total.value, total.standard_error, pointwise, gap.value, gap.standard_error, k_hat)


def _matched(
    log_target: Callable[[Array], Array],
    log_lik: Callable[[Array], Array],
    flat: Array,
    before: Array,
    max_steps: int,
) -> _Match:
    """Move the draws as long as k-hat falls: below the threshold too, where the value still improves."""
    dim = flat.shape[1]

    def weigh(matrix: Array, shift: Array) -> tuple[Array, Array, Array]:
        moved = flat @ matrix.T + shift[None]
        return moved, *_weights(log_target(moved), log_lik(moved), before)

    def move(state: _Match) -> _Match:
        weights = jnp.exp(state.log_weights)
        mean, target = jnp.mean(state.draws, axis=0), weights @ state.draws
        gap, aim = state.draws - mean[None], state.draws - target[None]
        covariance = gap.T @ gap / len(flat)
        wanted = (weights[:, None] * aim).T @ aim
        ratio = jnp.sqrt(jnp.diagonal(wanted) / jnp.diagonal(covariance))
        whole = cholesky(wanted) @ inverse_lower(cholesky(covariance))
        tries = jnp.stack([jnp.eye(dim, dtype=flat.dtype), jnp.diag(ratio), whole])
        matrices = tries @ state.matrix[None]
        shifts = tries @ (state.shift - mean) + target[None]
        draws, log_weights, k_hat = jax.vmap(weigh)(matrices, shifts)
        best = jnp.argmin(jnp.where(jnp.isnan(k_hat), jnp.inf, k_hat))
        better = k_hat[best] < state.k_hat
        new = (matrices[best], shifts[best], draws[best], log_weights[best], k_hat[best])
        kept = [jnp.where(better, a, b) for a, b in zip(new, state[:5], strict=True)]
        return _Match(kept[0], kept[1], kept[2], kept[3], kept[4], state.steps + 1, better)

    def unfinished(state: _Match) -> Array:
        return state.improved & (state.steps < max_steps)

    eye, zero = jnp.eye(dim, dtype=flat.dtype), jnp.zeros(dim, flat.dtype)
    start = _Match(eye, zero, *weigh(eye, zero), jnp.zeros((), jnp.int32), jnp.array(True))
    return jax.lax.while_loop(unfinished, move, start)


def _split(
    log_target: Callable[[Array], Array],
    log_lik: Callable[[Array], Array],
    flat: Array,
    before: Array,
    found: _Match,
    half: int,
) -> tuple[Array, Array]:
    """The leave-one-out density from half of the draws moved, and k-hat."""
    moved = found.draws[:half]
    stayed = flat[half:]
    # a product of lower triangular matrices
    back = jax.vmap(partial(solve_lower, found.matrix))(stayed - found.shift[None])
    log_volume = jnp.sum(jnp.log(jnp.diagonal(found.matrix)))
    draws = jnp.concatenate([moved, stayed])
    own = jnp.concatenate([log_target(moved), before[half:]])
    other = jnp.concatenate([before[:half], log_target(back)]) - log_volume
    log_lik_there = log_lik(draws)
    log_weights, k_hat = _weights(own, log_lik_there, jnp.logaddexp(own, other))
    # a mixture's weights are at most twice those of the moved draws, so their tail is no heavier
    return logsumexp(log_weights + log_lik_there), jnp.minimum(k_hat, found.k_hat)


def _weights(log_target: Array, log_lik: Array, log_proposal: Array) -> tuple[Array, Array]:
    """Smoothed log weights target / (likelihood proposal), and k-hat, which rounding alone doesn't raise."""
    log_weights = log_target - log_lik - log_proposal
    smooth = psis(log_weights)
    largest = jax.lax.top_k(log_weights, tail_length(len(log_weights), 1.0) + 1)[0]
    terms = jnp.stack([log_target, log_lik, log_proposal])
    size = jnp.max(jnp.where(jnp.isfinite(terms), jnp.abs(terms), 1))
    rounding = 16 * jnp.finfo(log_weights.dtype).eps * size
    return smooth.log_weights, jnp.where(
        largest[0] - largest[-1] <= rounding, -jnp.inf, smooth.k_hat
    )
