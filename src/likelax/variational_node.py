"""Variational Bayes by EM: nodes whose parameters are distributions, updated by an M step."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike
from likelax.families.base import Prior
from likelax.families.beta import Beta
from likelax.families.dirichlet import Dirichlet
from likelax.families.simplex import simplex_divergence
from likelax.mixture import Mixture, MixturePrior, MixtureStats
from likelax.model import Density, JointPrior, Model, P, S, check_stack, pytree
from likelax.numerics.checks import checked
from likelax.one_program import one_program
from likelax.statistics import CategoryCounts, scale
from likelax.wrappers import Tied


@pytree
class Variational(Model[S, Prior[S]]):
    """A component whose parameter has the distribution `posterior` instead of a value.

    log_prob(x) = E_q[log p(x | theta)], and m_step(stats, prior) = prior.posterior(stats). EM over
    such a node, `fit.em(node, x, prior=prior)`, is coordinate ascent and its objective the ELBO.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      posterior: q(theta), a conjugate prior's type: `NormalInverseWishart`, `NormalInverseGamma`,
        `Gamma` (of a Poisson rate), `Beta` (of a Bernoulli) or `Dirichlet` (of a categorical).
      likelihood: a model of the family, which computes the statistics; its parameters are not used, and
        no fit changes them.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2.

    Examples:
      >>> from likelax.families import Bernoulli, Beta
      >>> node = Variational(Beta(1.0, 1.0), Bernoulli(0.5))
      >>> print(node.log_prob(jnp.array([0, 1])))  # E log p under a uniform p
      [-1. -1.]
    """

    held: ClassVar[tuple[str, ...]] = ("likelihood",)

    posterior: Any
    likelihood: Any

    if TYPE_CHECKING:  # the fields are dynamic, so that their own attributes can be read

        def __init__(self, posterior: Prior[S], likelihood: Model[S, Any]) -> None: ...

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self.likelihood.event_ndim

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """E_q[log p(x | theta)], (...), nats: not normalised, never above log E_q[p]."""
        return self.posterior.expected_log_density(self.likelihood, x)

    def predictive(self, prior: Prior[S] | None = None) -> Density:
        """The distribution of one new observation, q integrated out; prior is not used."""
        return self.likelihood.predictive(self.posterior)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Draws from the predictive distribution."""
        return self.predictive().sample(key, shape)

    def mean(self) -> DataLike:
        """Mean of the predictive distribution."""
        return self.predictive().mean()

    def variance(self) -> DataLike:
        """Variance of the predictive distribution."""
        return self.predictive().variance()

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """The likelihood's statistics and the expected log probability, summed with the weights."""
        stats, _ = self.likelihood.e_step(x, weights)
        log_prob = self.log_prob(x)
        weights = jnp.ones_like(log_prob) if weights is None else weights
        return stats, numerics.weighted_sum(weights, log_prob)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """As the likelihood."""
        return self.likelihood.possible(x)

    @one_program
    def m_step(self, stats: S, prior: Prior[S] | None = None) -> Self:
        """q(theta) = prior.posterior(stats).

        Raises:
          ValueError: without a prior, which variational Bayes can't do without.
        """
        return type(self)(_given(prior, "m_step").posterior(stats), self.likelihood)

    def pool_with_prior(
        self, stats: S, prior: Prior[S] | None, used: Array | None = None
    ) -> tuple[S, Prior[S] | None]:
        """Empty statistics, and the posterior of K stacked nodes with one spread in common.

        Its M step under that is itself; `Tied` calls it.

        Raises:
          ValueError: without a prior.
        """
        return scale(stats, 0.0), _given(prior, "m_step").tied_posterior(stats, used)

    def tied_log_prior(self, prior: Prior[S] | None, used: Array | None = None) -> Array:
        """-KL(q || prior) of K stacked nodes with one spread in common, nats.

        Raises:
          ValueError: without a prior.
        """
        return -self.posterior.tied_divergence(_given(prior, "log_prior"), used)

    def expected_log_prob(self, stats: S) -> Array:
        """E_q[log p(data | theta)] from the statistics of the data, nats."""
        return self.posterior.expected_log_likelihood(stats)

    def log_prior(self, prior: Prior[S] | None) -> Array:
        """-KL(q || prior), nats: `fit.em` adds it to the objective, which then is the ELBO.

        Raises:
          ValueError: without a prior.
        """
        return -self.posterior.kl_divergence(_given(prior, "log_prior"))


def _given(prior: Prior[S] | None, verb: str) -> Prior[S]:
    if prior is None:
        raise ValueError(f"Variational: {verb} needs a prior; pass prior=... to fit.em")
    return prior


