"""The contract: what every model answers, with a default for whatever has one.

`Density` answers `log_prob` and `sample`; `Model` can also be fitted by EM. Nodes such as `Mixture`
and `HMM` call these methods and nothing else, so a model that derives from `Model` works in every
node, in every wrapper and in every fit.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax._pytree import check_registration, pytree, static
from likelax.constraints import Constraint
from likelax.data import first_index, is_concrete, take_labels, take_mask
from likelax.statistics import scale

__all__ = ["Density", "Model", "check_registration", "pytree", "static"]


class Density(abc.ABC):
    """A distribution with a log density: what a component must answer at least.

    An instance describes ONE distribution. K of them are the same pytree with a leading axis K on
    every leaf; the `stacked_*` methods are called on such a stack, the others through `jax.vmap`.

    Attributes:
      held: names of the fields that no fit changes, such as a total count.
      spread: names of the fields that components share when they are wrapped in `Tied`.
      stacks: names of the fields that hold K models, one for each value of a latent variable.
      repeats: names of the fields that hold one model for each entry of an event axis.
      ties: whether components share their `spread`, as in `Tied`.
    """

    _event_ndim: ClassVar[int] = 0
    held: ClassVar[tuple[str, ...]] = ()
    spread: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[tuple[str, ...]] = ()
    repeats: ClassVar[tuple[str, ...]] = ()
    ties: ClassVar[bool] = False

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self._event_ndim

    @property
    def free_ndim(self) -> int:
        """Leading axes of one observation whose length no parameter says, such as time.

        `sample(key, shape)` takes their lengths as the last entries of `shape`.
        """
        return 0

    @abc.abstractmethod
    def log_prob(self, x: Any) -> Array:
        """Log density in nats: x of shape (..., *event) gives (...)."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """Independent draws of shape (*shape, *event)."""

    def sample_given(self, key: Array, inputs: Any, shape: Sequence[int] = ()) -> Any:
        """Independent draws of a model of targets given inputs, such as a regression.

        Args:
          key: random key.
          inputs: (*shape, ...), what the model is given; a dict or tuple of it for a product.
          shape: of the draws.
        Returns:
          Draws of shape (*shape, *event) as `log_prob` takes them, the inputs included.
        Raises:
          TypeError: for a model that takes no inputs.
        """
        raise TypeError(f"{type(self).__name__}.sample: it takes no inputs; leave inputs out")

    def log_kernel(self, x: Any) -> Array:
        """log p(x) up to a term without parameters, (...), nats: enough for a posterior over models.

        Override it where the rest is expensive, such as the coefficient of a multinomial.
        """
        return self.log_prob(x)

    def mean(self) -> Any:
        """Expected value of one observation, (*event).

        Raises:
          TypeError: for a model whose mean has no closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}.mean: no closed form; average over .sample(key, (S,))"
        )

    def variance(self) -> Any:
        """Variance of each entry of one observation, (*event).

        Raises:
          TypeError: for a model whose variance has no closed form here.
        """
        raise TypeError(
            f"{type(self).__name__}.variance: no closed form; take it from .sample(key, (S,))"
        )

    def num_observations(self, x: Any) -> Array:
        """How many observations each entry of `log_prob(x)` stands for, (...): one, or T steps."""
        return jnp.ones_like(self.log_prob(x))

    def marginal(self, dims: Any) -> Any:
        """The distribution of the event entries `dims` alone.

        Raises:
          TypeError: for a model whose marginals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.marginal: no closed form")

    def condition(self, dims: Any, values: ArrayLike) -> Any:
        """The distribution of the other event entries, given that the entries `dims` are `values`.

        Raises:
          TypeError: for a model whose conditionals have no closed form here.
        """
        raise TypeError(f"{type(self).__name__}.condition: no closed form")

    def atom(self) -> tuple[Array, Array] | None:
        """(whether the whole mass lies on one point, that point): a limit such as a scale of 0.

        None for a model that has no such limit. Works on stacked models too.
        """
        return None

    def possible(self, x: Any) -> Any:
        """Where some value of the parameters gives x a positive density: booleans (...).

        Fits refuse other observations. It runs on the host: all arrays, those of self too, are
        NumPy arrays. Override it for a density with a support; here every x is possible.
        """
        return np.True_

    def stacked_possible(self, x: Any) -> Any:
        """Where `possible` holds for one of K models, stacked in self, at least: booleans (...)."""
        leaves, structure = jax.tree.flatten(self)
        found: Any = np.False_
        for k in range(leaves[0].shape[0]):
            found = found | jax.tree.unflatten(structure, [a[k] for a in leaves]).possible(x)
            if np.all(found):
                break
        return found

    def stacked_log_prob(self, x: Any) -> Array:
        """log p_k(x) of K models, stacked in self: (..., K), nats."""
        return jax.vmap(lambda model: model.log_prob(x), out_axes=-1)(self)

    def stacked_log_kernel(self, x: Any) -> Array:
        """`log_kernel` of K models, stacked in self: (..., K), nats."""
        if type(self).log_kernel is Density.log_kernel:
            return self.stacked_log_prob(x)
        return jax.vmap(lambda model: model.log_kernel(x), out_axes=-1)(self)

    def constraint(self, field: str, index: Any = None) -> Constraint | None:
        """The constraint of an entry of a field, where the field itself declares none.

        Args:
          field: name of a field.
          index: the entry of a dict, tuple or list in that field, or None.
        """
        return None

    def used(self, field: str, index: Any = None) -> Array | None:
        """Which of the models in a field have a probability above zero; None: all of them.

        Args:
          field: name of a field; for one of `stacks` the result has the axis K.
          index: the entry of a dict, tuple or list in that field, or None.
        Returns:
          Booleans with the leading axes of self, and those that the field adds.
        """
        return None

    def check_shapes(self, name: str) -> None:
        """Raise if parts of this model do not fit each other.

        Args:
          name: the function that was called, for the message.
        """
        return

    def check_labels(self, name: str, x: Any) -> None:
        """Raise if labels in x do not fit the latent variables of this model.

        Traced labels are not looked at.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: a label out of range, or labels for a model without latent variables.
        """
        if take_labels(x)[1] is not None:
            raise ValueError(
                f"{name}: {type(self).__name__} has no latent variable to label; leave Labelled out"
            )


class Model(Density):
    """A density with additive sufficient statistics: one that EM can fit."""

    @abc.abstractmethod
    def e_step(self, x: Any, weights: ArrayLike | None = None) -> tuple[Any, Array]:
        """(statistics, log_prob), both summed over the leading axes of x with the weights.

        Statistics of two data sets under one model add with `statistics.add` to those of
        both together. log_prob is a scalar: sum_n weights[n] log p(x[n]).
        """

    @abc.abstractmethod
    def m_step(self, stats: Any, prior: Any = None) -> Self:
        """The model that maximises the expected log joint of the statistics.

        That is `expected_log_prob(stats)`, plus `log_prior(prior)` where there is a prior.
        Without statistics and prior the parameters stay as they are.
        """

    @abc.abstractmethod
    def expected_log_prob(self, stats: Any) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats."""

    def log_prior(self, prior: Any) -> Array:
        """Log density of the parameters under a prior, nats; 0 without one.

        Raises:
          ValueError: for a prior, if this model has no conjugate one.
        """
        if prior is None:
            return jnp.zeros(())
        raise ValueError(
            f"{type(self).__name__}.log_prior: it has no conjugate prior; got {prior!r}"
        )

    def predictive(self, prior: Any) -> Any:
        """The distribution of one new observation with the parameters integrated out.

        Raises:
          TypeError: for a model without a closed form.
        """
        raise TypeError(f"{type(self).__name__}.predictive: no closed form")

    def stacked_e_step(self, x: Any, shares: Array) -> Any:
        """Statistics of K models, stacked in self, with a leading axis K.

        Args:
          x: data with leading axes (...).
          shares: (..., K) non-negative: the weight of each observation in each model.
        """
        each = jax.vmap(lambda model, share: model.e_step(x, share)[0], in_axes=(0, -1))
        return each(self, shares)

    def stacked_m_step(self, stats: Any, prior: Any = None) -> Self:
        """M step of K models, stacked in self; `Tied` ones share statistics here.

        Args:
          stats: statistics with a leading axis K.
          prior: the model's prior with a leading axis K on every leaf, or None.
        """
        return jax.vmap(lambda model, s, p: model.m_step(s, p))(self, stats, prior)

    def mixture_e_step(
        self, log_weights: Array, x: Any, weights: ArrayLike | None = None
    ) -> tuple[Array, Any, Array] | None:
        """A fused E step of the mixture of K models, stacked in self, or None for none.

        Override it only if the joint form is faster than `stacked_log_prob` and `stacked_e_step`.

        Args:
          log_weights: (K,) nats.
          x: data with leading axes (...), without labels.
          weights: (...), or None for ones.
        Returns:
          (counts (K,), statistics with leading axis K, weighted log probability in nats), or None.
        """
        return None

    def pool_with_prior(self, stats: Any, prior: Any) -> tuple[Any, Any]:
        """`pool` with a prior: statistics and a prior whose M step shares the spread.

        Args:
          stats: statistics with a leading axis K.
          prior: the model's prior with a leading axis K on every leaf, or None. The K spreads are
            one number, so their priors multiply.
        Raises:
          TypeError: for a model without a spread that components can share.
        """
        if prior is None:
            return self.pool(stats), None
        # an M step of no data under the posterior is that of the data under the prior
        posterior = jax.vmap(lambda prior, s: prior.posterior(s))(prior, stats)
        return scale(stats, 0.0), posterior.pooled()

    def pool(self, stats: Any) -> Any:
        """Statistics of K models from which an M step gives all the same spread: what `Tied` calls.

        Args:
          stats: statistics with a leading axis K.
        Returns:
          Statistics of the same form: each model keeps what determines its location, and has the
          scatter and weight of all K together. Empty statistics stay empty.
        Raises:
          TypeError: for a model without a spread that components can share.
        """
        raise TypeError(f"Tied: {type(self).__name__} has no covariance or scale to share")


