"""Variational Bayes as one more M step over the same statistics: a node whose parameters are
distributions."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betaln, digamma, gammaln, multigammaln
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import Masked
from likelax.families.base import inside, split_mask, whole
from likelax.families.beta import Beta
from likelax.families.categorical import look_up
from likelax.families.dirichlet import Dirichlet
from likelax.families.gamma import Gamma
from likelax.families.mv_normal import MvNormal
from likelax.families.normal_inverse_gamma import NormalInverseGamma
from likelax.families.normal_inverse_wishart import NormalInverseWishart
from likelax.families.statistics import CategoryCounts
from likelax.mixture import Mixture, MixtureStats
from likelax.model import pytree
from likelax.product import Independent


@pytree
class Variational:
    """A component whose parameter has the distribution `posterior` instead of a value.

    log_prob(x) = E_q[log p(x | theta)], and m_step(stats, prior) = prior.posterior(stats). EM over
    such a node, `fit.em(node, x, prior=prior)`, is coordinate ascent and its objective the ELBO.

    Attributes:
      posterior: q(theta), a conjugate prior's type: `NormalInverseWishart`, `NormalInverseGamma`,
        `Gamma` (of a Poisson rate), `Beta` (of a Bernoulli) or `Dirichlet` (of a categorical).
      likelihood: a model of the family, whose statistics are taken; its parameters don't matter.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2.

    Examples:
      >>> from likelax.families import Bernoulli
      >>> node = Variational(Beta(1.0, 1.0), Bernoulli(0.5))
      >>> print(node.log_prob(jnp.array([0, 1])))  # E log p under a uniform p
      [-1. -1.]
    """

    posterior: Any
    likelihood: Any

    def log_prob(self, x: Any) -> Array:
        """E_q[log p(x | theta)], (...), nats: not normalised, never above log E_q[p]."""
        return expected_log_prob(self.posterior, self.likelihood, x)

    def predictive(self) -> Any:
        """The distribution of one new observation, q integrated out."""
        return self.posterior.predictive(self.likelihood)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """Draws from the predictive distribution."""
        return self.predictive().sample(key, shape)

    def e_step(self, x: Any, weights: Array | None = None) -> tuple[Any, Array]:
        """The likelihood's statistics and the expected log probability, summed with the weights."""
        stats, _ = self.likelihood.e_step(x, weights)
        log_prob = self.log_prob(x)
        weights = jnp.ones_like(log_prob) if weights is None else weights
        return stats, numerics.weighted_sum(weights, log_prob)

    def m_step(self, stats: Any, prior: Any = None) -> Self:
        """q(theta) = prior.posterior(stats).

        Raises:
          ValueError: without a prior, which variational Bayes can't do without.
        """
        if prior is None:
            raise ValueError("Variational: m_step needs a prior; pass prior=... to fit.em")
        return type(self)(prior.posterior(stats), self.likelihood)

    def log_prior(self, prior: Any) -> Array:
        """-KL(q || prior), nats: what `fit.em` adds to the objective, which so is the ELBO."""
        return -kl_divergence(self.posterior, prior)


@pytree
class VariationalMixture:
    """A mixture with distributions over weights and components: `Mixture`'s E step at
    exp(E_q[log weights]) and E_q[log p].

    Attributes:
      weights: q(weights), a `Dirichlet`, or `StickBreaking` for Dirichlet-process weights.
      components: `Variational` with a leading axis K on every leaf.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, 10.2; Blei & Jordan (2006),
    Bayesian Analysis 1, 121-143.
    """

    weights: Any
    components: Variational

    @property
    def num_components(self) -> int:
        """K."""
        return self.weights.mean().shape[-1]

    def log_prob(self, x: Any) -> Array:
        """log sum_k exp(E_q log weights[k] + E_q log p_k(x)), (...), nats."""
        return self._mixture().log_prob(x)

    def posterior(self, x: Any) -> Array:
        """log q(component = k | x), (..., K), nats."""
        return self._mixture().posterior(x)

    def sample(self, key: Array, shape: Sequence[int] = ()) -> Any:
        """Draws from the predictive mixture."""
        return self.predictive().sample(key, shape)

    def components_log_joint(self, x: Any) -> Array:
        """E_q[log weights[k] + log p_k(x)], (..., K), nats."""
        log_lik = self._mixture().component_log_prob(x)
        return log_lik + jnp.broadcast_to(expected_log(self.weights), log_lik.shape)

    def e_step(self, x: Any, weights: Array | None = None) -> tuple[MixtureStats, Array]:
        """Expected statistics and the first part of the ELBO, summed with the weights."""
        return self._mixture().e_step(x, weights)

    def m_step(self, stats: MixtureStats, prior: Any = None) -> Self:
        """q(weights) and q(components), each its prior updated by the statistics.

        Args:
          prior: `MixturePrior` with both parts.
        Raises:
          ValueError: where a part is missing.
        """
        if prior is None or prior.weights is None or prior.components is None:
            raise ValueError(
                "VariationalMixture: m_step needs MixturePrior(weights, components); "
                "pass prior=... to fit.em"
            )
        step = jax.vmap(lambda c, s, p: c.m_step(s, p))
        components = step(self.components, stats.components, prior.components)
        return type(self)(prior.weights.posterior(stats.weights), components)

    def log_prior(self, prior: Any) -> Array:
        """-KL(q || prior) of weights and components, nats."""
        each = jax.vmap(lambda c, p: c.log_prior(p))(self.components, prior.components)
        return jnp.sum(each) - kl_divergence(self.weights, prior.weights)

    def predictive(self) -> Mixture:
        """The distribution of one new observation, q integrated out.

        What a stick-breaking process leaves past K goes to the K components in proportion.
        """
        weights = numerics.normalize(self.weights.mean())
        return Mixture(weights, jax.vmap(_predictive)(self.components))

    def _mixture(self) -> Mixture:
        return Mixture(jnp.exp(expected_log(self.weights)), self.components)


