"""Models by name, such as "hmm:poisson": what the command line fits, and where each fit starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax import families, fit
from likelax.data import DataLike, take_mask, take_series, unlabelled
from likelax.hmm import HMM
from likelax.mixture import Mixture
from likelax.model import Model
from likelax.product import Independent

KINDS = ("mle", "mixture", "hmm")

# Share of a row that a start gives to its nearest component; the rest is spread evenly, so that no
# component starts with a single row.
NEAREST = 0.8
STAY = 0.9

Leaf = Callable[[int | None], Model]
"""From the number of columns D, or None for scalars, to one component."""


def _each(scalar: Callable[[Any], Model]) -> Leaf:
    """A family of scalars, for each column by itself."""

    def leaf(columns: int | None) -> Model:
        one = jnp.ones(()) if columns is None else jnp.ones(columns)
        return scalar(one) if columns is None else Independent(scalar(one))

    return leaf


def _normal(columns: int | None) -> Model:
    if columns is None:
        return families.Normal(jnp.zeros(()), jnp.ones(()))
    return families.MvNormal(jnp.zeros(columns), jnp.eye(columns))


def _bernoulli(columns: int | None) -> Model:
    if columns is None:
        return families.Bernoulli(jnp.full((), 0.5))
    return families.MvBernoulli(jnp.full(columns, 0.5))


LEAVES: dict[str, Leaf] = {
    "normal": _normal,
    "diagonal": _each(lambda one: families.Normal(0 * one, one)),
    "bernoulli": _bernoulli,
    "poisson": _each(families.Poisson),
    "exponential": _each(families.Exponential),
    "gamma": _each(lambda one: families.Gamma(one, one)),
    "beta": _each(lambda one: families.Beta(one, one)),
    "geometric": _each(lambda one: families.Geometric(one / 2)),
    "laplace": _each(lambda one: families.Laplace(0 * one, one)),
    "log-normal": _each(lambda one: families.LogNormal(0 * one, one)),
    "weibull": _each(lambda one: families.Weibull(shape=one, scale=one)),
}


@dataclass(frozen=True)
class Named:
    """A model by name.

    Attributes:
      kind: "mle" for one distribution, "mixture" or "hmm".
      family: of the components, a key of `LEAVES`.

    Examples:
      >>> parse("hmm:poisson")
      Named(kind='hmm', family='poisson')
    """

    kind: str
    family: str

    @property
    def has_sizes(self) -> bool:
        """Whether it has a number of components or states."""
        return self.kind != "mle"

    @property
    def takes_series(self) -> bool:
        """Whether the rows of a data set are the steps of one series."""
        return self.kind == "hmm"

    def starter(self, columns: int | None, most: int) -> "Starter":
        """The function that makes starts, as `fit.batch` takes it.

        Args:
          columns: D of rows (..., D); None for scalars.
          most: the largest number of components or states.

        Examples:
          >>> start = parse("mixture:poisson").starter(None, 3)
          >>> model = start(jax.random.key(0), jnp.array([4, 5, 0, 1]), 2)  # of at most 3 components
          >>> print(model.num_components, model.weights)
          3 [0.5 0.5 0. ]
        """
        return Starter(self, columns, most)

    def blank(self, columns: int | None, size: int | None) -> Model:
        """A model of the right structure and shapes, whatever its values: what `fit.load` wants.

        Args:
          columns: D of rows (..., D); None for scalars.
          size: number of components or states; None for a family alone.

        Examples:
          >>> parse("hmm:poisson").blank(None, 2).transition.shape
          (2, 2)
        """
        leaf = LEAVES[self.family](columns)
        if not self.has_sizes:
            return leaf
        count = 1 if size is None else size
        weights, components = jnp.full(count, 1 / count), _stacked(leaf, count)
        if self.kind == "mixture":
            return Mixture(weights, components)
        return HMM(weights, jnp.full((count, count), 1 / count), components)


def _stacked(leaf: Model, count: int) -> Model:
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *jnp.shape(a))), leaf)


def parse(text: str) -> Named:
    """A model from its name KIND:FAMILY.

    Args:
      text: such as "mixture:normal"; a mixture or a hidden Markov model of the family, or "mle" for
        the family alone.
    Raises:
      ValueError: for an unknown kind or family, with those that there are.

    Examples:
      >>> parse("mixture:student")
      Traceback (most recent call last):
        ...
      ValueError: model 'mixture:student': there is no family 'student'; choose from normal,
      diagonal, bernoulli, poisson, exponential, gamma, beta, geometric, laplace, log-normal, weibull
    """
    kind, _, family = text.partition(":")
    if kind not in KINDS or not family:
        raise ValueError(
            f"model {text!r}: wanted KIND:FAMILY with KIND one of {', '.join(KINDS)}, "
            "such as hmm:poisson"
        )
    if family not in LEAVES:
        raise ValueError(
            f"model {text!r}: there is no family {family!r}; choose from {', '.join(LEAVES)}"
        )
    return Named(kind, family)


def parse_sizes(text: str) -> list[int]:
    """Numbers of components from "3", "2,4" or "2:5", whose end is included.

    Raises:
      ValueError: for anything else, or a number below 1.

    Examples:
      >>> parse_sizes("2:5"), parse_sizes("2,4")
      ([2, 3, 4, 5], [2, 4])
    """
    first, colon, last = text.partition(":")
    try:
        if colon:
            sizes = list(range(int(first), int(last) + 1))
        else:
            sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ValueError(f"states {text!r}: wanted a number, a list 2,4 or a range 2:5, from 1 up")
    return sizes


@dataclass(frozen=True)
class Starter:
    """A start from a key, a data set and a size. Equal ones compile once.

    Attributes:
      named: the model.
      columns: D, or None for scalars.
      most: K, the length of the arrays.
    """

    named: Named
    columns: int | None
    most: int

    def __call__(self, key: Array, x: DataLike, size: Any = None) -> Model:
        """The start: components fitted to soft clusters about rows far from each other.

        Args:
          key: random key.
          x: one data set.
          size: how many of the K components have weight; None: all.
        """
        leaf = LEAVES[self.named.family](self.columns)
        rest, _ = take_series(unlabelled(x))
        if not self.named.has_sizes:
            return leaf.m_step(leaf.e_step(rest)[0])
        used = jnp.arange(self.most) < (self.most if size is None else size)
        weights = jnp.where(used, 1.0, 0.0)
        weights = weights / jnp.sum(weights)
        shares = self._shares(key, rest, used, weights)
        stack = _stacked(leaf, self.most)
        components = stack.stacked_m_step(stack.stacked_e_step(rest, shares))
        if self.named.kind == "mixture":
            return Mixture(weights, components)
        away = jnp.broadcast_to((1 - STAY) * weights[None, :], (self.most, self.most))
        return HMM(weights, away + STAY * jnp.eye(self.most), components)

    def _shares(self, key: Array, x: DataLike, used: Array, weights: Array) -> Array:
        """(N, K) how much of each row each component takes."""
        values, observed = take_mask(x)
        rows = jnp.asarray(values, float)
        rows = rows[:, None] if self.columns is None else rows
        seen = jnp.ones(rows.shape, bool)
        if observed is not None:
            seen = jnp.reshape(observed, rows.shape)
        mean = jnp.mean(rows, axis=0, where=seen, keepdims=True)
        rows = jnp.where(seen, rows - mean, 0)
        width = jnp.std(rows, axis=0, keepdims=True)
        rows = rows / jnp.where(width > 0, width, 1)
        _, centers = fit.kmeans(key, rows, self.most, num_steps=0)
        gaps = jnp.sum((rows[:, None, :] - centers[None, :, :]) ** 2, axis=-1)
        nearest = jnp.argmin(jnp.where(used[None, :], gaps, jnp.inf), axis=1)
        own = jax.nn.one_hot(nearest, self.most, dtype=rows.dtype)
        return NEAREST * own + (1 - NEAREST) * weights.astype(own.dtype)[None, :]
