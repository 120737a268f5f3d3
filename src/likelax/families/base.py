"""Base classes of the leaf families: missing entries, weights and conjugate priors."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, split_host, split_mask
from likelax.model import Density, Model, P, S
from likelax.numerics import newton
from likelax.numerics.checks import is_concrete
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, inside_only


def match_weights(weights: ArrayLike | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """The weights as an array of `shape`; None is all ones.

    Raises:
      ValueError: if the shape differs.
    """
    if weights is None:
        return jnp.ones(shape, dtype)
    (weights,) = numerics.named_floats(weights=weights)
    if weights.shape != shape:
        raise ValueError(f"weights: wanted one per observation, shape {shape}; got {weights.shape}")
    return weights.astype(dtype)


def probs_of_counts(
    stats: CategoryCounts, kept: Array, prior: "Prior[CategoryCounts] | None" = None
) -> Array:
    """The probabilities (..., C) that maximise the expected log joint of counts (..., C).

    Args:
      stats: the counts.
      kept: (..., C), what rows without counts remain.
      prior: of each row, or None.
    """
    if prior is not None:
        return prior.posterior(stats).mode()
    return numerics.divide(stats.counts, jnp.sum(stats.counts, axis=-1, keepdims=True), kept)


def check_concrete(name: str, value: Any, fine: Callable[[np.ndarray], Any], wanted: str) -> None:
    """Raise if a parameter has an invalid value. Traced values and NaN are accepted.

    For constructors whose arguments are easy to mix up.

    Args:
      name: "Class: field", for the message.
      value: number, array, tracer, or a placeholder such as None.
      fine: values -> booleans.
      wanted: what the value must be, for the message.
    Raises:
      ValueError: naming the value.
    """
    if not isinstance(value, int | float | np.ndarray | np.generic | Array) or not is_concrete(
        value
    ):
        return
    array = np.asarray(value)
    if array.dtype.kind in "biuf" and not np.all(fine(array) | (array != array)):
        wrong = array[~(fine(array) | (array != array))][0] if array.ndim else array
        raise ValueError(f"{name} must be {wanted}; got {wrong}")


def where_above(parameter: Array, bound: float, moment: Callable[[Array], Array]) -> Array:
    """moment(parameter) where the parameter exceeds the bound, and inf where it does not.

    Examples:
      >>> print(where_above(jnp.array([0.5, 3.0]), 1, lambda a: 1 / (a - 1)))
      [inf 0.5]
    """
    exists = parameter > bound
    return jnp.where(exists, moment(jnp.where(exists, parameter, bound + 1)), jnp.inf)


def inside(support: Array, x: Array, log_density: Array) -> Array:
    """The log density on the support, -inf off it, NaN at NaN."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.where(support, log_density, -jnp.inf)
    off = jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf).astype(log_density.dtype)
    return jnp.where(support, log_density, off)


def check_event(name: str, x: Array, size: int) -> None:
    """Raise ValueError unless the last axis of x has this size."""
    if x.ndim == 0 or x.shape[-1] != size:
        raise ValueError(f"{name}: x must have shape (..., {size}); got {x.shape}")


def check_location_and_scale(name: str, loc: Any, tril: Any) -> None:
    """Raise unless loc ends in (D,) and tril in (D, D), with the same leading axes.

    Raises:
      ValueError: starting with `name`.
    """
    loc, tril = np.shape(loc), np.shape(tril)
    if not loc or tril[-2:] != (loc[-1], loc[-1]) or tril[:-2] != loc[:-1]:
        raise ValueError(
            f"{name}: loc must have shape (D,) and scale_tril (D, D); got {loc} and {tril}"
        )


