"""What the commands need of a regression: its checklist, and its predictions."""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import checklist, files, fit, kept
from likelax.columns import Column, decode
from likelax.data import DataLike, take_mask
from likelax.families import NegativeBinomialRegression, PoissonRegression
from likelax.model import pytree

# A total count of so many times the largest mean is a Poisson distribution in 32 bits.
LIKE_POISSON = 1e6
MOST_TURNS = 100
LARGEST_COUNT = 10**7


@pytree
class Conditional:
    """A regression as the checklist takes it: its inputs have no distribution to simulate.

    Attributes:
      model: the regression.
    """

    model: Any

    def log_prob(self, x: Any) -> Array:
        """Log probability of the targets given the inputs, (...), nats."""
        return self.model.log_prob(x)

    @classmethod
    def of_constant(cls, model: Any, x: Any) -> Self:
        """The regression of the targets on a constant alone, in the shape of another.

        Args:
          model: whose first input is the constant.
          x: (inputs, targets).
        """
        first = jnp.asarray(model.coefficients)[:1]
        other = model.__class__(**{**vars(model), "coefficients": jnp.zeros_like(first)})
        pairs = (jnp.ones((len(x[1]), 1)), x[1])
        if isinstance(other, NegativeBinomialRegression):
            found = dispersed(pairs).model
        else:
            found = fit.em(other, pairs).model
        rest = jnp.zeros_like(jnp.asarray(model.coefficients)[1:])
        coefficients = jnp.concatenate([found.coefficients, rest])
        return cls(model.__class__(**{**vars(found), "coefficients": coefficients}))


def dispersed(
    x: DataLike, weights: Array | None = None, tol: float | None = None, max_steps: int = 1000
) -> fit.Fit[NegativeBinomialRegression]:
    """The negative binomial regression of maximum likelihood, its total count included.

    EM holds the total count r. Given the means it is the root of the derivative of the log likelihood,
    and the two are fitted in turn: r and the coefficients are orthogonal, so few turns are needed. Where
    the targets do not vary more than Poisson counts, r would rise without bound; it ends at a
    number that makes a Poisson regression of the model.

    Args:
      x: (inputs, targets), without missing numbers.
      weights: of the rows.
      tol, max_steps: of each EM fit, as for `fit.em`.
    Raises:
      files.DataError: for counts above 10 million.
    Source: Lawless (1987), Canadian Journal of Statistics 15, 209-225.
    """
    inputs, targets = (np.asarray(take_mask(part)[0], float) for part in x)
    rows = np.ones(len(targets)) if weights is None else np.asarray(weights, float)
    if np.max(targets, initial=0, where=rows > 0) > LARGEST_COUNT:
        raise files.DataError(f"regression:negative-binomial takes counts up to {LARGEST_COUNT}")
    options: Any = {"weights": weights, "tol": tol, "max_steps": max_steps}
    found: Any = fit.em(PoissonRegression(jnp.zeros(inputs.shape[1])), x, **options)
    if not found.usable:
        return found
    coefficients, before = found.model.coefficients, np.full(inputs.shape[1] + 1, np.inf)
    for _ in range(MOST_TURNS):
        mean = np.exp(inputs @ np.asarray(coefficients, float))
        model = NegativeBinomialRegression(
            jnp.float32(_total_count(mean, targets, rows)), coefficients
        )
        # steps whose rise 32 bits can't show, where `fit.em` would end
        coefficients = _step(model, x, weights).coefficients
        point = np.append(np.asarray(coefficients, float), np.log(model.total_count))
        if np.all(np.abs(point - before) < 1e-5):
            break
        before = point
    return fit.em(NegativeBinomialRegression(model.total_count, coefficients), x, **options)


@jax.jit
def _step(model: Any, x: DataLike, weights: Array | None) -> Any:
    return model.m_step(model.e_step(x, weights)[0])


def _total_count(mean: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The total count of maximum likelihood given the means, by bisection of its logarithm."""
    each = np.bincount(targets.astype(int), weights)
    above, whole = (each.sum() - np.cumsum(each))[:-1], np.arange(len(each) - 1)

    def slope(r: float) -> float:
        # the difference of digamma functions at r + target and at r is a sum of reciprocals
        rest = (mean - targets) / (r + mean) - np.log1p(mean / r)
        return float(np.sum(above / (r + whole)) + weights @ rest)

    most = LIKE_POISSON * mean.max()
    if weights @ ((targets - mean) ** 2 - targets) <= 0:
        return float(most)
    low, high = np.log(most) - 60, np.log(most)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) > 0 else (low, middle)
    return float(np.exp(low))


def like_poisson(model: Any, x: DataLike) -> bool:
    """Whether a fit of `dispersed` ended at a Poisson regression."""
    most = np.max(model.mean(take_mask(x[0])[0]), initial=0)
    return bool(model.total_count >= LIKE_POISSON / 2 * most)


def check(key: Array, found: kept.Kept, x: Any, heldout: Any) -> checklist.Checklist:
    """The checklist of the targets given the inputs, beside the regression on a constant."""
    decision: Any = None
    if found.named.decides:
        probs = probabilities(found, heldout)
        decision = (probs.max(axis=1), probs.argmax(axis=1) == np.asarray(heldout[1]))
    return checklist.run(
        *(key, Conditional(found.model), x, heldout, decision),
        baseline=Conditional.of_constant(found.model, x),
    )


def probabilities(found: kept.Kept, x: Any) -> np.ndarray:
    """(N, C) probability of each class; NaN for a row with a missing input."""
    mean = np.asarray(found.model.mean(_inputs(x)))
    return np.stack([1 - mean, mean], axis=1) if mean.ndim == 1 else mean


def predictions(found: kept.Kept, label: Column, x: Any) -> dict[str, np.ndarray]:
    """The most probable class and the probability of each, or the mean of the target."""
    if not found.named.decides:
        return {label.name: np.asarray(found.model.mean(_inputs(x))).reshape(len(_inputs(x)))}
    return of_classes(label, probabilities(found, x))


def of_classes(label: Column, probs: np.ndarray) -> dict[str, np.ndarray]:
    """The most probable class of each row, and the probability of each class.

    Args:
      label: whose values are the classes; without values they are numbers.
      probs: (N, C); a row of NaN has no class.
    """
    best = np.where(np.isnan(probs).any(axis=1), -1, probs.argmax(axis=1))
    names = label.values or tuple(map(str, range(probs.shape[1])))
    shares = {f"probability[{name}]": probs[:, k] for k, name in enumerate(names)}
    return {label.name: decode(label, best), **shares}


def _inputs(x: Any) -> Array:
    """(N, D) inputs, NaN where missing."""
    values, observed = take_mask(x[0])
    return values if observed is None else jnp.where(observed, values, jnp.nan)
