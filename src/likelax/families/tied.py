"""Components of a mixture that share a covariance, and components that stand still."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from likelax.families.statistics import Moments
from likelax.model import pytree


@pytree
class Tied:
    """A Gaussian component whose scatter is pooled over the components of its mixture.

    `Mixture(weights, Tied(MvNormal(loc, scale_tril)))` is the mixture with one full covariance;
    around `Independent(Normal(...))` the variances are shared feature by feature, around
    `SphericalNormal` the one variance. Every component carries its own copy, equal to the
    others after the first M step; start with equal ones.

    Attributes:
      component: any model whose statistics are `Moments`, or a tree of them.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.2.2.

    Examples:
      >>> from likelax.families import MvNormal
      >>> print(f"{Tied(MvNormal(jnp.zeros(2), jnp.eye(2))).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    component: Any

    def log_prob(self, x: Any) -> Array:
        """The component's."""
        return self.component.log_prob(x)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """The component's."""
        return self.component.sample(key, shape)

    def e_step(self, x: Any, weights: Array | None = None) -> tuple[Any, Array]:
        """The component's."""
        return self.component.e_step(x, weights)

    def mixture_e_step(self, log_weights: Array, x: Any, weights: Array | None = None) -> Any:
        """The component's, where it has one."""
        if not hasattr(self.component, "mixture_e_step"):
            return None
        return self.component.mixture_e_step(log_weights, x, weights)

    def m_step(self, stats: Any, prior: Any = None) -> Self:
        """The component's.

        Raises:
          ValueError: for a prior, since the pooled scatter is no single component's.
        """
        if prior is not None:
            raise ValueError("Tied: a prior over one component's covariance can't be shared")
        return type(self)(self.component.m_step(stats))

    def expected_log_prob(self, stats: Any) -> Array:
        """The component's."""
        return self.component.expected_log_prob(stats)

    def pool(self, stats: Any) -> Any:
        """Give each of K components its share of the total scatter.

        Args:
          stats: a tree of `Moments` with a leading axis K.
        Returns:
          The same with scatter[k] = weight[k] * sum_j scatter[j] / sum_j weight[j].
        """

        def share(m: Moments) -> Moments:
            shape = m.weight.shape + (1,) * (m.scatter.ndim - m.weight.ndim)
            weight = m.weight.reshape(shape)
            total = jnp.sum(weight, axis=0, keepdims=True)
            seen = total > 0
            mean = jnp.sum(m.scatter, axis=0, keepdims=True) / jnp.where(seen, total, 1)
            return Moments(m.weight, m.mean, weight * mean)

        return jax.tree.map(share, stats, is_leaf=lambda node: isinstance(node, Moments))


@pytree
class Fixed:
    """A model that no fit moves.

    Attributes:
      model: any model; as a component, K of it with a leading axis K.

    Examples:
      >>> from likelax.families import Normal
      >>> still = Fixed(Normal(0.0, 1.0))
      >>> print(still.m_step(still.e_step(jnp.array([5.0]))[0]).model.loc)
      0.0
    """

    model: Any

    def log_prob(self, x: Any) -> Array:
        """The model's."""
        return self.model.log_prob(x)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """The model's."""
        return self.model.sample(key, shape)

    def e_step(self, x: Any, weights: Array | None = None) -> tuple[Any, Array]:
        """The model's."""
        return self.model.e_step(x, weights)

    def m_step(self, stats: Any, prior: Any = None) -> Self:
        """Self, whatever the statistics."""
        return self

    def log_prior(self, prior: Any) -> Array:
        """0: what stands still has no prior density, nats."""
        return jnp.zeros(())

    def expected_log_prob(self, stats: Any) -> Array:
        """The model's."""
        return self.model.expected_log_prob(stats)
