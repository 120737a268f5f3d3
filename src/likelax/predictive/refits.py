"""Held-out densities by fitting again: K-fold cross-validation, and leaving the future out."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax.monte_carlo._psis import psis
from likelax.numerics import as_array, logsumexp
from likelax.numerics.checks import check_function, check_key, check_number, check_size
from likelax.predictive.score import Elpd, elpd_of

M = TypeVar("M")


class KFold(NamedTuple):
    """Held-out log predictive density by K-fold cross-validation, in nats, higher is better.

    Attributes:
      value: scalar, the sum of the pointwise values.
      standard_error: scalar, of the value.
      pointwise: (N,) log density of each row by the fit that had not seen it.
      fold: (N,) integers, the fold that each row is in.
      fits: what `fit` returned, stacked over the K folds; look at its status, if it has one.
    """

    value: Array
    standard_error: Array
    pointwise: Array
    fold: Array
    fits: object


def k_fold(
    key: Array,
    fit: Callable[[Array], M],
    log_prob: Callable[[M], Array],
    *,
    num_rows: int,
    num_folds: int = 10,
) -> KFold:
    """K-fold cross-validation: fit without each fold in turn, and score it.

    The folds are fitted as one batch. Rows are left out by weights of zero, so that all fits have one
    shape and one program.

    Float32: the values are those that `log_prob` returns; their sum adds its own rounding.

    Args:
      key: a typed key, which assigns the rows to folds whose sizes differ by one at most.
      fit: weights (N,) of the rows, zeros and ones -> a fitted model, or anything else that can be
        stacked, such as a `Fit`.
      log_prob: what `fit` returned -> (N,) the log density of every row, nats.
      num_rows: N.
      num_folds: K, from 2 to N; N leaves out one row at a time.
    Returns:
      `KFold`, which `compare` takes.
    Raises:
      ValueError: if num_folds is not in 2..N, or log_prob returns another shape.
    Source: Stone (1974), Journal of the Royal Statistical Society B 36; Vehtari, Gelman, Gabry (2017).

    Examples:
      >>> from likelax import Normal
      >>> from likelax.fit import mle
      >>> x = jnp.array([1.0, 2.0, 4.0, 5.0])
      >>> result = k_fold(
      ...     jax.random.key(0),
      ...     lambda weights: mle(Normal(0.0, 1.0), x, weights=weights),
      ...     lambda fitted: fitted.log_prob(x),
      ...     num_rows=4,
      ...     num_folds=2,
      ... )
      >>> result.pointwise.shape, result.fits.loc.shape
      ((4,), (2,))
    """
    check_key(key)
    check_function("fit", fit)
    check_function("log_prob", log_prob)
    check_size("num_rows", num_rows)
    check_size("num_folds", num_folds, 2)
    if num_folds > num_rows:
        raise ValueError(f"num_folds must be at most num_rows = {num_rows}, got {num_folds}")
    fold = jax.random.permutation(key, jnp.arange(num_rows) % num_folds)

    def held_out(number: Array) -> tuple[M, Array]:
        fitted = fit((fold != number).astype(jnp.zeros(()).dtype))
        return fitted, _row_scores("k_fold", log_prob(fitted), num_rows)

    fits, scores = jax.vmap(held_out)(jnp.arange(num_folds))
    total = elpd_of(jnp.take_along_axis(scores, fold[None], axis=0)[0])
    return KFold(*total, fold, fits)


def leave_future_out(
    fit: Callable[[Array], M],
    log_increments: Callable[[M], Array],
    *,
    num_steps: int,
    first: int,
    num_ahead: int = 1,
    every: int = 1,
    batch_size: int = 8,
) -> Elpd:
    """Predict the next steps of a series, from every step on, by fits that saw only the past.

    pointwise[i] = log p(x_t, ..., x_t+num_ahead-1 | x_0..x_t-1), t = first + i, by the model
    fitted to x_0..x_s-1, where s <= t is the last step at which it was fitted

    Float32: the values are sums of what `log_increments` returns, which add their own rounding.

    Args:
      fit: n, a scalar integer -> a model fitted to the first n steps. Leave out the others by weights
        of zero or, for hidden Markov models, by `Sequences(x[None], n[None])`: the shape must not
        depend on n.
      log_increments: a fitted model -> (T,) log p(x_t | x_0..x_t-1), nats: `log_increments` of
        `HMM.filter(x)`, or `log_prob` of rows that are independent given the model.
      num_steps: T.
      first: steps that the first fit sees, at least 1.
      num_ahead: how many steps are predicted at a time; first + num_ahead is at most T.
      every: fit again after so many steps.
      batch_size: fits that are computed side by side.
    Returns:
      `Elpd` with T - first - num_ahead + 1 pointwise values. For num_ahead above 1 these overlap, and
      the standard error is computed from blocks of num_ahead of them.
    Raises:
      ValueError: if a number is out of range, or log_increments returns another shape.
    Source: Buerkner, Gabry, Vehtari (2020), Journal of Statistical Computation and Simulation 90.

    Examples:
      >>> from likelax import Normal
      >>> from likelax.fit import mle
      >>> x = jnp.array([1.0, 2.0, 4.0, 5.0, 3.0])
      >>> result = leave_future_out(
      ...     lambda n: mle(Normal(0.0, 1.0), x, weights=jnp.where(jnp.arange(5) < n, 1.0, 0.0)),
      ...     lambda model: model.log_prob(x),
      ...     num_steps=5,
      ...     first=3,
      ... )
      >>> result.pointwise.shape
      (2,)
    """
    check_function("fit", fit)
    check_function("log_increments", log_increments)
    check_size("every", every)
    check_size("batch_size", batch_size)
    num_origins = _num_origins(num_steps, first, num_ahead)

    def scores(n: Array) -> Array:
        return _row_scores("leave_future_out", log_increments(fit(n)), num_steps)

    ends = jnp.arange(first, first + num_origins, every)
    each = jax.lax.map(scores, ends, batch_size=batch_size)
    origins = jnp.arange(num_origins)
    ahead = first + origins[:, None] + jnp.arange(num_ahead)[None]
    return elpd_of(
        jnp.sum(each[(origins // every)[:, None], ahead], axis=1),
        block_size=min(num_ahead, num_origins),
    )


class FutureOut(NamedTuple):
    """Leave-future-out log predictive density from draws of a few fits.

    Attributes:
      value: scalar, the sum of the pointwise values, nats.
      standard_error: scalar, of the value.
      pointwise: (P,) log p of the next steps given the past, estimated.
      k_hat: (P,) of the importance weights from the last fit: of one more step on, where they failed and the
        model was fitted again.
      refitted: (P,) whether the model was fitted again there.
    """

    value: Array
    standard_error: Array
    pointwise: Array
    k_hat: Array
    refitted: Array


def psis_leave_future_out(
    log_lik: Callable[[Array], Array],
    *,
    num_steps: int,
    first: int,
    num_ahead: int = 1,
    threshold: float = 0.7,
) -> FutureOut:
    """`leave_future_out` with few fits: draws of the last fit are reweighted by the steps since then.

    Where the k-hat of these weights passes the threshold, the model is fitted again to all the past.

    Float32: the values are sums of what `log_lik` returns, which add their own rounding.

    Args:
      log_lik: n, a scalar integer -> (S, T) log p(x_t | x_0..x_t-1, draw s), nats, of draws from
        the posterior given the first n steps. The shape must not depend on n, as in `leave_future_out`.
      num_steps: T.
      first: steps that the first fit sees, at least 1.
      num_ahead: how many steps are predicted at a time; first + num_ahead is at most T.
      threshold: largest k-hat without another fit. 0.7 as in `loo`; -inf fits at every step.
    Returns:
      `FutureOut` with P = T - first - num_ahead + 1 pointwise values. For num_ahead above 1 these overlap,
      and the standard error is computed from blocks of num_ahead of them.
    Raises:
      ValueError: if a number is out of range, or log_lik returns another shape.
    Source: Buerkner, Gabry, Vehtari (2020), Journal of Statistical Computation and Simulation 90.

    Examples:
      >>> x = jnp.array([0.3, -0.2, 0.8, 0.1, 0.4, -0.6])
      >>> def log_lik(n):  # a normal of unknown mean, with a flat prior
      ...     past = jnp.where(jnp.arange(6) < n, x, 0)
      ...     z = jax.random.normal(jax.random.key(0), (1000, 1))
      ...     size = n.astype(float)
      ...     draws = (jnp.sum(past) + z * jnp.sqrt(size)) / size
      ...     return -((x[None] - draws) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2
      >>> result = psis_leave_future_out(log_lik, num_steps=6, first=3)
      >>> result.pointwise.shape, result.refitted.tolist()
      ((3,), [False, False, False])
    """
    check_function("log_lik", log_lik)
    check_number("threshold", threshold, lambda v: v == v, "a number")
    num_origins = _num_origins(num_steps, first, num_ahead)

    def fitted(n: Array) -> Array:
        scores = as_array("log_lik", log_lik(n))
        if scores.ndim != 2 or scores.shape[1] != num_steps:
            raise ValueError(
                f"psis_leave_future_out: log_lik must return shape (S, {num_steps}), one column for "
                f"each step, got {scores.shape}"
            )
        return scores

    def predict(state: tuple[Array, Array], t: Array) -> Any:
        scores, log_weights = state
        smooth = psis(log_weights)
        failed = (smooth.k_hat > threshold) & (t > first)

        def again() -> tuple[Array, Array]:
            new = fitted(t)
            return new, jnp.zeros_like(new[:, 0])

        def reweighted() -> tuple[Array, Array]:
            # equal weights have no tail to smooth
            return scores, jnp.where(jnp.all(log_weights == 0), log_weights, smooth.log_weights)

        scores, smoothed = jax.lax.cond(failed, again, reweighted)
        ahead = jnp.sum(jax.lax.dynamic_slice_in_dim(scores, t, num_ahead, axis=1), axis=1)
        value = logsumexp(smoothed + ahead) - logsumexp(smoothed)
        seen = jax.lax.dynamic_index_in_dim(scores, t, axis=1, keepdims=False)
        log_weights = jnp.where(failed, 0, log_weights) + seen
        return (scores, log_weights), (value, smooth.k_hat, failed)

    start = fitted(jnp.asarray(first))
    origins = first + jnp.arange(num_origins)
    _, (pointwise, k_hat, refitted) = jax.lax.scan(
        predict, (start, jnp.zeros_like(start[:, 0])), origins
    )
    k_hat = k_hat.at[0].set(0)  # equal weights
    total = elpd_of(pointwise, block_size=min(num_ahead, num_origins))
    return FutureOut(total.value, total.standard_error, pointwise, k_hat, refitted)


def _num_origins(num_steps: int, first: int, num_ahead: int) -> int:
    check_size("num_steps", num_steps)
    check_size("first", first)
    check_size("num_ahead", num_ahead)
    number = num_steps - first - num_ahead + 1
    if number < 1:
        raise ValueError(
            f"first + num_ahead must be at most num_steps = {num_steps}, got {first} + {num_ahead}"
        )
    return number


def _row_scores(caller: str, scores: Array, num_rows: int) -> Array:
    scores = as_array("log_prob", scores)
    if scores.shape != (num_rows,):
        raise ValueError(
            f"{caller}: the log densities must have shape ({num_rows},), one for each row or step, "
            f"got {scores.shape}"
        )
    return scores
