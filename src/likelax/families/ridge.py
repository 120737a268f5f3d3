"""The ridge prior of regression coefficients: independent normals about zero."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.normal import LOG_2PI
from likelax.model import Density, pytree


@pytree
class RidgePrior(Density):
    """coefficients ~ Normal(0, 1 / sqrt(precision)), independently.

    The prior of the coefficients of every regression; no other parameter has one. Its log density
    is -precision |coefficients|^2 / 2 and a constant: ridge regression, or weight decay.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      precision: non-negative: a scalar, or (D,), one for each input. 0 is a flat prior, which adds
        nothing to the log density, for a constant input say.

    Source: Hoerl & Kennard (1970), Technometrics 12, 55-67; Bishop (2006), Pattern Recognition and
    Machine Learning, 3.3.

    Examples:
      >>> print(f"{RidgePrior(1.0).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    precision: Array = constrained(positive)

    @property
    def event_ndim(self) -> int:
        """Number of axes of `precision`."""
        return jnp.ndim(self.precision)

    def log_prob(self, coefficients: Any) -> Array:
        """Log density of all coefficients (D,) or (D, E) together, a scalar in nats."""
        coefficients, _ = numerics.named_floats(coefficients=coefficients, precision=self.precision)
        precision = self.matched(coefficients)
        flat = precision == 0
        each = (jnp.log(jnp.where(flat, 1, precision)) - LOG_2PI - precision * coefficients**2) / 2
        return jnp.sum(jnp.where(flat, 0, each))

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of coefficients of shape (*shape, *precision.shape)."""
        (precision,) = numerics.as_float(self.precision)
        white = jax.random.normal(key, (*shape, *precision.shape), precision.dtype)
        return white / jnp.broadcast_to(jnp.sqrt(precision), white.shape)

    def mean(self) -> Array:
        """0, in the shape of `precision`."""
        return jnp.zeros_like(*numerics.as_float(self.precision))

    def mode(self) -> Array:
        """0, in the shape of `precision`."""
        return self.mean()

    def variance(self) -> Array:
        """1 / precision."""
        (precision,) = numerics.as_float(self.precision)
        return 1 / precision

    def matched(self, coefficients: ArrayLike) -> Array:
        """The precision of each coefficient, in their shape and dtype.

        Raises:
          ValueError: unless precision is a scalar or has one entry for each input.

        Examples:
          >>> print(RidgePrior(jnp.array([1.0, 4.0])).matched(jnp.zeros((2, 2))))
          [[1. 1.]
           [4. 4.]]
        """
        (coefficients,) = numerics.named_floats(coefficients=coefficients)
        precision = jnp.asarray(self.precision, coefficients.dtype)
        if precision.ndim and precision.shape != coefficients.shape[:1]:
            raise ValueError(
                f"RidgePrior: precision must be a scalar or of shape {coefficients.shape[:1]}, as "
                f"coefficients have {coefficients.shape}; got {precision.shape}"
            )
        trailing = (1,) * (coefficients.ndim - precision.ndim)
        return jnp.broadcast_to(precision.reshape(precision.shape + trailing), coefficients.shape)
