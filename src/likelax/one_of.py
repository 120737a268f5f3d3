"""Different models in one stack, for mixtures whose components differ in type."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.constraints import field_chains
from likelax.data import DataLike
from likelax.families.base import match_weights
from likelax.model import Model, PriorLike, check_part, is_tied, pytree
from likelax.one_program import one_program


@pytree
class OneOf(Model[tuple[Any, ...], tuple[PriorLike | None, ...]]):
    """One of several models of the same kind of x: p(x) is that of options[which].

    K of them in a `Mixture` are K components of different types. Zero inflation is such a mixture: a
    point mass at zero and any model of counts.

    Attributes:
      which: integer scalar, the index of the chosen option.
      options: a tuple of models of one event shape, with or without latent variables. `m_step`
        changes only the chosen one.

    Examples:
      >>> from likelax.families import Delta, Poisson
      >>> from likelax.mixture import Mixture
      >>> zero_inflated = Mixture(jnp.array([0.5, 0.5]), OneOf.stack(Delta(0.0), Poisson(1.0)))
      >>> print(jnp.exp(zero_inflated.log_prob(jnp.array([0, 1]))).round(4))
      [0.6839 0.1839]
    """

    which: Array
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        for i, option in enumerate(self.options):
            check_part("OneOf", f"options[{i}]", option)

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation, the same for all options."""
        return self.options[0].event_ndim

    @property
    def free_ndim(self) -> int:
        """Axes of one observation of free length, the same for all models."""
        return self.options[0].free_ndim

    @classmethod
    def stack(cls, *options: Model) -> Self:
        """All the options as one model with a leading axis: entry k chooses option k.

        Args:
          options: models of one event shape.

        Examples:
          >>> from likelax.families import Delta, Poisson
          >>> print(OneOf.stack(Delta(0.0), Poisson(1.0)).which)
          [0 1]
        """
        count = len(options)

        def repeat(leaf: Any) -> Array:
            leaf = jnp.asarray(leaf)
            return jnp.broadcast_to(leaf[None], (count, *leaf.shape))

        return cls(jnp.arange(count), jax.tree.map(repeat, tuple(options)))

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """Log probability of x (..., *event) under the chosen option: (...), nats."""
        return self._choose([option.log_prob(x) for option in self.options])

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Array:
        """Draws of shape (*shape, *event)."""
        keys = jax.random.split(key, len(self.options))
        return self._choose_draws(
            *(o.sample(k, shape) for o, k in zip(self.options, keys, strict=True))
        )

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """Draws given inputs, if every option takes some: pairs, as `log_prob` takes them."""
        keys = jax.random.split(key, len(self.options))
        draws = (o.sample_given(k, inputs, shape) for o, k in zip(self.options, keys, strict=True))
        return jax.tree.map(self._choose_draws, *draws)

    def _choose_draws(self, *draws: Array) -> Array:
        # integer draws stay integers if the value of a point mass is a float
        dtype = min((d.dtype for d in draws), key=lambda t: jnp.issubdtype(t, jnp.floating))
        return self._choose([d.astype(dtype) for d in draws])

    @one_program
    def e_step(
        self, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[tuple[Any, ...], Array]:
        """(statistics of every option, empty for all but the chosen one; log probability).

        Raises:
          ValueError: for weights of another shape than `log_prob(x)`.
        """
        shape = jax.eval_shape(self.options[0].log_prob, x)
        weights = match_weights(weights, shape.shape, shape.dtype)
        steps = [
            option.e_step(x, jnp.where(self.which == i, weights, 0))
            for i, option in enumerate(self.options)
        ]
        return tuple(s for s, _ in steps), self._choose([log_prob for _, log_prob in steps])

    def m_step(
        self, stats: tuple[Any, ...], prior: tuple[PriorLike | None, ...] | None = None
    ) -> Self:
        """M step of the chosen option. prior: one entry for each option, or None."""
        moved = []
        for i, (option, s, p) in enumerate(
            zip(self.options, stats, self._priors(prior), strict=True)
        ):
            new = option.m_step(s, p)
            moved.append(
                jax.tree.map(lambda a, b, i=i: jnp.where(self.which == i, a, b), new, option)
            )
        return type(self)(self.which, tuple(moved))

    def stacked_m_step(
        self,
        stats: tuple[Any, ...],
        prior: tuple[PriorLike | None, ...] | None = None,
        used: Array | None = None,
    ) -> Self:
        """M step of K models; of the options each chose only one changes, and a spread shared with it."""
        moved = []
        for option, s, p, mine in zip(
            self.options, stats, self._priors(prior), self._chosen(used), strict=True
        ):
            new = option.stacked_m_step(s, p, mine)
            leaves, structure = jax.tree.flatten(new)
            kept = [
                _where(mine | (is_tied(chain) & jnp.any(mine)), leaf, old)
                for leaf, old, chain in zip(
                    leaves, jax.tree.leaves(option), field_chains(new), strict=True
                )
            ]
            moved.append(jax.tree.unflatten(structure, kept))
        return type(self)(self.which, tuple(moved))

    def stacked_log_prior(
        self, prior: tuple[PriorLike | None, ...] | None, used: Array | None = None
    ) -> Array:
        """Sum of the log priors of K models, nats: a spread that several of them share counts once."""
        terms = [
            jnp.zeros(()) if p is None else option.stacked_log_prior(p, mine)
            for option, p, mine in zip(
                self.options, self._priors(prior), self._chosen(used), strict=True
            )
        ]
        return functools.reduce(operator.add, terms)

    def _priors(self, prior: tuple[PriorLike | None, ...] | None) -> tuple[PriorLike | None, ...]:
        return (None,) * len(self.options) if prior is None else prior

    def _chosen(self, used: Array | None) -> list[Array]:
        """For each option which of K models chose it: (K,) booleans."""
        each = [jnp.asarray(self.which) == i for i in range(len(self.options))]
        return each if used is None else [mine & used for mine in each]

    def used(self, field: str, index: Any = None) -> Array | None:
        """Whether an option is the chosen one."""
        return jnp.asarray(self.which) == index if field == "options" else None

    def check_shapes(self, name: str) -> None:
        """Raise for an option whose shapes do not match.

        Raises:
          ValueError: starting with `name`.
        """
        for option in self.options:
            option.check_shapes(name)

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels in x do not match every option.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: starting with `name`.
        """
        for option in self.options:
            option.check_labels(name, x)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """As the option that counts."""
        return self.options[int(self.which)].possible(x)

    def mean(self) -> Array:
        """That of the chosen option."""
        return self._choose([option.mean() for option in self.options])

    def variance(self) -> Array:
        """That of the chosen option."""
        return self._choose([option.variance() for option in self.options])

    def expected_log_prob(self, stats: tuple[Any, ...]) -> Array:
        """That of the chosen option, nats."""
        return self._choose(
            [o.expected_log_prob(s) for o, s in zip(self.options, stats, strict=True)]
        )

    def log_prior(self, prior: tuple[PriorLike | None, ...] | None) -> Array:
        """That of the chosen option, nats. prior: one entry for each option, or None."""
        if prior is None:
            return jnp.zeros(())
        terms = [
            jnp.zeros(()) if p is None else o.log_prior(p)
            for o, p in zip(self.options, prior, strict=True)
        ]
        return self._choose(terms)

    def predictive(self, prior: tuple[PriorLike | None, ...] | None) -> "OneOf":
        """That of the chosen option. prior: one entry for each option, or None."""
        each = zip(self.options, self._priors(prior), strict=True)
        return OneOf(self.which, tuple(option.predictive(p) for option, p in each))

    def _choose(self, values: list[Array]) -> Array:
        chosen = values[0]
        for i, value in enumerate(values[1:], start=1):
            chosen = jnp.where(self.which == i, value.astype(chosen.dtype), chosen)
        return chosen


def _where(mine: Array, new: Array, old: ArrayLike) -> Array:
    """The new values of those models (K,) that changed, for an array (K, ...)."""
    return jnp.where(jnp.expand_dims(mine, tuple(range(1, new.ndim))), new, old)
