"""Continuous families without a conjugate prior here: log-normal, Laplace, Weibull, von Mises."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln, i0e, i1e

from likelax import numerics
from likelax.constraints import constrained, positive
from likelax.families.base import Estimable, inside
from likelax.families.normal import Normal
from likelax.model import pytree
from likelax.numerics import newton
from likelax.numerics.special import log_zero_power
from likelax.statistics import Moments, pool_scatter

LOG_2PI = float(np.log(2 * np.pi))


@pytree
class LogNormal(Estimable[Moments]):
    """log x ~ Normal(loc, scale), x > 0

    Attributes:
      loc: scalar, mean of log x.
      scale: positive scalar, standard deviation of log x.

    Source: Gelman et al. (2013), Bayesian Data Analysis, appendix A.

    Examples:
      >>> print(f"{LogNormal(0.0, 1.0).log_prob(1.0):.4f}")
      -0.9189
    """

    spread: ClassVar[tuple[str, ...]] = ("scale",)

    loc: Array
    scale: Array = constrained(positive)

    def _normal(self) -> Normal:
        return Normal(self.loc, self.scale)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        return jnp.exp(self._normal().sample(key, shape))

    def pool(self, stats: Moments) -> Moments:
        """Moments of K models, each with the weight and scatter of all."""
        return pool_scatter(stats)

    def mean(self) -> Array:
        """exp(loc + scale^2 / 2)."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return jnp.exp(loc + scale**2 / 2)

    def variance(self) -> Array:
        """mean^2 (exp(scale^2) - 1)."""
        _, scale = numerics.as_float(self.loc, self.scale)
        return self.mean() ** 2 * jnp.expm1(scale**2)

    def expected_log_prob(self, stats: Moments) -> Array:
        """Log likelihood as a function of the moments of log x, nats."""
        return self._normal().expected_log_prob(stats) - stats.weight * stats.mean

    def _log_density(self, x: Array) -> Array:
        v, loc, scale = numerics.as_float(x, self.loc, self.scale)
        support = (v > 0) & (v < jnp.inf)
        log_x = jnp.log(jnp.where(support, v, 1))
        return inside(support, v, Normal(loc, scale)._log_density(log_x) - log_x)

    def _statistics(self, x: Array, weights: Array) -> Moments:
        (v,) = numerics.as_float(x)
        return self._normal()._statistics(numerics.safe_log(v), weights)

    def _maximum_likelihood(self, stats: Moments) -> Self:
        fitted = self._normal().m_step(stats)
        return type(self)(fitted.loc, fitted.scale)


@pytree
class LaplaceStats:
    """Statistics of a Laplace distribution about its current centre.

    Attributes:
      moments: of the data, each weight divided by the distance from the centre.
      weight: sum of the weights.
      spread: weighted sum of the distances from the centre.
    """

    moments: Moments
    weight: Array
    spread: Array


