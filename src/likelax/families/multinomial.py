"""Counts of C values: multinomial, and its compound with a Dirichlet."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Never, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.constraints import constrained, positive, simplex
from likelax.data import DataLike
from likelax.families.base import Estimable, Family, check_event, whole
from likelax.families.dirichlet import Dirichlet
from likelax.families.simplex import check_simplex, latent_simplex
from likelax.model import pytree
from likelax.numerics.special import (
    factorial_excess,
    log_multinomial_coefficient,
    log_multinomial_term,
)
from likelax.statistics import CategoryCounts, PositiveMoments, inside_only


def _inside(x: Array, log_prob: Array, total: Array | None) -> Array:
    """log_prob where x holds counts (that add to total), -inf elsewhere, NaN at NaN."""
    fine = jnp.all((x >= 0) & whole(x), axis=-1)
    if total is not None:
        wanted, got = numerics.as_float(total, jnp.sum(x, axis=-1))
        fine = fine & (got == wanted)
    off = jnp.where(jnp.any(x != x, axis=-1), jnp.nan, -jnp.inf).astype(log_prob.dtype)
    return jnp.where(fine, log_prob, off)


def _draw_counts(key: Array, total_count: Any, probs: Array, shape: Sequence[int]) -> Array:
    """Counts (*shape, C) that add to total_count, one binomial after another."""
    n, probs = _counted("sample", total_count, probs)
    num_values = probs.shape[-1]
    probs = jnp.broadcast_to(probs, (*shape, num_values))
    rest = jnp.flip(jnp.cumsum(jnp.flip(probs, -1), -1), -1)
    share = jnp.clip(numerics.divide(probs, rest, 0.0), 0, 1).at[..., -1].set(1)

    def draw(left: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        index, p = step
        # folded in, not split beforehand: so the draw can be mapped over keys
        count = jax.random.binomial(jax.random.fold_in(key, index), left, p, tuple(shape), p.dtype)
        return left - count, count

    left = jnp.broadcast_to(n, tuple(shape))
    _, counts = jax.lax.scan(draw, left, (jnp.arange(num_values), jnp.moveaxis(share, -1, 0)))
    return jnp.moveaxis(counts, 0, -1).astype(int)


def _counted(verb: str, total_count: Any, parameter: Any) -> list[Array]:
    """(total_count, parameter) as floats.

    Raises:
      ValueError: without a total count.
    """
    if total_count is None:
        raise ValueError(f"{verb}: it needs total_count; give the model one")
    return numerics.as_float(total_count, parameter)


@pytree
class Multinomial(Family[CategoryCounts, Dirichlet]):
    """p(x) = n! / prod_c x[c]! prod_c probs[c]^x[c] for counts x (..., C) that add to n.

    In float32 the log probability of counts to 1e9 is right to 1e-5 of itself and to what one rounding
    of the probabilities changes.

    Attributes:
      probs: (C,) non-negative, sums to one; zeros are exact. Where the sum is off by more than 1e-3
        the log probability is NaN.
      total_count: n, which every x must add to, or None: then n is what x adds to, and p is
        conditional on it (documents of any length). `sample` needs n. By keyword only.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.5.

    Examples:
      >>> print(jnp.exp(Multinomial(jnp.array([0.5, 0.5])).log_prob(jnp.array([[1, 1], [2, 0]]))))
      [0.5  0.25]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    _event_ndim: ClassVar[int] = 1

    _finite_statistics = True
    probs: Array = constrained(simplex)
    total_count: Array | None = dataclasses.field(default=None, kw_only=True)

    def log_kernel(self, x: DataLike) -> Array:
        """log_prob without the multinomial coefficient: sum_c x[c] log probs[c], (...), nats."""
        values, observed = self._split(x)
        kernel = self._log_kernel(values)
        return kernel if observed is None else jnp.where(observed, kernel, 0)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape (*shape, C)."""
        return _draw_counts(key, self.total_count, self.probs, shape)

    def mean(self) -> Array:
        """total_count probs, (C,)."""
        n, probs = _counted("mean", self.total_count, self.probs)
        return n * probs

    def variance(self) -> Array:
        """total_count probs (1 - probs), (C,)."""
        n, probs = _counted("variance", self.total_count, self.probs)
        return n * probs * (1 - probs)

    def expected_log_prob(self, stats: CategoryCounts) -> Array:
        """sum_c counts[c] log probs[c] + log h, nats."""
        return jnp.sum(numerics.xlogy(stats.counts, self.probs)) + stats.log_base

    def parameter(self) -> Array:
        """probs, as a Dirichlet prior describes it."""
        return jnp.asarray(self.probs)

    def predictive(self, prior: Dirichlet) -> "DirichletMultinomial":
        """Multinomial with Dirichlet-distributed probabilities."""
        return DirichletMultinomial(prior.concentration, total_count=self.total_count)

    def _log_density(self, x: Array) -> Array:
        counts, probs = numerics.as_float(x, self.probs)
        kernel = self._log_kernel(x)
        possible = kernel > -jnp.inf
        counts = jnp.where(possible[..., None], counts, 0)
        # kernel and coefficient are of order n each, and cancel
        term = log_multinomial_term(counts, jnp.broadcast_to(probs, counts.shape))
        return jnp.where(possible, term, kernel)

    def _log_kernel(self, x: Array) -> Array:
        probs = jnp.asarray(self.probs)
        check_event("Multinomial", x, probs.shape[-1])
        counts, probs = numerics.as_float(x, probs)
        possible = probs > 0
        probs = check_simplex(probs)
        # one matrix product, also for K models under vmap
        log_probs = jnp.where(possible, numerics.safe_log(probs), 0)
        score = jnp.matmul(counts, log_probs, precision="highest")
        broken = jnp.matmul(counts, (~possible).astype(probs.dtype), precision="highest") > 0
        return _inside(x, jnp.where(broken, -jnp.inf, score), self.total_count)

    def _statistics(self, x: Array, weights: Array) -> CategoryCounts:
        counts, weights = numerics.as_float(x, weights)
        base = numerics.weighted_sum(weights, log_multinomial_coefficient(counts))
        rows = counts.reshape(-1, counts.shape[-1])
        stats = CategoryCounts(numerics.row_products(weights.reshape(-1, 1), rows)[0], base)
        # fractions of counts, such as tf-idf values, have statistics, though no probability
        return inside_only(stats, jnp.min(counts, axis=-1) >= 0, weights)

    def _maximum_likelihood(self, stats: CategoryCounts) -> Self:
        total = jnp.sum(stats.counts, axis=-1, keepdims=True)
        return self._with_parameter(numerics.divide(stats.counts, total, self.probs))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value, total_count=self.total_count)


@pytree
class DirichletMultinomial(Estimable[PositiveMoments, Never]):
    """p(x) = integral of Multinomial(x | n, v) Dirichlet(v | concentration) dv, counts x (..., C).

    `e_step` gives the expected statistics of the latent probabilities, so `m_step` is a step of
    EM over the concentration: fit with `fit.em`.

    Attributes:
      concentration: (C,) positive.
      total_count: n, which every x must add to, or None: then n is what x adds to, and p is
        conditional on it. `sample` needs n. By keyword only.

    Source: Minka (2000), Estimating a Dirichlet distribution.

    Examples:
      >>> model = DirichletMultinomial(jnp.ones(2))
      >>> print(jnp.exp(model.log_prob(jnp.array([[2, 0], [1, 1], [0, 2]]))).round(4))
      [0.3333 0.3333 0.3333]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    _event_ndim: ClassVar[int] = 1

    concentration: Array = constrained(positive)
    total_count: Array | None = dataclasses.field(default=None, kw_only=True)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape (*shape, C)."""
        key_probs, key_counts = jax.random.split(key)
        probs = Dirichlet(self.concentration).sample(key_probs, shape)
        return _draw_counts(key_counts, self.total_count, probs, shape)

    def mean(self) -> Array:
        """total_count concentration / sum(concentration), (C,)."""
        n, a = _counted("mean", self.total_count, self.concentration)
        return n * a / jnp.sum(a)

    def variance(self) -> Array:
        """n p (1 - p) (n + A) / (1 + A) with A = sum(concentration), p = concentration / A: (C,)."""
        n, a = _counted("variance", self.total_count, self.concentration)
        total = jnp.sum(a)
        return n * (a / total) * (1 - a / total) * (n + total) / (1 + total)

    def expected_log_prob(self, stats: PositiveMoments) -> Array:
        """Expected log density of the latent probabilities, nats: what `m_step` maximises."""
        return Dirichlet(self.concentration).expected_log_prob(stats)

    def _log_density(self, x: Array) -> Array:
        counts, a = numerics.as_float(x, self.concentration)
        check_event("DirichletMultinomial", counts, a.shape[-1])
        counts = jnp.maximum(counts, 0)
        n, total = jnp.sum(counts, axis=-1), jnp.sum(a)
        before = jnp.broadcast_to(a, counts.shape)
        after = before + counts
        # all three at the mean of the posterior, so that none is large where the result is not
        probs = after / (n + total)[..., None]
        terms = log_multinomial_term(counts, probs) + log_multinomial_term(before, probs)
        last = factorial_excess(n + total) - jnp.sum(factorial_excess(after), axis=-1)
        edges = jnp.log1p(n / total) - jnp.sum(jnp.log1p(counts / before), axis=-1)
        log_prob = terms - last + edges
        return _inside(x, log_prob, self.total_count)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights, a = numerics.as_float(x, weights, self.concentration)
        stats = latent_simplex(x + jnp.broadcast_to(a, x.shape), weights)
        support = _inside(x, jnp.zeros_like(x[..., 0]), self.total_count) == 0
        return inside_only(stats, support, weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        fitted = Dirichlet(*numerics.as_float(self.concentration)).m_step(stats)
        return type(self)(fitted.concentration, total_count=self.total_count)