class JointPrior(abc.ABC):
    """The priors of the parts of a node, such as `MixturePrior`; it has no density of its own."""

    @abc.abstractmethod
    def posterior(self, stats: Any) -> Self:
        """Each part updated by its statistics: exact where the latent variables were seen."""


def check_part(name: str, field: str, value: Any) -> None:
    """Raise unless a field holds a model of this library.

    Raises:
      TypeError: naming the field and how to adapt a distribution from elsewhere.
    """
    if not isinstance(value, Density):
        kind = f"{type(value).__module__}.{type(value).__name__}"
        raise TypeError(
            f"{name}: {field} must be a likelax model; got {kind}. Wrap a distribution of another "
            "library by its adapter in likelax.interop, or derive a class from likelax.Model"
        )


def check_possible(name: str, model: Density, x: Any, weights: Any = None) -> None:
    """Raise for an observation that no parameters of the model give a positive density.

    Traced arguments are let through; the objective of a fit is -inf or NaN then.

    Args:
      name: the function that was called, for the message.
      model: any model; only parameters that no fit changes matter, such as a total count.
      x: data, plain or wrapped.
      weights: one for each observation, or None. An observation of weight zero may be anything.
    Raises:
      ValueError: naming the first such observation.
    """
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves((model, x, weights))):
        return
    model, x = jax.tree.map(np.asarray, (model, x))
    wrong = ~np.asarray(model.possible(x))
    if weights is not None and wrong.shape == np.shape(weights):
        wrong &= np.asarray(weights) > 0
    if not wrong.any():
        return
    at = first_index(wrong)
    values = take_mask(x)[0]
    what = f"the observation at index {at}"
    if isinstance(values, np.ndarray):
        what = f"x{list(at) if at else ''} = {values[at]}"
    raise ValueError(
        f"{name}: {what} has probability zero whatever the parameters of {type(model).__name__}; "
        "remove it, or declare it missing with Masked"
    )