@pytree
class Laplace(Estimable[LaplaceStats]):
    """log p(x) = -|x - loc| / scale - log(2 scale)

    The maximum is the weighted median, which no fixed statistics give. `e_step` replaces each
    distance by the parabola that touches it from above, so `m_step` is a step uphill: fit with
    `fit.em`, or at once with `from_data`.

    Attributes:
      loc: scalar, the median.
      scale: positive scalar, the mean distance from it.

    Source: Hunter & Lange (2004), A tutorial on MM algorithms.

    Examples:
      >>> print(f"{Laplace(0.0, 1.0).log_prob(0.0):.4f}")
      -0.6931
    """

    loc: Array
    scale: Array = constrained(positive)

    @classmethod
    def from_data(cls, x: Array, weights: Array | None = None) -> Self:
        """Maximum likelihood in closed form: the weighted median, and the mean distance from it.

        Args:
          x: (N,).
          weights: (N,) non-negative with a positive sum, or None for ones.

        Examples:
          >>> print(Laplace.from_data(jnp.array([0.0, 1.0, 5.0])).loc)
          1.0
        """
        (x,) = numerics.as_float(x)
        w = jnp.ones_like(x) if weights is None else numerics.as_float(weights)[0].astype(x.dtype)
        order = jnp.argsort(x)
        below = jnp.cumsum(w[order])
        loc = x[order][jnp.argmax(below >= below[-1] / 2)]
        return cls(loc, jnp.sum(w * jnp.abs(x - loc)) / jnp.sum(w))

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        return loc + scale * jax.random.laplace(key, tuple(shape), loc.dtype)

    def mean(self) -> Array:
        """loc."""
        return jnp.asarray(self.loc)

    def variance(self) -> Array:
        """2 scale^2."""
        _, scale = numerics.as_float(self.loc, self.scale)
        return 2 * scale**2

    def expected_log_prob(self, stats: LaplaceStats) -> Array:
        """A lower bound of the log likelihood that touches it at the model of the E step, nats."""
        loc, scale = numerics.as_float(self.loc, self.scale)
        spread = (stats.moments.about(loc) + stats.spread) / 2
        return -spread / scale - stats.weight * jnp.log(2 * scale)

    def _log_density(self, x: Array) -> Array:
        x, loc, scale = numerics.as_float(x, self.loc, self.scale)
        return -jnp.abs(x - loc) / scale - jnp.log(2 * scale)

    def _statistics(self, x: Array, weights: Array) -> LaplaceStats:
        x, weights, loc, scale = numerics.as_float(x, weights, self.loc, self.scale)
        distance = jnp.abs(x - loc)
        # a point on the centre would hold it there for ever
        near = scale * jnp.sqrt(jnp.finfo(x.dtype).eps)
        moments = Normal(loc, scale)._statistics(x, weights / jnp.maximum(distance, near))
        return LaplaceStats(moments, jnp.sum(weights), numerics.weighted_sum(weights, distance))

    def _maximum_likelihood(self, stats: LaplaceStats) -> Self:
        loc, scale = numerics.as_float(self.loc, self.scale)
        seen = stats.weight > 0
        new = jnp.where(seen, stats.moments.mean, loc)
        spread = (stats.moments.about(new) + stats.spread) / 2
        return type(self)(new, numerics.divide(spread, stats.weight, scale))


@pytree
class WeibullStats:
    """Statistics of a Weibull distribution, with y = log(x / scale) at the current parameters.

    Attributes:
      weight: sum of the weights.
      logs: weighted sum of y.
      powers: weighted sum of z = exp(shape y).
      first: weighted sum of z y.
      second: weighted sum of z y^2.
    """

    weight: Array
    logs: Array
    powers: Array
    first: Array
    second: Array


