"""Counts of C values: multinomial, and its compound with a Dirichlet."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Never, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.constraints import constrained, positive, simplex
from likelax.data import DataLike, split_mask, take_mask
from likelax.families.base import (
    Estimable,
    Family,
    alike,
    check_event,
    is_count,
    match_weights,
    probs_of_counts,
)
from likelax.families.dirichlet import Dirichlet
from likelax.families.simplex import (
    add_lack,
    check_simplex,
    latent_simplex,
    masked_total,
    simplex_moments,
    unseen_lack,
)
from likelax.model import P, S, pytree
from likelax.numerics import draws, matmul
from likelax.numerics.special import (
    deviance,
    log_dirichlet_multinomial,
    log_minus_digamma,
    log_multinomial_coefficient,
    log_multinomial_term,
)
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, PositiveMoments, category_counts, inside_only


def _support(x: Any, total: Any, observed: Any = None) -> Any:
    """True where the entries seen of x (..., C), 0 elsewhere, are counts that can add to total."""
    fine = is_count(x).all(-1)
    if total is None:
        return fine
    got, wanted = alike(x.sum(-1), total)
    return fine & (
        (got == wanted) | (False if observed is None else (got < wanted) & ~observed.all(-1))
    )


def _inside(x: Array, log_prob: Array, total: Array | None) -> Array:
    """log_prob where x holds counts (that add to total), -inf elsewhere, NaN at NaN."""
    off = jnp.where(jnp.any(x != x, axis=-1), jnp.nan, -jnp.inf).astype(log_prob.dtype)
    return jnp.where(_support(x, total), log_prob, off)


class _Seen(NamedTuple):
    """Rows seen in part.

    Attributes:
      counts: (..., C), 0 at entries not seen.
      observed: (..., C) booleans.
      some: (...) whether anything was seen.
      fine: (...) whether they are possible.
      rest: (..., 1) what the entries not seen add to; None where the total is not known.
    """

    counts: Array
    observed: Array
    some: Array
    fine: Array
    rest: Array | None


def _look(name: str, x: DataLike, total: Any, parameter: Array) -> _Seen:
    values, observed = split_mask(x)
    counts, parameter = numerics.as_float(values, parameter)
    check_event(name, counts, parameter.shape[-1])
    seen = jnp.ones(counts.shape, bool) if observed is None else observed
    counts = jnp.where(seen, counts, 0)
    fine = _support(counts, total, seen)
    counts = jnp.where(fine[..., None], counts, 0)
    rest = None
    if total is not None:
        wanted, got = numerics.as_float(total, jnp.sum(counts, axis=-1, keepdims=True))
        rest = jnp.where(fine[..., None], wanted - got, 0)
    return _Seen(counts, seen, jnp.any(seen, axis=-1), fine, rest)


class _Counted(Estimable[S, P]):
    """What distributions of counts that add to a total share: rows seen in part."""

    _event_ndim: ClassVar[int] = 1

    total_count: Array | None

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log probability of x (..., C), or of the entries seen of `Masked` x: (...), nats."""
        if take_mask(x)[1] is None:
            return super().log_prob(x)
        seen = self._look(x)
        log_prob = jnp.where(seen.fine, self._log_density_seen(seen), -jnp.inf)
        return jnp.where(seen.some, log_prob, 0)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """Statistics and the log probability, summed with the weights.

        A row of which nothing was seen has weight zero. Of a row seen in part they are expected ones
        under this model, so that `m_step` is a step of EM.
        """
        if take_mask(x)[1] is None:
            return super().e_step(x, weights)
        seen, log_prob = self._look(x), self.log_prob(x)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        weights = jnp.where(seen.some, weights, 0)
        stats = inside_only(self._statistics_seen(seen, weights), seen.fine, weights)
        return stats, numerics.weighted_sum(weights, log_prob)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where the entries seen are counts that can add to the total."""
        values, observed = take_mask(x)
        if observed is None:
            return super().possible(x)
        observed = np.asarray(observed)
        fine = _support(np.where(observed, values, 0), self.total_count, observed)
        return fine | ~observed.any(-1)

    def _support(self, x: Any) -> Any:
        return _support(x, self.total_count)

    @abc.abstractmethod
    def _look(self, x: DataLike) -> _Seen: ...

    @abc.abstractmethod
    def _log_density_seen(self, seen: _Seen) -> Array: ...

    @abc.abstractmethod
    def _statistics_seen(self, seen: _Seen, weights: Array) -> S: ...


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
        count = draws.binomial(jax.random.fold_in(key, index), left, p, shape)
        return left - count, count

    left = jnp.broadcast_to(n, tuple(shape))
    _, counts = jax.lax.scan(draw, left, (jnp.arange(num_values), jnp.moveaxis(share, -1, 0)))
    return draws.whole_counts(jnp.moveaxis(counts, 0, -1))


def _counted(verb: str, total_count: Any, parameter: Any) -> list[Array]:
    """(total_count, parameter) as floats.

    Raises:
      ValueError: without a total count.
    """
    if total_count is None:
        raise ValueError(f"{verb}: it needs total_count; give the model one")
    return numerics.as_float(total_count, parameter)


@pytree
class Multinomial(_Counted[CategoryCounts, Dirichlet], Family[CategoryCounts, Dirichlet]):
    """p(x) = n! / prod_c x[c]! prod_c probs[c]^x[c] for counts x (..., C) that add to n.

    Missing entries are marginalised exactly: with a known total they are one more value, and without
    one p is conditional on what the entries seen add to.

    Float32: log density within 2e-5 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      probs: (C,) non-negative, sums to one; zeros are exact. Where the sum is off by more than 1e-3
        the log probability is NaN.
      total_count: n, the sum of every x, or None: then n is the sum of x, and p is conditional on
        it (documents of any length). `sample` needs n. By keyword only.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 2.5.

    Examples:
      >>> print(jnp.exp(Multinomial(jnp.array([0.5, 0.5])).log_prob(jnp.array([[1, 1], [2, 0]]))))
      [0.5  0.25]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    _finite_statistics = True
    probs: Array = constrained(simplex)
    total_count: Array | None = dataclasses.field(default=None, kw_only=True)

    @one_program
    def log_kernel(self, x: DataLike) -> Array:
        """log_prob without the multinomial coefficient: sum_c x[c] log probs[c], (...), nats."""
        if take_mask(x)[1] is None:
            return self._log_kernel(self._split(x)[0])
        return self.log_prob(x)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape (*shape, C).

        The loop inside ends with probability one: `likelax.numerics.draws.binomial` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        return _draw_counts(key, self.total_count, self.probs, shape)

    def mean(self) -> Array:
        """total_count probs, (C,).

        Raises:
          ValueError: without a total_count.
        """
        n, probs = _counted("mean", self.total_count, self.probs)
        return n * probs

    def variance(self) -> Array:
        """total_count probs (1 - probs), (C,).

        Raises:
          ValueError: without a total_count.
        """
        n, probs = _counted("variance", self.total_count, self.probs)
        return n * probs * (1 - probs)

    def kl_divergence(self, other: Self) -> Array:
        """total_count times that of one draw, nats; NaN for another total_count.

        Raises:
          TypeError: for another type.
          ValueError: without a total_count.
        """
        self._same_type(other)
        n, probs = _counted("kl_divergence", self.total_count, self.probs)
        n0, probs0 = _counted("kl_divergence", other.total_count, other.probs)
        return jnp.where(n == n0, n * jnp.sum(deviance(probs, probs0)), jnp.nan)

    def expected_log_prob(self, stats: CategoryCounts) -> Array:
        """sum_c counts[c] log probs[c] + log h, nats."""
        return stats.log_likelihood(self.probs)

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
        score = matmul(counts, log_probs)
        broken = matmul(counts, (~possible).astype(probs.dtype)) > 0
        return _inside(x, jnp.where(broken, -jnp.inf, score), self.total_count)

    def _look(self, x: DataLike) -> _Seen:
        return _look("Multinomial", x, self.total_count, jnp.asarray(self.probs))

    def _log_density_seen(self, seen: _Seen) -> Array:
        counts, probs = numerics.as_float(seen.counts, check_simplex(jnp.asarray(self.probs)))
        probs = jnp.broadcast_to(probs, counts.shape)
        known, hidden = jnp.where(seen.observed, probs, 0), masked_total(probs, ~seen.observed)
        if seen.rest is None:
            total = jnp.sum(known, axis=-1, keepdims=True)
            return log_multinomial_term(counts, numerics.divide(known, total, 0.0))
        # what was not seen is one more value
        counts = jnp.concatenate([counts, seen.rest], axis=-1)
        return log_multinomial_term(counts, jnp.concatenate([known, hidden], axis=-1))

    def _statistics_seen(self, seen: _Seen, weights: Array) -> CategoryCounts:
        counts, probs = numerics.as_float(seen.counts, self.probs)
        probs = jnp.broadcast_to(probs, counts.shape)
        hidden = masked_total(probs, ~seen.observed)
        if seen.rest is None:
            total = jnp.sum(counts, axis=-1, keepdims=True)
            unseen = numerics.divide(probs * total, masked_total(probs, seen.observed), 0.0)
            whole = counts
        else:
            unseen = numerics.divide(probs * seen.rest, hidden, 0.0)
            whole = jnp.concatenate([counts, seen.rest], axis=-1)
        filled = jnp.where(seen.observed, counts, unseen).reshape(-1, counts.shape[-1])
        base = numerics.weighted_sum(weights, log_multinomial_coefficient(whole))
        counts = numerics.row_products(weights.reshape(-1, 1), filled)[0]
        return CategoryCounts(counts, base + category_counts(counts).log_peak)

    def _statistics(self, x: Array, weights: Array) -> CategoryCounts:
        counts, weights = numerics.as_float(x, weights)
        rows, weights = counts.reshape(-1, counts.shape[-1]), weights.reshape(-1)
        total = numerics.row_products(weights[:, None], rows)[0]
        # of all rows whatever their weights, so that the terms of K components are the same
        common = numerics.normalize(jnp.sum(rows, axis=0))
        terms = log_multinomial_term(rows, jnp.broadcast_to(common, rows.shape))
        # from the likelihood at those shares to that at its own
        gain = jnp.sum(deviance(total, jnp.sum(total) * common))
        peak = numerics.weighted_sum(weights, terms) + gain
        return CategoryCounts(total, peak)

    def _maximum_likelihood(self, stats: CategoryCounts) -> Self:
        return self._with_parameter(probs_of_counts(stats, self.probs))

    def _with_parameter(self, value: Array) -> Self:
        return type(self)(value, total_count=self.total_count)


