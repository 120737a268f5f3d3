"""A normal whose observations carry known noise: measurements with error bars."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.data import DataLike
from likelax.families.base import finite, match_weights
from likelax.families.normal import Normal
from likelax.families.normal_inverse_gamma import NormalInverseGamma
from likelax.families.regression import split_pair, split_pair_host
from likelax.model import Model, pytree
from likelax.numerics.checks import match_inputs
from likelax.one_program import one_program
from likelax.statistics import Moments, pool_scatter, scalar_moments


@pytree
class NoisyNormal(Model[Moments, NormalInverseGamma]):
    """value ~ Normal(loc, sqrt(scale^2 + noise)), the noise a variance known for each observation

    Data are pairs (values (...), variances (...)) of observations of a quantity that is
    Normal(loc, scale), measured with that noise; a variance of 0 is an exact measurement.
    `e_step` gives the expected moments of the quantity, so `m_step` is a step of EM: fit with
    `fit.em`. Its prior is that of a `Normal`. A value that was not seen, as in
    `(Masked(values, observed), variances)`, adds nothing.

    Float32: log density within 1e-6 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      loc: scalar, the mean of the quantity.
      scale: positive scalar, its standard deviation.

    Source: Bovy, Hogg & Roweis (2011), Extreme deconvolution, Annals of Applied Statistics 5,
    1657-1677.

    Examples:
      >>> model = NoisyNormal(0.0, 3.0)
      >>> print(f"{model.log_prob((0.0, 16.0)):.4f} {Normal(0.0, 5.0).log_prob(0.0):.4f}")
      -2.5284 -2.5284
    """

    spread: ClassVar[tuple[str, ...]] = ("scale",)

    loc: Array
    scale: Array = constrained(positive)

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log density of the values given their variances, (...), nats; 0 where not seen.

        Raises:
          ValueError: unless x is a pair of equal shapes.
        """
        values, noise, seen = self._pair(x)
        log_prob = self._observed(noise).log_prob(values)
        return log_prob if seen is None else jnp.where(seen, log_prob, 0)

    def sample(
        self, key: Array, shape: Sequence[int] = (), inputs: DataLike | None = None
    ) -> DataLike:
        """Pairs (drawn values, variances).

        Args:
          key: random key.
          shape: of the draws.
          inputs: the variances, of this shape.
        Raises:
          ValueError: without variances, or for another shape.
        """
        if inputs is None:
            raise ValueError("NoisyNormal.sample: pass inputs=..., the variances, of shape `shape`")
        noise, _ = numerics.as_float(inputs, self.loc)
        match_inputs("NoisyNormal.sample", noise, shape, ())
        loc, scale = numerics.as_float(self.loc, jnp.sqrt(self._total(noise)))
        return loc + scale * jax.random.normal(key, scale.shape, scale.dtype), noise

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """`sample`."""
        return self.sample(key, shape, inputs)

    def mean(self) -> Array:
        """loc, whatever the noise."""
        return jnp.asarray(self.loc)

    def variance(self, inputs: DataLike | None = None) -> Array:
        """scale^2 + variances, for variances of any shape.

        Raises:
          TypeError: without variances.
        """
        if inputs is None:
            raise TypeError("NoisyNormal.variance: it needs the variances of the noise")
        return self._total(inputs)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[Moments, Array]:
        """Expected moments of the quantity itself and the log probability, summed with weights.

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        values, noise, seen = self._pair(x)
        log_prob = self._observed(noise).log_prob(values)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        if seen is not None:
            weights = jnp.where(seen, weights, 0)
        values, noise, loc, scale = numerics.as_float(values, noise, self.loc, self.scale)
        kept = weights != 0
        values, noise = jnp.where(kept, values, loc), jnp.where(kept, noise, 0)
        # the share of a gap that is the quantity's own: 1 without noise
        share = numerics.divide(scale**2, scale**2 + noise, 1.0)
        moments = scalar_moments(loc + share * (values - loc), weights, loc)
        spread = jnp.sum(weights * share * noise)
        stats = Moments(moments.weight, moments.mean, moments.scatter + spread)
        return stats, numerics.weighted_sum(weights, log_prob)

    def m_step(self, stats: Moments, prior: NormalInverseGamma | None = None) -> Self:
        """That of a `Normal` from the expected moments. prior: a `NormalInverseGamma`, or None."""
        fitted = self._normal().m_step(stats, prior)
        return type(self)(fitted.loc, fitted.scale)

    def expected_log_prob(self, stats: Moments) -> Array:
        """Expected log density of the quantity, nats: what `m_step` maximises."""
        return self._normal().expected_log_prob(stats)

    def log_prior(self, prior: NormalInverseGamma | None) -> Array:
        """Log density of (loc, scale^2) under the prior, nats; 0 without one."""
        return self._normal().log_prior(prior)

    def pool(self, stats: Moments) -> Moments:
        """Moments of K models, each with its share of the total scatter."""
        return pool_scatter(stats)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where value and variance are finite, and the variance is not negative; or not seen."""
        values, noise = split_pair_host(x)
        return finite(values) & finite(noise) & (noise >= 0)

    def _normal(self) -> Normal:
        return Normal(self.loc, self.scale)

    def _observed(self, noise: Array) -> Normal:
        return Normal(self.loc, jnp.sqrt(self._total(noise)))

    def _total(self, noise: Any) -> Array:
        noise, scale = numerics.as_float(noise, self.scale)
        return scale**2 + noise

    def _pair(self, x: DataLike) -> tuple[Array, Array, Array | None]:
        (values, seen), (noise, known) = split_pair("NoisyNormal", x, ("values", "variances"))
        values, noise, _ = numerics.as_float(values, noise, self.loc)
        if values.shape != noise.shape:
            raise ValueError(
                "NoisyNormal: values and variances of x must have one shape; "
                f"got {values.shape} and {noise.shape}"
            )
        if known is not None:
            seen = known if seen is None else seen & known
        if seen is not None:
            noise = jnp.where(seen, noise, 1)
        return values, noise, seen
