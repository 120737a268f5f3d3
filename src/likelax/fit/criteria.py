"""Information criteria, which weigh the fit of a model against its size; lower is better."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, check_data, convert
from likelax.families.base import match_weights
from likelax.mixture import Mixture
from likelax.model import Density
from likelax.numerics import weighted_sum
from likelax.numerics.checks import check_values, checked
from likelax.parameters import num_parameters


@checked()
def aic(model: Density, x: DataLike, *, weights: ArrayLike | None = None) -> Array:
    """Akaike's criterion 2 P - 2 log p(x), with P = `num_parameters(model)`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a model at its maximum likelihood; `jax.vmap` over a batch of them.
      x: the data that it was fitted to.
      weights: one weight for each observation, or None for ones.
    Returns:
      Scalar.
    Raises:
      ValueError: for empty data, a NaN that is not declared missing, or weights that are negative,
        all zero, or of another shape than `model.log_prob(x)`.
    Source: Akaike (1974), IEEE Transactions on Automatic Control 19, 716-723.

    Examples:
      >>> from likelax.families import Normal
      >>> print(f"{aic(Normal(0.0, 1.0), jnp.zeros(2)):.4f}")
      7.6758
    """
    log_prob, _, free = _counts(model, x, weights)
    return 2 * free - 2 * log_prob


@checked()
def bic(model: Density, x: DataLike, *, weights: ArrayLike | None = None) -> Array:
    """Schwarz's criterion P log N - 2 log p(x), with P = `num_parameters(model)`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model: a model at its maximum likelihood; `jax.vmap` over a batch of them.
      x: the data that it was fitted to.
      weights: one weight for each observation, or None for ones.
    Returns:
      Scalar. N is the number of observations that `model.log_prob(x)` has, or the sum of the
      weights; for an `HMM` the number of steps without padding.
    Raises:
      ValueError: for empty data, a NaN that is not declared missing, or weights that are negative,
        all zero, or of another shape than `model.log_prob(x)`.
    Source: Schwarz (1978), Annals of Statistics 6, 461-464.

    Examples:
      >>> from likelax.families import Normal
      >>> print(f"{bic(Normal(0.0, 1.0), jnp.zeros(2)):.4f}")
      5.0620
    """
    log_prob, num_rows, free = _counts(model, x, weights)
    return free * jnp.log(num_rows) - 2 * log_prob


@checked()
def icl(model: Mixture, x: DataLike, *, weights: ArrayLike | None = None) -> Array:
    """Integrated completed likelihood: `bic` plus twice the entropy of the responsibilities.

    It prefers components that are far apart, while `bic` prefers a density that fits.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      model, x, weights: as for `bic`.
    Returns:
      Scalar.
    Raises:
      ValueError: for empty data, a NaN that is not declared missing, or weights that are negative,
        all zero, or of another shape than `model.log_prob(x)`.
    Source: Biernacki, Celeux & Govaert (2000), IEEE PAMI 22, 719-725.

    Examples:
      >>> from likelax.families import Normal
      >>> model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-9.0, 9.0]), jnp.ones(2)))
      >>> x = jnp.array([-9.0, 9.0])
      >>> print(icl(model, x) - bic(model, x))
      0.0
    """
    entropy = model.responsibility_entropy(x)
    each = match_weights(weights, entropy.shape, entropy.dtype)
    return bic(model, x, weights=weights) + 2 * weighted_sum(each, entropy)


def _counts(model: Density, x: DataLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """(log p(x), number of observations, number of parameters)."""
    x = convert("x", x)
    check_data("x", x)
    log_prob = model.log_prob(x)
    weights = match_weights(weights, log_prob.shape, log_prob.dtype)
    check_values("weights", weights, lambda w: (w >= 0) & np.isfinite(w), "finite and not negative")
    num_rows = weighted_sum(weights, model.num_observations(x))
    check_values("the sum of weights", num_rows, lambda n: n > 0, "positive")
    return weighted_sum(weights, log_prob), num_rows, num_parameters(model).astype(log_prob.dtype)
