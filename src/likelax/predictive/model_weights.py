"""Weights of models for a mean of their predictions: stacking, and pseudo Bayesian model averaging."""

from collections.abc import Mapping

import jax
import numpy as np
from jax import Array

from likelax.numerics.checks import check_key, check_size
from likelax.predictive.score import Pointwise, check_results


def stacking_weights(results: Mapping[str, Pointwise]) -> dict[str, float]:
    """Weights of models for which the mixture of their predictions has the highest density.

    maximise sum_n log sum_k w[k] exp(pointwise[k, n]) over weights that sum to one

    The maximum is found to 1e-10 nats a row, in float64 on the host.

    Args:
      results: by name, for the same observations in the same order: from `loo`, or held out.
    Returns:
      A weight for each name. A model that adds nothing to the others has weight exactly zero. Rows
      that no model thinks possible are left out.
    Raises:
      TypeError: if results is not a dict of results.
      ValueError: if there are no results, the numbers of observations differ, or a value is NaN.
    Float32: the values of `pointwise` are taken as they are.
    Source: Yao, Vehtari, Simpson, Gelman (2018), Bayesian Analysis 13.

    Examples:
      >>> from likelax.predictive import elpd_of
      >>> a, b = elpd_of(jnp.log(jnp.array([0.8, 0.2]))), elpd_of(jnp.log(jnp.array([0.2, 0.8])))
      >>> {name: round(weight, 4) for name, weight in stacking_weights({"a": a, "b": b}).items()}
      {'a': 0.5, 'b': 0.5}
    """
    scores = _scores(results)
    scores = scores[np.max(scores, axis=1) > -np.inf]
    density = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    weights = _maximize(density) if len(density) else np.full(len(results), 1 / len(results))
    return dict(zip(results, weights.tolist(), strict=True))


def pseudo_bma_weights(
    results: Mapping[str, Pointwise], *, key: Array | None = None, num_draws: int = 1000
) -> dict[str, float]:
    """Weights of models in proportion to exp(sum of their pointwise values).

    With a key, they are averaged over draws of the Bayesian bootstrap of the rows (pseudo-BMA+), which
    keeps them from zero and one where few rows decide. Prefer `stacking_weights` unless the models are
    very similar or the rows few.

    Args:
      results: by name, for the same observations in the same order.
      key: a typed key, or None: no bootstrap.
      num_draws: of the bootstrap.
    Returns:
      A weight for each name.
    Raises:
      TypeError: if results is not a dict of results.
      ValueError: if there are no results, the numbers of observations differ, a value is NaN, or
        no model thinks the data possible.
    Float32: the values of `pointwise` are taken as they are.
    Source: Yao, Vehtari, Simpson, Gelman (2018), Bayesian Analysis 13.

    Examples:
      >>> from likelax.predictive import elpd_of
      >>> a, b = elpd_of(jnp.array([-1.0, -1.0])), elpd_of(jnp.array([-1.5, -1.5]))
      >>> {name: round(weight, 4) for name, weight in pseudo_bma_weights({"a": a, "b": b}).items()}
      {'a': 0.7311, 'b': 0.2689}
      >>> weights = pseudo_bma_weights({"a": a, "b": b}, key=jax.random.key(0))
      >>> round(weights["a"], 2)  # every row says the same
      0.73
    """
    scores = _scores(results)
    num_rows = len(scores)
    shares = np.full((1, num_rows), 1 / num_rows)
    if key is not None:
        check_key(key)
        check_size("num_draws", num_draws)
        raw = np.asarray(jax.random.exponential(key, (num_draws, num_rows)), float)
        shares = raw / raw.sum(axis=1, keepdims=True)
    possible = np.all(scores > -np.inf, axis=0)
    if not possible.any():
        raise ValueError("results: every model has a row of log density -inf, so none has a weight")
    totals = num_rows * shares @ np.where(possible, scores, 0)
    totals = np.where(possible, totals - totals[:, possible].max(axis=1, keepdims=True), -np.inf)
    weights = np.exp(totals)
    weights = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
    return dict(zip(results, weights.tolist(), strict=True))


def _scores(results: Mapping[str, Pointwise]) -> np.ndarray:
    """(N, K) the pointwise values in float64."""
    check_results(results)
    columns = [np.asarray(result.pointwise, float) for result in results.values()]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1 or not columns[0].size:
        raise ValueError(
            "results must score the same rows, one or more, got values of shape "
            f"{[column.shape for column in columns]}"
        )
    scores = np.stack(columns, axis=1)
    if np.isnan(scores).any():
        name = list(results)[int(np.argmax(np.isnan(scores).any(axis=0)))]
        raise ValueError(f"results[{name!r}] has pointwise values that are NaN")
    return scores


def _maximize(density: np.ndarray) -> np.ndarray:
    """The weights (K,) with the highest mean log of density @ weights; density is (N, K).

    Newton's steps, each a least squares problem with weights that are not negative. The
    objective is concave: where no slope is above 1 + e, at most e nats a row are missing.

    Source: Kim, Carbonetto, Stephens, Anitescu (2020), Journal of Computational and Graphical
    Statistics 29.
    """
    weights = np.full(density.shape[1], 1 / density.shape[1])

    def objective(w: np.ndarray) -> float:
        with np.errstate(divide="ignore"):
            return float(np.mean(np.log(density @ w)))

    for _ in range(1000):
        share = density / (density @ weights)[:, None]
        slope = share.mean(axis=0)
        if slope.max() < 1 + 1e-10:
            break
        # the quadratic with this slope and bend is |share @ w - 2|^2; the last row holds the sum at one
        q, r = np.linalg.qr(share / len(share) ** 0.5)
        rows = np.vstack([r, np.full_like(weights, 1e3)])
        step = _least_squares(rows, np.append(2 * q.sum(axis=0) / len(share) ** 0.5, 1e3))
        step = step / step.sum() - weights
        # a step of EM never falls; Newton's is shortened until it does no worse
        best = weights * slope
        least = objective(best)
        for length in 0.5 ** np.arange(20):
            if objective(weights + length * step) >= least:
                best = weights + length * step
                break
        weights = best / best.sum()
    return weights


def _least_squares(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The w >= 0 for which |rows @ w - target| is least, by active sets.

    Source: Lawson, Hanson (1974), Solving Least Squares Problems, algorithm NNLS.
    """
    size = rows.shape[1]
    found, free = np.zeros(size), np.zeros(size, bool)
    for _ in range(10 * size):
        slope = rows.T @ (target - rows @ found)
        slope[free] = -np.inf
        if slope.max() <= 1e-12 * np.linalg.norm(target) * np.linalg.norm(rows):
            break
        free[np.argmax(slope)] = True
        while True:
            goal = np.zeros(size)
            goal[free] = np.linalg.lstsq(rows[:, free], target, rcond=None)[0]
            below = free & (goal <= 0)
            if not below.any():
                break
            # as far as the first of them reaches zero, which is held there
            gap = (found - goal)[below]
            lengths = found[below] / np.where(gap > 0, gap, 1)
            found = found + lengths.min() * (goal - found)
            free &= ~below | (found > 1e-15)
            found[~free] = 0
        found = goal
    return found
