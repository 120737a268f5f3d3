"""Models around a model: `Tied` shares a spread between components, `Fixed` holds parameters."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.constraints import field_chains, inherited
from likelax.data import DataLike
from likelax.model import Density, Dims, Model, P, S, check_part, is_spread, pytree


class Wrapper(Model[S, P]):
    """A model around another one. Every method calls that of the model inside.

    Subclasses override the methods that differ.

    Attributes:
      model: the model inside.
    """

    model: Any

    def _around(self, model: Density) -> Self:
        """The same wrapper around another model."""
        return dataclasses.replace(cast(Any, self), model=model)

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self.model.event_ndim

    @property
    def free_ndim(self) -> int:
        """Axes of one observation of free length."""
        return self.model.free_ndim

    def log_prob(self, x: DataLike) -> Array:
        """Log density of the model inside, nats."""
        return self.model.log_prob(x)

    def log_kernel(self, x: DataLike) -> Array:
        """Log kernel of the model inside, nats."""
        return self.model.log_kernel(x)

    def sample(
        self, key: Array, shape: Sequence[int] = (), inputs: DataLike | None = None
    ) -> DataLike:
        """Draws from the model inside, given inputs if it takes some."""
        if inputs is None:
            return self.model.sample(key, shape)
        return self.model.sample_given(key, inputs, shape)

    def sample_given(self, key: Array, inputs: DataLike, shape: Sequence[int] = ()) -> DataLike:
        """Draws from the model inside, given inputs."""
        return self.model.sample_given(key, inputs, shape)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """As the model inside."""
        return self.model.possible(x)

    def mean(self) -> DataLike:
        """Mean of the model inside."""
        return self.model.mean()

    def variance(self) -> DataLike:
        """Variance of the model inside."""
        return self.model.variance()

    def cdf(self, x: ArrayLike) -> Array:
        """That of the model inside, (...)."""
        return self.model.cdf(x)

    def log_cdf(self, x: ArrayLike) -> Array:
        """That of the model inside, (...), nats."""
        return self.model.log_cdf(x)

    def log_survival(self, x: ArrayLike) -> Array:
        """That of the model inside, (...), nats."""
        return self.model.log_survival(x)

    def quantile(self, prob: ArrayLike, *, upper: bool = False) -> Array:
        """That of the model inside, (...); `upper` as there, for prob."""
        return self.model.quantile(prob, upper=upper)

    def entropy(self) -> Array:
        """That of the model inside, nats."""
        return self.model.entropy()

    def kl_divergence(self, other: Self) -> Array:
        """That of the models inside, nats; `other` has the same wrapper."""
        self._same_type(other)
        return self.model.kl_divergence(other.model)

    def marginal(self, dims: Dims) -> Self:
        """The marginal of the model inside, wrapped the same way."""
        return self._around(self.model.marginal(dims))

    def condition(self, dims: Dims, values: ArrayLike) -> Self:
        """The conditional of the model inside, wrapped the same way."""
        return self._around(self.model.condition(dims, values))

    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """E step of the model inside."""
        return self.model.e_step(x, weights)

    def m_step(self, stats: S, prior: P | None = None) -> Self:
        """M step of the model inside."""
        return self._around(self.model.m_step(stats, prior))

    def expected_log_prob(self, stats: S) -> Array:
        """Expected log probability of the model inside, nats."""
        return self.model.expected_log_prob(stats)

    def log_prior(self, prior: P | None) -> Array:
        """Log prior of the model inside, nats."""
        return self.model.log_prior(prior)

    def predictive(self, prior: P) -> Density:
        """Predictive distribution of the model inside."""
        return self.model.predictive(prior)

    def stacked_sample(
        self,
        key: Array,
        index: Array,
        lengths: Sequence[int] = (),
        inputs: DataLike | None = None,
    ) -> DataLike:
        """That of the model inside."""
        return self.model.stacked_sample(key, index, lengths, inputs)

    def stacked_log_prob(self, x: DataLike) -> Array:
        """That of the model inside."""
        return self.model.stacked_log_prob(x)

    def stacked_log_kernel(self, x: DataLike) -> Array:
        """That of the model inside."""
        return self.model.stacked_log_kernel(x)

    def stacked_e_step(self, x: DataLike, shares: Array) -> S:
        """That of the model inside."""
        return self.model.stacked_e_step(x, shares)

    def stacked_m_step(self, stats: S, prior: P | None = None, used: Array | None = None) -> Self:
        """That of the model inside."""
        return self._around(self.model.stacked_m_step(stats, prior, used))

    def mixture_e_step(
        self, log_weights: Array, x: DataLike, weights: ArrayLike | None = None
    ) -> tuple[Array, S, Array] | None:
        """That of the model inside."""
        return self.model.mixture_e_step(log_weights, x, weights)

    def pool(self, stats: S) -> S:
        """That of the model inside."""
        return self.model.pool(stats)

    def pool_with_prior(
        self, stats: S, prior: P | None, used: Array | None = None
    ) -> tuple[S, P | None]:
        """As the model inside."""
        return self.model.pool_with_prior(stats, prior, used)

    def check_shapes(self, name: str) -> None:
        """That of the model inside."""
        if isinstance(self.model, Density):  # `Fixed` may hold an array
            self.model.check_shapes(name)

    def check_labels(self, name: str, x: DataLike) -> None:
        """That of the model inside."""
        self.model.check_labels(name, x)


@pytree
class Tied(Wrapper[S, P]):
    """A component that shares its covariance or scale with the other components.

    `Mixture(weights, Tied(MvNormal(loc, scale_tril)))` is the mixture with one full covariance;
    around `Independent(Normal(...))` the variances are shared feature by feature, around
    `SphericalNormal` the one variance, and around `Variational` the distribution of the spread. `Tied` can be anywhere inside the components of a `Mixture` or
    the emissions of an `HMM`, such as in a field of a `Product`. It shares over the components of the
    nearest mixture or HMM around it. Each component has a copy; EM and gradient fits keep them equal.

    Attributes:
      model: a model with a covariance or scale to share, see its method `pool`.

    Source: Murphy (2022), Probabilistic Machine Learning: An Introduction, 9.2.2.

    Examples:
      >>> from likelax.families import MvNormal
      >>> print(f"{Tied(MvNormal(jnp.zeros(2), jnp.eye(2))).log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """

    ties: ClassVar[bool] = True

    model: Any

    if TYPE_CHECKING:  # the field is dynamic, so that its own attributes can be read

        def __init__(self, model: Model[S, P]) -> None: ...

    def __post_init__(self) -> None:
        check_part("Tied", "model", self.model)

    def stacked_log_prior(self, prior: P | None, used: Array | None = None) -> Array:
        """The log prior of K components that share one covariance or scale, nats."""
        return self.model.tied_log_prior(prior, used)

    def stacked_m_step(self, stats: S, prior: P | None = None, used: Array | None = None) -> Self:
        """M step of K components that share one covariance or scale: the weighted mean of theirs.

        With a prior of every component the mode of their product, as `log_prior` adds them.
        """
        pooled = self.model.pool_with_prior(stats, prior, used)
        new = self.model.stacked_m_step(*pooled, used)
        leaves, structure = jax.tree.flatten(new)
        shared = [
            _same_for_all(leaf, old) if is_spread(chain) else leaf
            for leaf, old, chain in zip(
                leaves, jax.tree.leaves(self.model), field_chains(new), strict=True
            )
        ]
        return type(self)(jax.tree.unflatten(structure, shared))


def _same_for_all(new: Array, old: ArrayLike) -> Array:
    """The value that the M step gave to components with data, for those without data too."""
    changed = jnp.argmax(new != jnp.asarray(old, new.dtype), axis=0)[None]
    return jnp.broadcast_to(jnp.take_along_axis(new, changed, axis=0), new.shape)


@pytree
class Fixed(Wrapper[Any, Any]):
    """A model whose parameters fits do not update, nor does `fit.num_parameters` count them.

    Attributes:
      model: any model; as a component, K of them with a leading axis K. The initial or transition
        probabilities of an `HMM` can be wrapped too.

    Examples:
      >>> from likelax.families import Normal
      >>> still = Fixed(Normal(0.0, 1.0))
      >>> print(still.m_step(still.e_step(jnp.array([5.0]))[0]).model.loc)
      0.0
    """

    held: ClassVar[tuple[str, ...]] = ("model",)

    model: Any = inherited()

    def m_step(self, stats: object, prior: object = None) -> Self:
        """Self, whatever the statistics."""
        return self

    def stacked_m_step(
        self, stats: object, prior: object = None, used: Array | None = None
    ) -> Self:
        """Self, whatever the statistics."""
        return self

    def log_prior(self, prior: object) -> Array:
        """0 nats: parameters that are fixed have no prior density."""
        return jnp.zeros(())