class VariationalNode(Model[S, P]):
    """A node with latent variables, its parameters distributions: what mixtures and chains share.

    Its E step is that of the node at expected log parameters, exp(E_q[log p]), whose weights sum to
    less than one.
    """

    @abc.abstractmethod
    def _at_expectations(self) -> Model[S, P]:
        """The node whose log parameters are E_q[log parameters]: not normalised."""

    @abc.abstractmethod
    def predictive(self, prior: P | None = None) -> Density:
        """The distribution of one new observation; prior is not used."""

    @property
    def event_ndim(self) -> int:
        """Number of axes of one observation."""
        return self._at_expectations().event_ndim

    @property
    def free_ndim(self) -> int:
        """Axes of one observation of free length."""
        return self._at_expectations().free_ndim

    def sample(self, key: Array, shape: Sequence[int] = ()) -> DataLike:
        """Draws from the predictive distribution."""
        return self.predictive().sample(key, shape)

    def mean(self) -> DataLike:
        """Mean of the predictive distribution."""
        return self.predictive().mean()

    def variance(self) -> DataLike:
        """Variance of the predictive distribution."""
        return self.predictive().variance()

    @one_program
    def log_prob(self, x: DataLike) -> Array:
        """log of the sum over the latent variables z of exp(E_q[log p(x, z)]), (...), nats."""
        return self._at_expectations().log_prob(x)

    @one_program
    def e_step(self, x: DataLike, weights: ArrayLike | None = None) -> tuple[S, Array]:
        """Expected statistics and the first part of the ELBO, summed with the weights."""
        return self._at_expectations().e_step(x, weights)

    def expected_log_prob(self, stats: S) -> Array:
        """Expected complete-data log probability as a function of the statistics, nats."""
        return self._at_expectations().expected_log_prob(stats)

    def num_observations(self, x: DataLike) -> Array:
        """One, or the number of steps of a sequence without padding, (...)."""
        return self._at_expectations().num_observations(x)

    def possible(self, x: DataLike) -> np.ndarray | np.bool_:
        """Where x is possible."""
        return self._at_expectations().possible(x)

    def check_labels(self, name: str, x: DataLike) -> None:
        """Raise if labels in x are out of range.

        Args:
          name: the function that was called, for the message.
          x: data, plain or wrapped.
        Raises:
          ValueError: starting with `name`.
        """
        self._at_expectations().check_labels(name, x)


def parts_of_prior(verb: str, wanted: type[JointPrior[Any]], prior: Any) -> list[Any]:
    """The parts of a joint prior, all of which a variational node needs.

    Raises:
      ValueError: naming the parts, where one is missing.
    """
    names = [field.name for field in dataclasses.fields(cast(Any, wanted))]
    parts = [getattr(prior, name, None) for name in names]
    if any(part is None for part in parts):
        raise ValueError(
            f"{verb} needs {wanted.__name__}({', '.join(names)}); pass prior=... to fit.em"
        )
    return parts


@pytree
class VariationalMixture(VariationalNode[MixtureStats, MixturePrior]):
    """A mixture with distributions over its weights and over the parameters of its components.

    Its E step is that of `Mixture` at exp(E_q[log weights]) and E_q[log p].

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      weights: q(weights), a `Dirichlet`, or `StickBreaking` for Dirichlet-process weights.
      components: `Variational` with a leading axis K on every leaf, or `Tied` around it, for one
        covariance: the prior of that is then the mean of the K in the prior, and counts once. With
        `SphericalNormal` every component has one variance for all directions.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2; Blei & Jordan (2006),
    Bayesian Analysis 1, 121-143.

    Examples:
      >>> from likelax import Bernoulli, Beta, Dirichlet
      >>> coins = Variational(Beta(jnp.ones(2), jnp.ones(2)), Bernoulli(jnp.full(2, 0.5)))
      >>> node = VariationalMixture(Dirichlet(jnp.ones(2)), coins)
      >>> predictive = node.predictive()  # a mixture
      >>> print(predictive.weights, predictive.components.probs)
      [0.5 0.5] [0.5 0.5]
    """

    stacks: ClassVar[tuple[str, ...]] = ("components",)

    weights: "Dirichlet | StickBreaking"
    components: Variational[Any] | Tied[Any, Any]

    def check_shapes(self, name: str) -> None:
        """Raise for another number of components than weights.

        Raises:
          ValueError: starting with `name`.
        """
        check_stack(
            name, "components", self.components, "weights", size_of(name, "weights", self.weights)
        )

    @property
    def num_components(self) -> int:
        """K."""
        return self.weights.mean().shape[-1]

    @one_program
    def log_responsibilities(self, x: DataLike) -> Array:
        """log q(component = k | x), (..., K), nats.

        As `Mixture.log_responsibilities`, which has an example of it.
        """
        return self._at_expectations().log_responsibilities(x)

    def components_log_joint(self, x: DataLike) -> Array:
        """E_q[log weights[k] + log p_k(x)], (..., K), nats.

        `log_responsibilities` is this up to a constant; see the example of `Mixture`.
        """
        log_lik = self._at_expectations().component_log_prob(x)
        return log_lik + jnp.broadcast_to(self.weights.expected_log(), log_lik.shape)

    @one_program
    def m_step(self, stats: MixtureStats, prior: MixturePrior | None = None) -> Self:
        """q(weights) and q(components), each its prior updated by the statistics.

        Args:
          prior: `MixturePrior` with both parts.
        Raises:
          ValueError: where a part is missing.
        """
        over_weights, over_components = parts_of_prior(
            "VariationalMixture: m_step", MixturePrior, prior
        )
        components = self.components.stacked_m_step(stats.components, over_components)
        return type(self)(over_weights.posterior(stats.weights), components)

    def log_prior(self, prior: MixturePrior | None) -> Array:
        """-KL(q || prior) of weights and components, nats.

        Raises:
          ValueError: where a part of the prior is missing.
        """
        over_weights, over_components = parts_of_prior(
            "VariationalMixture: log_prior", MixturePrior, prior
        )
        over = self.components.stacked_log_prior(over_components)
        return over - self.weights.kl_divergence(over_weights)

    @one_program
    def predictive(self, prior: MixturePrior | None = None) -> Mixture:
        """The distribution of one new observation, q integrated out; prior is not used.

        The weights of a stick-breaking process beyond K are shared by the K components in proportion.
        """
        weights = numerics.normalize(self.weights.mean())
        return Mixture(weights, jax.vmap(lambda c: c.predictive(None))(self.components))

    def _at_expectations(self) -> "_LogMixture":
        """The mixture at exp(E_q[log weights]) and E_q[log p]."""
        return _LogMixture(self.weights.expected_log(), self.components)