def whole(x: Any) -> Any:
    """True where x, a JAX or NumPy array, is a whole number."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x == x
    return (np.floor(x) if isinstance(x, np.ndarray) else jnp.floor(x)) == x


def finite(x: Any) -> Any:
    """True where x, a JAX or NumPy array, is neither infinite nor NaN."""
    return abs(x) < np.inf if jnp.issubdtype(x.dtype, jnp.floating) else x == x


def is_count(x: Any) -> Any:
    """True where x, a JAX or NumPy array, is one of 0, 1, 2, ..."""
    return (x >= 0) & whole(x) & finite(x)


def alike(x: Any, parameter: Any) -> Any:
    """(x, parameter) in one dtype, or both as NumPy arrays where x is one."""
    if isinstance(x, np.ndarray):
        return x, np.asarray(parameter)
    return numerics.as_float(x, parameter)


class Prior(Density, Generic[S]):
    """A conjugate prior: a density over the parameter of a likelihood, closed under data."""

    @abc.abstractmethod
    def log_prob(self, value: Any) -> Array:
        """Log density at a parameter value, nats."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Independent draws of the parameter."""

    @abc.abstractmethod
    def posterior(self, stats: S) -> Self:
        """The prior updated by the statistics of a data set: a density of the same type.

        posterior(a + b) equals posterior(a).posterior(b): updates can be made one at a time.
        """

    @abc.abstractmethod
    def mean(self) -> DataLike:
        """Expected value of the parameter."""

    @abc.abstractmethod
    def mode(self) -> DataLike:
        """Most probable value of the parameter."""

    @abc.abstractmethod
    def log_evidence(self, stats: S) -> Array:
        """log p(data): the likelihood with the parameter integrated out under this prior, nats."""

    def pooled(self, used: Array | None = None) -> Self:
        """K priors, stacked: the same with one spread, the most probable one under all of them.

        Args:
          used: (K,) booleans, which of the K count, or None for all.
        Raises:
          TypeError: for a prior without a spread.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")

    def nearest_to(self, others: Self) -> Self:
        """The one of this family with the least sum of KL(other || it) over several others.

        The M step of empirical Bayes: the prior under which the parameters of several groups, of which
        the others are the posteriors, are most probable on average. Where others are alike in all
        respects and certain, there is none.

        Args:
          others: distributions of this type, with a leading axis G on every leaf.
        """

        def closeness(prior: Self) -> Array:
            return -jnp.sum(jax.vmap(lambda other: other.kl_divergence(prior))(others))

        fields = dataclasses.fields(cast(Any, self))
        free = tuple(field.name for field in fields if field.name not in self.held)
        return newton.climb(closeness, self, free).point

    def tied_posterior(self, stats: S, used: Array | None = None) -> Self:
        """K priors, stacked, of parameters with one spread in common: their posterior, stacked.

        The prior of the spread is the mean of theirs.

        Args:
          stats: statistics with a leading axis K.
          used: as for `pooled`.
        Raises:
          TypeError: for a prior without a spread.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")

    def tied_divergence(self, other: Self, used: Array | None = None) -> Array:
        """KL(self || other) of K stacked ones that share one spread, which counts once, nats.

        Args:
          other: the priors of `tied_posterior`.
          used: as for `pooled`.
        Raises:
          TypeError: for a prior without a spread.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")

    @staticmethod
    def _tied_sum(each: Array, of_spread: Array, used: Array | None) -> Array:
        """The sum over K of each divergence, with that of the spread, equal in all that are used, once."""
        if used is None:
            return jnp.sum(each - of_spread) + of_spread[0]
        own = jnp.sum(jnp.where(used, each - of_spread, 0))
        return own + jnp.where(jnp.any(used), of_spread[jnp.argmax(used)], 0)

    def expected_log_likelihood(self, stats: S) -> Array:
        """E[log p(data | parameter)] under this distribution, from the statistics of the data, nats.

        Raises:
          TypeError: for a prior without a closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}: the expected log likelihood has no closed form here"
        )

    def expected_log_density(self, likelihood: Model, x: DataLike) -> Array:
        """E[log p(x | parameter)] under this distribution, (...), nats; 0 where x is missing.

        Args:
          likelihood: a model of the family; only its statistics and its support are used.
          x: (..., *event), or `Masked` of it.
        Raises:
          TypeError: for a prior without a closed form here.
        """
        rows = jax.eval_shape(likelihood.log_prob, x).shape
        flat = jax.tree.map(lambda a: jnp.reshape(a, (-1, *jnp.shape(a)[len(rows) :])), x)

        def one(row: Any) -> Array:
            return self.expected_log_likelihood(likelihood.e_step(row)[0])

        terms = jax.vmap(one)(flat).reshape(rows)
        # the statistics do not tell whether x lies in the support
        return jnp.where(likelihood.log_prob(x) == -jnp.inf, -jnp.inf, terms)


Conjugate = TypeVar("Conjugate", bound=Prior)
"""The type of a family's conjugate prior."""


