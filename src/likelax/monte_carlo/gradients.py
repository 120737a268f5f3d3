"""Gradients of expectations whose draws have no useful derivative.

If the draws are differentiable, `jax.grad` of `expectation(...).value` is the pathwise gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.model import Density
from likelax.monte_carlo.estimate import Estimate, check_num_samples, mean
from likelax.numerics import as_float, named_floats
from likelax.numerics.checks import checked
from likelax.numerics.draws import poisson


@checked(model=None)
def score_expectation(
    key: Array, model: Density, f: Callable[[Any], Array], num_samples: int
) -> Estimate:
    """E[f(X)] whose gradient is the score estimator with a leave-one-out baseline.

    grad = (1/S) sum_s (f(x_s) - mean of the other f) grad log p(x_s), plus grad f

    Args:
      key: a typed key.
      model: with `sample(key, shape)` and `log_prob(x)`; the gradient is with respect to its
        parameters. Draws may be discrete.
      f: one draw -> scalar.
      num_samples: S, at least 2.
    Returns:
      An `Estimate`; differentiate its `value` with respect to the parameters of the model or of f.
    Raises:
      ValueError: num_samples below 2, or f not scalar.
    Source: Mohamed, Rosca, Figurnov and Mnih (2020), Monte Carlo gradient estimation, 4.2.

    Examples:
      >>> from likelax.families import Bernoulli
      >>> by_score = lambda p: score_expectation(
      ...     jax.random.key(0), Bernoulli(p), lambda x: 3.0 * x.astype(float), 20_000).value
      >>> bool(abs(jax.grad(by_score)(0.3) - 3) < 0.1)
      True
    """
    check_num_samples(num_samples, least=2)
    draws = jax.tree.map(jax.lax.stop_gradient, model.sample(key, (num_samples,)))
    values, log_probs = as_float(jax.vmap(f)(draws), jax.vmap(model.log_prob)(draws))
    if values.shape != (num_samples,) or log_probs.shape != (num_samples,):
        raise ValueError(
            "f and model.log_prob must return a scalar for one draw, got shapes "
            f"{values.shape[1:]} and {log_probs.shape[1:]}."
        )
    signal = (num_samples * values - jnp.sum(values)) / (num_samples - 1)
    score = log_probs - jax.lax.stop_gradient(log_probs)
    return mean(values + jax.lax.stop_gradient(signal) * score)


@checked()
def poisson_rate_gradient(
    key: Array, rate: ArrayLike, f: Callable[[Array], Any], num_samples: int
) -> Estimate:
    """d E[f(X)] / d rate for X ~ Poisson(rate), measure-valued: E[f(X + 1) - f(X)], exactly.

    Args:
      key: a typed key.
      rate: scalar, non-negative; 0 is exact.
      f: one count -> an array or a pytree; it needs no gradient.
      num_samples: S.
    Returns:
      An `Estimate` of the derivative; NaN for a rate below zero or of counts beyond 2^31.
    Raises:
      ValueError: num_samples below 1, or a rate that is no scalar.
    Source: Mohamed et al. (2020), section 6.

    Examples:
      >>> print(poisson_rate_gradient(jax.random.key(0), 2.0, lambda x: 5 * x, 10).value)
      5.0
    """
    check_num_samples(num_samples)
    (rate,) = named_floats(rate=rate)
    if rate.ndim:
        raise ValueError(f"rate must be a number, got shape {rate.shape}")
    counts = poisson(key, rate, (num_samples,))
    fine = (rate >= 0) & (counts < jnp.iinfo(counts.dtype).max)  # no count follows the largest one
    gaps = _differences(f, jnp.where(fine, counts + 1, counts), counts)
    return mean(jax.tree.map(lambda gap: _where(fine, gap), gaps))


def _where(fine: Array, gap: Array) -> Array:
    """The gap (S, ...), NaN where a draw is not fine."""
    return jnp.where(fine.reshape(-1, *[1] * (gap.ndim - 1)), gap, jnp.nan)


@checked()
def normal_loc_gradient(
    key: Array, loc: ArrayLike, scale: ArrayLike, f: Callable[[Array], Any], num_samples: int
) -> Estimate:
    """d E[f(X)] / d loc for X ~ Normal(loc, scale), measure-valued; f may jump.

    E[f(loc + scale W) - f(loc - scale W)] / (scale sqrt(2 pi)), W ~ Rayleigh(1)

    Args:
      key: a typed key.
      loc, scale: scalars, scale positive.
      f: one draw -> an array or a pytree; it needs no gradient.
      num_samples: S.
    Returns:
      An `Estimate` of the derivative.
    Raises:
      ValueError: num_samples below 1, or a loc or scale that is no scalar.
    Source: Mohamed et al. (2020), section 6, table 1.

    Examples:
      >>> step = normal_loc_gradient(
      ...     jax.random.key(0), 0.0, 1.0, lambda x: (x > 0).astype(float), 1000)
      >>> print(step.value.round(4))  # the normal density at 0
      0.3989
    """
    check_num_samples(num_samples)
    loc, scale = named_floats(loc=loc, scale=scale)
    if loc.ndim or scale.ndim:
        raise ValueError(f"loc and scale must be numbers, got shapes {loc.shape} and {scale.shape}")
    shift = scale * jax.random.rayleigh(key, jnp.ones((), scale.dtype), (num_samples,))
    factor = 1 / (scale * jnp.sqrt(2 * jnp.pi).astype(scale.dtype))
    gaps = _differences(f, loc + shift, loc - shift)
    return mean(jax.tree.map(lambda gap: factor * gap, gaps))


def _differences(f: Callable[[Array], Any], high: Array, low: Array) -> Any:
    def gap(a: ArrayLike, b: ArrayLike) -> Array:
        a, b = named_floats(a=a, b=b)
        return a - b

    return jax.tree.map(gap, jax.vmap(f)(high), jax.vmap(f)(low))