@pytree
class _LogMixture(Mixture[Any]):
    """A mixture whose `weights` are logs of weights, which need not sum to one."""

    def _log_weights(self) -> Array:
        return self.weights


def size_of(name: str, field: str, weights: "Dirichlet | StickBreaking") -> tuple[int, ...]:
    """The shape of the arrays of a distribution over weights.

    Raises:
      ValueError: where one of them is a number.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(weights)]
    if () in shapes:
        raise ValueError(f"{name}: {field} must have arrays of shape (K,), got a number")
    return shapes[0]


@pytree
class StickBreaking:
    """weights[k] = v[k] prod_{j<k} (1 - v[j]), v[k] ~ Beta(alpha[k], beta[k])

    A Dirichlet process truncated at K components. The weights of components without data shrink to
    zero.

    Float32: answers of its methods within 1e-5 of 1 + their size, and of one rounding of the
    arguments.

    Attributes:
      alpha, beta: (K,) positive, or (..., K), one process for each row.
        `StickBreaking.process(concentration, K)` is the prior.

    Source: Blei & Jordan (2006), Bayesian Analysis 1, 121-143.

    Examples:
      >>> print(StickBreaking.process(1.0, 3).mean())
      [0.5   0.25  0.125]
    """

    alpha: Array
    beta: Array

    @classmethod
    @checked()
    def process(cls, concentration: ArrayLike, num_components: int) -> Self:
        """The prior: v[k] ~ Beta(1, concentration). See the example of the class.

        Args:
          concentration: positive scalar.
          num_components: K.
        Raises:
          ValueError: for several concentrations.
        """
        (concentration,) = numerics.named_floats(concentration=concentration)
        if concentration.ndim:
            raise ValueError(f"concentration must be a number, got shape {concentration.shape}")
        ones = jnp.ones(num_components, concentration.dtype)
        return cls(ones, ones * concentration)

    def posterior(self, stats: CategoryCounts) -> Self:
        """alpha + counts, beta + the counts of all later components."""
        counts = stats.counts
        later = jnp.flip(jnp.cumsum(jnp.flip(counts, -1), -1), -1) - counts
        return type(self)(self.alpha + counts, self.beta + later)

    def nearest_to(self, others: Self) -> Self:
        """Every stick nearest to those of others with a leading axis."""
        each = jax.vmap(lambda prior, q: prior.nearest_to(q), (0, 1))
        found = each(Beta(self.alpha, self.beta), Beta(others.alpha, others.beta))
        return type(self)(found.alpha, found.beta)

    def expected_log(self) -> Array:
        """E[log weights], (..., K), nats.

        Examples:
          >>> print(StickBreaking.process(1.0, 2).expected_log())  # -1 and -2
          [-1. -2.]
        """
        a, b = numerics.as_float(self.alpha, self.beta)
        first, rest, total = digamma(jnp.stack([a, b, a + b]))  # one program in place of three
        left = jnp.cumsum(rest - total, axis=-1)
        before = jnp.concatenate([jnp.zeros_like(left[..., :1]), left[..., :-1]], axis=-1)
        return first - total + before

    def kl_divergence(self, other: Self) -> Array:
        """KL(self || other), nats."""
        mine, theirs = (jnp.stack([p.alpha, p.beta], axis=-1) for p in (self, other))
        return jnp.sum(simplex_divergence(mine, theirs))

    def mean(self) -> Array:
        """(..., K) expected weights; their sum is below one: components beyond K have the rest."""
        v = self.alpha / (self.alpha + self.beta)
        left = jnp.cumprod(1 - v, axis=-1)
        return v * jnp.concatenate([jnp.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
