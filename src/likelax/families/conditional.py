"""Rows of an elliptical distribution of which not all entries were seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics


class Completed(NamedTuple):
    """Rows with the conditional mean of a normal in place of what was not seen.

    Attributes:
      square: (...) squared distance of the entries seen from their mean, in standard deviations.
      log_det: (...) half the log determinant of their covariance.
      num_seen: (...) how many entries were seen, a float.
      filled: (..., D) the rows.
      rest: (..., D, D) conditional covariance of the entries not seen; 0 at those seen.
    """

    square: Array
    log_det: Array
    num_seen: Array
    filled: Array
    rest: Array


def complete(loc: Array, covariance: Array, values: Array, observed: Array) -> Completed:
    """Fill in the entries that were not seen.

    Args:
      loc: (D,).
      covariance: (D, D) positive definite.
      values: (..., D), finite.
      observed: (..., D) booleans.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 2.3.1.
    """
    values, loc, covariance = numerics.as_float(values, loc, covariance)
    num_dims = loc.shape[-1]

    def one(row: Array, seen: Array) -> Completed:
        both = seen[:, None] & seen[None, :]
        # the unseen block becomes the identity, which adds nothing to the determinant
        tril = numerics.cholesky(jnp.where(both, covariance, jnp.eye(num_dims, dtype=loc.dtype)))
        white = numerics.solve_lower(tril, jnp.where(seen, row - loc, 0))
        cross = jnp.where(seen[:, None] & ~seen[None, :], covariance, 0)
        half = numerics.solve_lower(tril, cross)
        filled = jnp.where(seen, row, loc + numerics.matmul(half.T, white))
        unseen = ~seen[:, None] & ~seen[None, :]
        rest = covariance - numerics.matmul(half.T, half)
        return Completed(
            jnp.sum(white**2),
            jnp.sum(jnp.log(jnp.diagonal(tril))),
            jnp.sum(seen).astype(loc.dtype),
            filled,
            jnp.where(unseen, rest, 0),
        )

    batch = values.shape[:-1]
    flat = jax.vmap(one)(values.reshape(-1, num_dims), observed.reshape(-1, num_dims))
    return Completed(*(jnp.reshape(a, batch + a.shape[1:]) for a in flat))