class Distribution(Density):
    """A leaf family: a density with a closed form, and missing entries."""

    # whether the statistics of every finite x are finite: then a weight of zero removes the row by
    # itself, and components that share x share all that is made of it
    _finite_statistics: ClassVar[bool] = False
    # whether the statistics themselves hold that a row was impossible
    _statistics_hold_support: ClassVar[bool] = False

    def check_shapes(self, name: str) -> None:
        """Raise for a field with fewer axes than its constraint, or a family of vectors of numbers.

        Raises:
          ValueError: starting with `name`.
        """
        super().check_shapes(name)
        if self._event_ndim and not any(jnp.ndim(leaf) for leaf in jax.tree.leaves(self)):
            fields = " or ".join(field.name for field in dataclasses.fields(cast(Any, self)))
            raise ValueError(f"{name}: {fields} must have the axis D of x; got numbers")

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log density at x, nats.

        Args:
          x: (..., *event), or `Masked` of it.
        Returns:
          (...). Off the support -inf; a missing observation 0; NaN for a NaN that was not declared
          missing.
        """
        values, observed = self._split(x)
        log_prob = self._log_density(values)
        return log_prob if observed is None else jnp.where(observed, log_prob, 0)

    @abc.abstractmethod
    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Independent draws of shape (*shape, *event)."""

    @one_program
    def stacked_log_kernel(self, x: DataLike) -> Array:
        """Log kernel of K models, stacked in self: (..., K), nats.

        A model whose whole mass lies on one point, such as a normal of scale 0, has kernel 0 there
        and -inf elsewhere; at that point the kernel of a model with a density is -inf. These are
        the densities with respect to Lebesgue measure plus a unit mass at each such point.
        """
        kernel, atom = super().stacked_log_kernel(x), self.atom()
        if atom is None:
            return kernel
        values, observed = self._split(x)

        def with_atoms(kernel: Array) -> Array:
            value, at = numerics.as_float(values[..., None], atom[1])
            is_atom = jnp.broadcast_to(atom[0], kernel.shape)
            hit = is_atom & (value == jnp.broadcast_to(at, kernel.shape))
            beside = is_atom | jnp.any(hit, axis=-1, keepdims=True)
            exact = jnp.where(hit, 0, jnp.where(beside, -jnp.inf, kernel))
            return exact if observed is None else jnp.where(observed[..., None], exact, 0)

        some = numerics.any_in_batch(jnp.any(atom[0]))
        return jax.lax.cond(some, with_atoms, lambda kernel: kernel, kernel)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where some parameters of this family give x a positive density; True where not seen."""
        values, observed = split_host(x)
        if values.ndim < self.event_ndim:
            return np.True_
        axes = tuple(range(-self.event_ndim, 0))
        support = self._support(values)
        support = np.all(finite(values), axis=axes) if support is None else np.asarray(support)
        return support if observed is None else support | ~np.any(observed, axis=axes)

    def _support(self, x: Any) -> Any:
        """Where some parameters that fits may change give x a positive density: booleans (...).

        Written with operators and methods alone, for JAX and NumPy arrays. None: at every finite x.
        """
        return None

    def _split(self, x: DataLike) -> tuple[Array, Array | None]:
        """(values, observed (...)): an observation counts as observed if all its entries are."""
        values, observed = split_mask(x)
        if observed is not None and self.event_ndim:
            observed = jnp.all(observed, axis=tuple(range(-self.event_ndim, 0)))
        return values, observed

    @abc.abstractmethod
    def _log_density(self, x: Array) -> Array: ...


class Estimable(Distribution, Model[S, P]):
    """A leaf family with additive statistics, which EM can fit."""

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """Statistics of x and its log probability, summed with the weights.

        Args:
          x: (..., *event), or `Masked` of it. A missing observation adds nothing.
          weights: (...) non-negative, or None for ones. A zero weight removes its row.
        Returns:
          (statistics, scalar log probability in nats).
        """
        values, observed = self._split(x)
        log_prob = self._log_density(values)
        weights = match_weights(weights, log_prob.shape, log_prob.dtype)
        if observed is not None:
            weights = jnp.where(observed, weights, 0)
        stats = self._supported(values, self._where_used(values, weights != 0), weights)
        return stats, numerics.weighted_sum(weights, log_prob)

    @one_program
    def stacked_e_step(self, x: DataLike, shares: Array) -> S:
        """Statistics of K models, stacked in self, with a leading axis K.

        Args:
          x: (..., *event), or `Masked` of it. A missing observation adds nothing.
          shares: (..., K) non-negative: the weight of each observation in each model.
        """
        values, observed = self._split(x)
        if observed is not None:
            return super().stacked_e_step(x, shares)
        rows = jnp.shape(values)[: jnp.ndim(values) - self.event_ndim]
        if shares.shape[:-1] != rows:
            raise ValueError(f"shares: wanted one row for each of x, {rows}; got {shares.shape}")
        common = None
        if self._finite_statistics:
            common = self._where_used(values, jnp.any(shares != 0, axis=-1))

        def statistics(model: Self, share: Array) -> S:
            used = model._where_used(values, share != 0) if common is None else common
            return model._supported(values, used, share)

        return jax.vmap(statistics, in_axes=(0, -1))(self, shares)

    def _supported(self, values: Array, used: Array, weights: Array) -> S:
        """The statistics, NaN where a row of positive weight is impossible under every parameter.

        They are those of `used`, the values without what rows of weight zero hold. The support is that
        of the values themselves, since XLA would make `used` again for each reduction.
        """
        stats, support = self._statistics(used, weights), self._support(values)
        if support is None or self._statistics_hold_support:
            return stats
        return inside_only(stats, support, weights)

    def _where_used(self, values: Array, used: Array) -> Array:
        """values, with ones where `used` (...) is false: such a row may hold anything."""
        used = jnp.expand_dims(used, tuple(range(-self.event_ndim, 0)))
        return jnp.where(used, values, jnp.ones((), values.dtype))

    def m_step(self, stats: S, prior: P | None = None) -> Self:
        """Maximum likelihood from statistics; empty ones leave the parameters as they are.

        Raises:
          ValueError: if a prior is given, since this family has no conjugate one.
        """
        if prior is not None:
            raise ValueError(
                f"{type(self).__name__}.m_step: it has no conjugate prior; leave prior out"
            )
        return self._maximum_likelihood(stats)

    @abc.abstractmethod
    def expected_log_prob(self, stats: S) -> Array:
        """sum_n w_n log p(x_n) as a function of the statistics: what `m_step` maximises, nats."""

    @abc.abstractmethod
    def _statistics(self, x: Array, weights: Array) -> S: ...

    @abc.abstractmethod
    def _maximum_likelihood(self, stats: S) -> Self: ...


class Family(Estimable[S, Conjugate]):
    """A leaf family with a conjugate prior."""

    def m_step(self, stats: S, prior: Conjugate | None = None) -> Self:
        """Maximum likelihood from statistics, or with a conjugate prior the posterior mode.

        Empty statistics leave the parameters as they are when there is no prior.
        """
        if prior is None:
            return self._maximum_likelihood(stats)
        return self._with_parameter(prior.posterior(stats).mode())

    def log_prior(self, prior: Conjugate | None) -> Array:
        """Log density of the parameter under a conjugate prior, nats; 0 without one."""
        return jnp.zeros(()) if prior is None else prior.log_prob(self.parameter())

    @abc.abstractmethod
    def parameter(self) -> Any:
        """The parameter as the conjugate prior describes it."""

    @abc.abstractmethod
    def predictive(self, prior: Conjugate) -> Density:
        """The distribution of one new observation with the parameter integrated out."""

    @abc.abstractmethod
    def _with_parameter(self, value: Any) -> Self: ...


def mean_of_used(values: Sequence[Array], used: Array | None) -> list[Array]:
    """The mean over K models of each array, in the shape of the array.

    Args:
      values: arrays (K, ...).
      used: (K,) booleans, which of the K count, or None for all. If none does, all do.

    Examples:
      >>> print(mean_of_used([jnp.array([1.0, 3.0, 9.0])], jnp.array([True, True, False]))[0])
      [2. 2. 2.]
    """
    if used is None:
        means = [jnp.mean(a, axis=0, keepdims=True) for a in values]
    else:
        some = used | ~jnp.any(used)
        rows = [
            jnp.broadcast_to(jnp.expand_dims(some, tuple(range(1, a.ndim))), a.shape)
            for a in values
        ]
        means = [
            jnp.mean(a, axis=0, keepdims=True, where=row)
            for a, row in zip(values, rows, strict=True)
        ]
    return [jnp.broadcast_to(m, a.shape) for m, a in zip(means, values, strict=True)]