def _predictive(component: Any) -> Any:
    if isinstance(component, Independent):
        return Independent(jax.vmap(_predictive)(component.component))
    return component.predictive()


@pytree
class StickBreaking:
    """weights[k] = v[k] prod_{j<k} (1 - v[j]), v[k] ~ Beta(alpha[k], beta[k]): a Dirichlet process
    cut at K, whose weights past the data's need go to zero.

    Attributes:
      alpha, beta: (K,) positive. `StickBreaking.process(concentration, K)` is the prior.

    Source: Blei & Jordan (2006), Bayesian Analysis 1, 121-143.

    Examples:
      >>> print(StickBreaking.process(1.0, 3).mean())
      [0.5   0.25  0.125]
    """

    alpha: Array
    beta: Array

    @classmethod
    def process(cls, concentration: ArrayLike, num_components: int) -> Self:
        """The prior: v[k] ~ Beta(1, concentration)."""
        (concentration,) = numerics.as_float(concentration)
        ones = jnp.ones(num_components, concentration.dtype)
        return cls(ones, ones * concentration)

    def posterior(self, stats: CategoryCounts) -> Self:
        """alpha + counts, beta + the counts of all later components."""
        later = jnp.flip(jnp.cumsum(jnp.flip(stats.counts))) - stats.counts
        return type(self)(self.alpha + stats.counts, self.beta + later)

    def mean(self) -> Array:
        """(K,) expected weights; they sum to less than one, the rest lies past K."""
        v = self.alpha / (self.alpha + self.beta)
        left = jnp.cumprod(1 - v)
        return v * jnp.concatenate([jnp.ones_like(left[:1]), left[:-1]])


def expected_log(weights: Any) -> Array:
    """E_q[log weights], (K,), nats, of a `Dirichlet` or `StickBreaking`.

    Examples:
      >>> print(expected_log(Dirichlet(jnp.ones(2))))
      [-1. -1.]
    """
    if isinstance(weights, StickBreaking):
        a, b = weights.alpha, weights.beta
        total = digamma(a + b)
        left = jnp.cumsum(digamma(b) - total)
        return digamma(a) - total + jnp.concatenate([jnp.zeros_like(left[:1]), left[:-1]])
    (concentration,) = numerics.as_float(weights.concentration)
    return digamma(concentration) - digamma(jnp.sum(concentration))


def expected_log_prob(q: Any, likelihood: Any, x: Any) -> Array:
    """E_q[log p(x | theta)], (...), nats; -inf off the support, 0 where x was not seen.

    Raises:
      TypeError: for a distribution q that is not one of those `Variational` names.
      ValueError: for `Masked` vectors, whose entries have no closed form one by one.
    """
    if isinstance(q, NormalInverseWishart):
        if isinstance(x, Masked):
            raise ValueError(
                "Variational: vectors with missing entries have no closed form; use "
                "Independent(Variational(NormalInverseGamma(...), Normal(...))), or fit.em of a "
                "mixture of MvNormal with prior=..."
            )
        loc, kappa, dof, scale = q._floats()
        num_dims = loc.shape[-1]
        tril = jnp.linalg.cholesky(scale / dof)
        half = (dof - jnp.arange(num_dims, dtype=loc.dtype)) / 2
        # E log det precision against log det of the plug-in precision dof scale^-1
        gap = jnp.sum(digamma(half)) - num_dims * jnp.log(dof / 2)
        return MvNormal(loc, tril).log_prob(x) + (gap - num_dims / kappa) / 2
    values, observed = split_mask(x)
    terms = _expected_log_prob(q, likelihood, values)
    return terms if observed is None else jnp.where(observed, terms, 0)