@pytree
class Weibull(Estimable[WeibullStats]):
    """p(x) = (shape / scale) (x / scale)^(shape - 1) exp(-(x / scale)^shape), x >= 0

    `m_step` is one Newton step on the likelihood of the shape, which has a single maximum:
    fit with `fit.em`.

    Attributes:
      shape: positive scalar. Both by keyword only: libraries differ in their order.
      scale: positive scalar.

    Source: Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, 21.

    Examples:
      >>> print(Weibull(shape=1.0, scale=1.0).log_prob(1.0))
      -1.0
    """

    _: dataclasses.KW_ONLY
    shape: Array = constrained(positive)
    scale: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape `shape`."""
        power, scale = numerics.as_float(self.shape, self.scale)
        wait = jax.random.exponential(key, tuple(shape), scale.dtype)
        return scale * wait ** (1 / power)

    def mean(self) -> Array:
        """scale Gamma(1 + 1 / shape)."""
        k, scale = numerics.as_float(self.shape, self.scale)
        return scale * jnp.exp(gammaln(1 + 1 / k))

    def variance(self) -> Array:
        """scale^2 (Gamma(1 + 2 / shape) - Gamma(1 + 1 / shape)^2)."""
        k, _ = numerics.as_float(self.shape, self.scale)
        return self.mean() ** 2 * jnp.expm1(gammaln(1 + 2 / k) - 2 * gammaln(1 + 1 / k))

    def expected_log_prob(self, stats: WeibullStats) -> Array:
        """Log likelihood at the model whose `e_step` gave the statistics, nats."""
        k, scale = numerics.as_float(self.shape, self.scale)
        constant = jnp.log(k) - jnp.log(scale)
        return stats.weight * constant + (k - 1) * stats.logs - stats.powers

    def _log_density(self, x: Array) -> Array:
        v, k, scale = numerics.as_float(x, self.shape, self.scale)
        interior = (v > 0) & (v < jnp.inf)
        y = jnp.log(jnp.where(interior, v, 1)) - jnp.log(scale)
        constant = jnp.log(k) - jnp.log(scale)
        density = constant + (k - 1) * y - jnp.exp(k * y)
        edge = constant + log_zero_power(k - 1)
        return inside((v >= 0) & (v < jnp.inf), v, jnp.where(interior, density, edge))

    def _statistics(self, x: Array, weights: Array) -> WeibullStats:
        v, weights, k, scale = numerics.as_float(x, weights, self.shape, self.scale)
        y = numerics.safe_log(v) - jnp.log(scale)
        z = jnp.exp(k * y)
        zero = y == -jnp.inf
        # z y and z y^2 vanish where x is zero; the sum of y does not, and has no maximum then
        bounded = jnp.where(zero, 0, y)
        sums = [numerics.weighted_sum(weights, t) for t in (y, z, z * bounded, z * bounded**2)]
        return WeibullStats(jnp.sum(weights), *sums)

    def _maximum_likelihood(self, stats: WeibullStats) -> Self:
        k, scale = numerics.as_float(self.shape, self.scale)
        seen = (stats.weight > 0) & jnp.isfinite(stats.logs) & (stats.powers > 0)
        weight, powers = jnp.where(seen, stats.weight, 1), jnp.where(seen, stats.powers, 1)
        mean = stats.first / powers
        bend = jnp.maximum(stats.second / powers - mean**2, 0)
        # with the scale at its best, the derivative by the shape t is, to first order in t - k,
        # 1 / t + logs / weight - mean - bend (t - k)
        slope = stats.logs / weight - mean + bend * k
        root = jnp.sqrt(slope**2 + 4 * bend)
        # the positive root of bend t^2 - slope t - 1, without cancelling or dividing by zero
        best = jnp.where(
            slope > 0, (slope + root) / (2 * jnp.where(slope > 0, bend, 1)), 2 / (root - slope)
        )
        new = jnp.clip(jnp.where(jnp.isnan(best), 4 * k, best), k / 4, 4 * k)
        step = new - k
        log_power = jnp.log(powers / weight) + step * mean + step**2 * bend / 2
        new_scale = scale * jnp.exp(log_power / new)
        return type(self)(shape=jnp.where(seen, new, k), scale=jnp.where(seen, new_scale, scale))


@pytree
class Direction:
    """Weight and weighted sums of cosine and sine: the statistics of angles."""

    weight: Array
    cosine: Array
    sine: Array


@pytree
class VonMises(Estimable[Direction]):
    """log p(x) = concentration cos(x - loc) - log(2 pi I0(concentration)), x an angle in radians

    Attributes:
      loc: scalar angle. Any x is taken as an angle, also beyond one turn; the density is that of
        one turn.
      concentration: non-negative scalar; 0 is uniform on the circle.

    Source: Mardia & Jupp (2000), Directional Statistics, 3.5 and 5.3; Best & Fisher (1979),
    Applied Statistics 28, 152-157.

    Examples:
      >>> print(f"{VonMises(0.0, 0.0).log_prob(1.0):.4f}")
      -1.8379
    """

    loc: Array
    concentration: Array = constrained(positive)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws in [-pi, pi] of shape `shape`, by Best and Fisher's rejection."""
        loc, kappa = numerics.as_float(self.loc, self.concentration)
        # r - 1, which would cancel for small concentrations, is kept as its own inverse scale
        tau = 1 + jnp.sqrt(1 + 4 * kappa**2)
        rho = 2 * kappa / (tau + jnp.sqrt(2 * tau))
        r_kappa = kappa * (1 + rho**2) / jnp.where(rho > 0, 2 * rho, 1)
        flat = rho <= jnp.sqrt(jnp.finfo(kappa.dtype).eps)
        r = jnp.where(flat, 1, r_kappa) / jnp.where(flat, 1, kappa)

        def propose(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, value, done = state
            key, draw = jax.random.split(key)
            u = jax.random.uniform(draw, (3, *shape), kappa.dtype)
            z = jnp.cos(jnp.pi * u[0])
            f = (1 + r * z) / (r + z)
            c = kappa * (r - f)
            accept = (c * (2 - c) - u[1] > 0) | (
                numerics.safe_log(c) - numerics.safe_log(u[1]) + 1 - c >= 0
            )
            angle = jnp.sign(u[2] - 0.5) * jnp.arccos(jnp.clip(f, -1, 1))
            return key, jnp.where(done, value, angle), done | accept

        start = (key, jnp.zeros(tuple(shape), kappa.dtype), jnp.zeros(tuple(shape), bool))
        key, angle, _ = jax.lax.while_loop(lambda s: ~jnp.all(s[2]), propose, start)
        even = jax.random.uniform(key, tuple(shape), kappa.dtype, -jnp.pi, jnp.pi)
        turned = jnp.where(flat, even, angle) + loc
        return turned - 2 * jnp.pi * jnp.round(turned / (2 * jnp.pi))

    def mean(self) -> Array:
        """The mean direction, loc as an angle in [-pi, pi]."""
        (loc,) = numerics.as_float(self.loc)
        return loc - 2 * jnp.pi * jnp.round(loc / (2 * jnp.pi))

    def variance(self) -> Array:
        """The circular variance 1 - E[cos(x - loc)] = 1 - I1 / I0, between 0 and 1."""
        _, kappa = numerics.as_float(self.loc, self.concentration)
        return 1 - i1e(kappa) / i0e(kappa)

    def expected_log_prob(self, stats: Direction) -> Array:
        """concentration (cosine cos loc + sine sin loc) - weight log(2 pi I0), nats."""
        loc, kappa = numerics.as_float(self.loc, self.concentration)
        along = stats.cosine * jnp.cos(loc) + stats.sine * jnp.sin(loc)
        return kappa * (along - stats.weight) - stats.weight * (jnp.log(i0e(kappa)) + LOG_2PI)

    def _log_density(self, x: Array) -> Array:
        x, loc, kappa = numerics.as_float(x, self.loc, self.concentration)
        # cos - 1 = -2 sin^2, which does not cancel for sharp peaks
        return -2 * kappa * jnp.sin((x - loc) / 2) ** 2 - jnp.log(i0e(kappa)) - LOG_2PI

    def _statistics(self, x: Array, weights: Array) -> Direction:
        x, weights = numerics.as_float(x, weights)
        cosine = numerics.weighted_sum(weights, jnp.cos(x))
        return Direction(jnp.sum(weights), cosine, numerics.weighted_sum(weights, jnp.sin(x)))

    def _maximum_likelihood(self, stats: Direction) -> Self:
        loc, kappa = numerics.as_float(self.loc, self.concentration)
        seen = stats.weight > 0
        length = jnp.hypot(*(jnp.where(seen, s, 1) for s in (stats.cosine, stats.sine)))
        ratio = jnp.minimum(length / jnp.where(seen, stats.weight, 2), 1)
        even, sharp = ratio <= 0, ratio >= 1
        r = jnp.where(even | sharp, 0.5, ratio)

        def objective(log_kappa: Array) -> Array:
            k = jnp.exp(log_kappa[0])
            return k * (r - 1) - jnp.log(i0e(k))

        start = jnp.log(r * (2 - r**2) / (1 - r**2))
        found = jnp.exp(newton.maximize(objective, start[None]).point[0])
        found = jnp.where(even, 0, jnp.where(sharp, jnp.inf, found))
        angle = jnp.arctan2(stats.sine, stats.cosine)
        return type(self)(jnp.where(seen, angle, loc), jnp.where(seen, found, kappa))