@pytree
class DirichletMultinomial(_Counted[PositiveMoments, Never]):
    """p(x) = integral of Multinomial(x | n, v) Dirichlet(v | concentration) dv, counts x (..., C).

    `e_step` gives the expected statistics of the latent probabilities, so `m_step` is a step of
    EM over the concentration: fit with `fit.em`. Missing entries are marginalised as in `Multinomial`.

    Float32: log density within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Attributes:
      concentration: (C,) positive.
      total_count: n, the sum of every x, or None: then n is the sum of x, and p is conditional on
        it. `sample` needs n. By keyword only.

    Source: Minka (2000), Estimating a Dirichlet distribution.

    Examples:
      >>> model = DirichletMultinomial(jnp.ones(2))
      >>> print(jnp.exp(model.log_prob(jnp.array([[2, 0], [1, 1], [0, 2]]))).round(4))
      [0.3333 0.3333 0.3333]
    """

    held: ClassVar[tuple[str, ...]] = ("total_count",)

    concentration: Array = constrained(positive)
    total_count: Array | None = dataclasses.field(default=None, kw_only=True)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Integers of shape (*shape, C).

        The loop inside ends with probability one: `likelax.numerics.draws.binomial` has the proof.
        Counts beyond the largest integer are drawn as that, and -1 for invalid parameters.
        """
        key_probs, key_counts = jax.random.split(key)
        probs = Dirichlet(self.concentration).sample(key_probs, shape)
        return _draw_counts(key_counts, self.total_count, probs, shape)

    def mean(self) -> Array:
        """total_count concentration / sum(concentration), (C,).

        Raises:
          ValueError: without a total_count.
        """
        n, a = _counted("mean", self.total_count, self.concentration)
        return n * a / jnp.sum(a)

    def variance(self) -> Array:
        """n p (1 - p) (n + A) / (1 + A) with A = sum(concentration), p = concentration / A: (C,).

        Raises:
          ValueError: without a total_count.
        """
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
        log_prob = log_dirichlet_multinomial(counts, jnp.broadcast_to(a, counts.shape))
        return _inside(x, log_prob, self.total_count)

    def _look(self, x: DataLike) -> _Seen:
        return _look("DirichletMultinomial", x, self.total_count, jnp.asarray(self.concentration))

    def _log_density_seen(self, seen: _Seen) -> Array:
        counts, a = numerics.as_float(seen.counts, self.concentration)
        a = jnp.broadcast_to(a, counts.shape)
        known, hidden = jnp.where(seen.observed, a, 0), masked_total(a, ~seen.observed)
        if seen.rest is not None:
            known = jnp.concatenate([known, hidden], axis=-1)
            counts = jnp.concatenate([counts, seen.rest], axis=-1)
        return log_dirichlet_multinomial(counts, known)

    def _statistics_seen(self, seen: _Seen, weights: Array) -> PositiveMoments:
        """Seen and unseen shares, and the shares within either, are independent."""
        counts, a = numerics.as_float(seen.counts, self.concentration)
        a = jnp.broadcast_to(a, counts.shape)
        hidden, known = (masked_total(a, mask) for mask in (~seen.observed, seen.observed))
        total = jnp.sum(counts, axis=-1, keepdims=True)
        ours, theirs = (known, hidden) if seen.rest is None else (known + total, hidden + seen.rest)
        side = jnp.where(seen.observed, ours, theirs)
        shares = numerics.divide(a, hidden, 0.0)
        within = jnp.where(seen.observed, (a + counts) / (known + total), shares)
        own = log_minus_digamma(a + counts) - log_minus_digamma(known + total)
        own = jnp.where(seen.observed, own, unseen_lack(a, seen.observed))
        lack = log_minus_digamma(side) - log_minus_digamma(ours + theirs) + own
        # what stands in for a row without weight need not be finite
        used = (weights != 0)[..., None]
        mean = jnp.where(used, side / (ours + theirs) * within, 1)
        return add_lack(simplex_moments(mean, weights), jnp.where(used, lack, 0), weights)

    def _statistics(self, x: Array, weights: Array) -> PositiveMoments:
        x, weights, a = numerics.as_float(x, weights, self.concentration)
        return latent_simplex(x + jnp.broadcast_to(a, x.shape), weights)

    def _maximum_likelihood(self, stats: PositiveMoments) -> Self:
        fitted = Dirichlet(*numerics.as_float(self.concentration)).m_step(stats)
        return type(self)(fitted.concentration, total_count=self.total_count)