def _expected_log_prob(q: Any, likelihood: Any, x: Array) -> Array:
    if isinstance(q, NormalInverseGamma):
        loc, kappa, alpha, beta = numerics.as_float(q.loc, q.kappa, q.alpha, q.beta)
        plug = type(likelihood)(loc, jnp.sqrt(beta / alpha)).log_prob(x)
        return plug + (digamma(alpha) - jnp.log(alpha) - 1 / kappa) / 2
    if isinstance(q, Gamma):
        concentration, rate = numerics.as_float(q.concentration, q.rate)
        v, mean = numerics.as_float(jnp.where(x >= 0, x, 0), concentration / rate)
        terms = v * (digamma(concentration) - jnp.log(rate)) - mean - gammaln(v + 1)
        return inside((x >= 0) & whole(x), x, terms)
    if isinstance(q, Beta):
        alpha, beta = numerics.as_float(q.alpha, q.beta)
        v, total = numerics.as_float(x, digamma(alpha + beta))
        terms = v * digamma(alpha) + (1 - v) * digamma(beta) - total
        return inside((x == 0) | (x == 1), x, terms)
    if isinstance(q, Dirichlet):
        return look_up(expected_log(q), x)
    raise TypeError(f"Variational: no expectation under {type(q).__name__}")


def kl_divergence(q: Any, p: Any) -> Array:
    """KL(q || p) of two conjugate distributions of one type, nats.

    Raises:
      TypeError: for types that differ or have no closed form here.
    """
    if type(q) is not type(p):
        raise TypeError(f"kl_divergence: got {type(q).__name__} and {type(p).__name__}")
    if isinstance(q, NormalInverseWishart):
        loc, kappa, dof, scale = q._floats()
        loc0, kappa0, dof0, scale0 = p._floats()
        num_dims = loc.shape[-1]
        tril, tril0 = jnp.linalg.cholesky(scale), jnp.linalg.cholesky(scale0)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))
        log_det0 = 2 * jnp.sum(jnp.log(jnp.diagonal(tril0)))
        solve = jax.scipy.linalg.solve_triangular
        gap = solve(tril, loc - loc0, lower=True)
        trace = jnp.sum(solve(tril, tril0, lower=True) ** 2)
        ratio = kappa0 / kappa
        normal = (num_dims * (ratio - 1 - jnp.log(ratio)) + kappa0 * dof * jnp.sum(gap**2)) / 2
        half = (dof - jnp.arange(num_dims, dtype=loc.dtype)) / 2
        wishart = (
            dof0 / 2 * (log_det - log_det0)
            + multigammaln(dof0 / 2, num_dims)
            - multigammaln(dof / 2, num_dims)
            + (dof - dof0) / 2 * jnp.sum(digamma(half))
            + dof * (trace - num_dims) / 2
        )
        return normal + wishart
    if isinstance(q, NormalInverseGamma):
        loc, kappa, alpha, beta = numerics.as_float(q.loc, q.kappa, q.alpha, q.beta)
        loc0, kappa0, alpha0, beta0 = numerics.as_float(p.loc, p.kappa, p.alpha, p.beta)
        ratio = kappa0 / kappa
        normal = (ratio - 1 - jnp.log(ratio) + kappa0 * (loc - loc0) ** 2 * alpha / beta) / 2
        return normal + _kl_gamma(alpha, beta, alpha0, beta0)
    if isinstance(q, Gamma):
        return _kl_gamma(*numerics.as_float(q.concentration, q.rate, p.concentration, p.rate))
    if isinstance(q, Beta | StickBreaking):
        alpha, beta, alpha0, beta0 = numerics.as_float(q.alpha, q.beta, p.alpha, p.beta)
        total = digamma(alpha + beta)
        return jnp.sum(
            betaln(alpha0, beta0)
            - betaln(alpha, beta)
            + (alpha - alpha0) * (digamma(alpha) - total)
            + (beta - beta0) * (digamma(beta) - total)
        )
    if isinstance(q, Dirichlet):
        a, a0 = numerics.as_float(q.concentration, p.concentration)
        norm = gammaln(jnp.sum(a)) - gammaln(jnp.sum(a0)) - jnp.sum(gammaln(a) - gammaln(a0))
        return norm + jnp.sum((a - a0) * expected_log(q))
    raise TypeError(f"kl_divergence: no closed form for {type(q).__name__}")


def _kl_gamma(a: Array, b: Array, a0: Array, b0: Array) -> Array:
    return (
        (a - a0) * digamma(a)
        - gammaln(a)
        + gammaln(a0)
        + a0 * (jnp.log(b) - jnp.log(b0))
        + a * (b0 - b) / b
    )
