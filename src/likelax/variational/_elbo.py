"""The evidence lower bound: exact over finite latents, and by Monte Carlo."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import monte_carlo
from likelax.numerics import log_normalize, named_floats
from likelax.numerics.checks import checked
from likelax.variational.estimators import Estimator, Guide, LogJoint, pathwise


class ExactElbo(NamedTuple):
    """An evidence lower bound and its gap, in nats: elbo = log_evidence - kl.

    Attributes:
      elbo: (...) E_q[log p(x, z) - log q(z)].
      kl: (...) KL(q || p(z | x)), the gap; zero if q is the posterior.
      log_evidence: (...) log p(x).
    """

    elbo: Array
    kl: Array
    log_evidence: Array


def exact_elbo(log_joint: ArrayLike, log_guide: ArrayLike) -> ExactElbo:
    """ELBO of a latent with K states, by summing over them.

    elbo = sum_k q_k (log p(x, z = k) - log q_k)

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_joint: (..., K) log p(x, z = k), nats; -inf is an impossible state.
      log_guide: (..., K) log q(z = k), nats, up to a constant: it is normalised here.
    Returns:
      An `ExactElbo` of arrays (...). The elbo is at most the log evidence, and -inf if the guide has
      mass on an impossible state.
    Raises:
      ValueError: if the shapes differ.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, 9.4.

    Examples:
      >>> joint = jnp.log(jnp.array([0.4, 0.2]))
      >>> print(exact_elbo(joint, joint).kl)
      0.0
    """
    log_joint, log_guide = named_floats(log_joint=log_joint, log_guide=log_guide)
    if log_joint.shape != log_guide.shape or log_joint.ndim == 0:
        raise ValueError(
            "exact_elbo wants log_joint and log_guide of one shape (..., K), got "
            f"{log_joint.shape} and {log_guide.shape}."
        )
    log_posterior, log_evidence = log_normalize(log_joint)
    log_q, _ = log_normalize(log_guide)
    kl = _kl(log_q, log_posterior)
    return ExactElbo(log_evidence - kl, kl, log_evidence)


def _kl(log_q: Array, log_p: Array) -> Array:
    """sum_k q_k log(q_k / p_k), as a sum of terms that are never negative."""
    both = (log_q != -jnp.inf) & (log_p != -jnp.inf)  # NaN too, so that it gives NaN
    ratio = jnp.where(both, log_p, 0) - jnp.where(both, log_q, 0)
    q, p = jnp.exp(log_q), jnp.exp(log_p)
    # the terms - q + p sum to zero
    far = ratio > 1
    near = jnp.where(far, 0, ratio)
    # if q is far below p, q may underflow and exp(ratio) overflow, but p does neither
    shared = jnp.where(far, p - q - q * ratio, q * jnp.maximum(jnp.expm1(near) - near, 0))
    alone = jnp.where(q > 0, jnp.inf, p)
    return jnp.sum(jnp.where(both, shared, alone), axis=-1)


@checked()
def elbo(
    key: Array,
    log_joint: LogJoint,
    guide: Guide,
    num_samples: int,
    *,
    estimator: Estimator = pathwise,
) -> monte_carlo.Estimate:
    """ELBO by Monte Carlo, with its standard error and the gradient of the estimator.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats. For a minibatch of B
        from N data, multiply the likelihood term by N / B.
      guide: the approximate posterior q: anything with `sample(key, shape)` and `log_prob(z)`.
        It can be a NumPyro distribution or a model of this library.
      num_samples: S terms.
      estimator: `pathwise` (differentiable draws), `rloo` (discrete latents), or another of
        this package. It defines the bound and the gradient.
    Returns:
      An `Estimate` of a scalar. If the guide is the posterior, its value is the log evidence and its
      standard error zero.
    Raises:
      ValueError: a log_joint that does not return a scalar, or num_samples below 1.
    Source: Blei, Kucukelbir and McAuliffe (2017), Variational inference: a review for statisticians.

    Examples:
      >>> import jax
      >>> from likelax.variational import elbo
      >>> class Coin:  # the posterior of a fair coin without data
      ...     def sample(self, key, shape=()):
      ...         return jax.random.bernoulli(key, 0.5, shape)
      ...     def log_prob(self, z):
      ...         return jnp.full(jnp.shape(z), jnp.log(0.5))
      >>> print(elbo(jax.random.key(0), lambda z: jnp.log(0.5) + 0.0, Coin(), 8).value)
      0.0
    """
    monte_carlo.check_num_samples(num_samples)
    return monte_carlo.mean(estimator(key, log_joint, guide, num_samples))
