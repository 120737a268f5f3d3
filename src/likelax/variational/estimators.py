"""Estimators of evidence lower bounds and of their gradients, one function each.

An estimator draws from the guide and returns S terms. Their mean estimates the bound. The gradient of
their mean estimates the gradient of the bound with respect to the parameters of the guide, and to
those of the log joint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from likelax.constraints import is_floating
from likelax.numerics import as_float, logsumexp
from likelax.numerics.checks import check_function, check_methods, checked
from likelax.variational.guides import Reparameterized
from likelax.variational.leaves import jittable, whole

Latents: TypeAlias = Any
"""One draw of the latents: any pytree of arrays."""

LogJoint = Callable[[Latents], Array]
"""One draw of the latents -> scalar log p(x, z), nats."""

G = TypeVar("G")


class Guide(Protocol):
    """An approximate posterior: draws, and their log density."""

    def sample(self, key: Array, shape: Sequence[int], /) -> Latents:
        """Draws with leading axes `shape`."""
        ...

    def log_prob(self, x: Latents, /) -> Array:
        """Log density of a draw, nats."""
        ...


Estimator = Callable[[Array, LogJoint, Any, int], Array]
"""(key, log_joint, guide, num_samples) -> (num_samples,) terms, nats."""


@checked()
def pathwise(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
    """ELBO terms log p(x, z) - log q(z) with the gradient through the draws z.

    For guides whose draws are differentiable with respect to their parameters. Discrete draws have no
    gradient, and the result would be wrong: use `rloo` for them.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`.
      num_samples: S draws.
    Returns:
      (S,) terms, nats.
    Raises:
      ValueError: for a log_joint or a log density that is not scalar for one draw.
    Source: Kingma and Welling (2014), Auto-encoding variational Bayes.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)  # the posterior, so that all terms are equal
      >>> log_joint = lambda z: 2.0 - jnp.sum(z**2) / 2
      >>> print(pathwise(jax.random.key(0), log_joint, guide, 2).round(4))
      [2.9189 2.9189]
    """
    log_joint, guide, _ = density(log_joint, guide)
    draws, log_q = draws_and_log_guides(key, guide, num_samples)
    return _log_joints(log_joint, draws, num_samples) - log_q


@checked()
def sticking_the_landing(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
    """ELBO terms whose pathwise gradient leaves out the score of the guide.

    The score has mean zero. Without it the gradient has zero variance if the guide is the posterior.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`, a pytree.
      num_samples: S draws.
    Returns:
      (S,) terms, nats.
    Source: Roeder, Wu and Duvenaud (2017), Sticking the landing.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)  # the posterior, so that all terms are equal
      >>> log_joint = lambda z: 2.0 - jnp.sum(z**2) / 2
      >>> print(sticking_the_landing(jax.random.key(0), log_joint, guide, 2).round(4))
      [2.9189 2.9189]
    """
    log_joint, guide, _ = density(log_joint, guide)
    draws, log_q = draws_and_log_guides(key, guide, num_samples)
    frozen = _frozen_log_guides(_stop(guide), draws, log_q)
    return _log_joints(log_joint, draws, num_samples) - frozen


@checked()
def analytic_entropy(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
    """ELBO terms log p(x, z) + H(q), for guides with a closed form of their entropy.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`; it, or its base, also has `entropy()`.
      num_samples: S draws.
    Returns:
      (S,) terms, nats.
    Source: Kucukelbir et al. (2017), Automatic differentiation variational inference.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)
      >>> terms = analytic_entropy(jax.random.key(0), lambda z: jnp.zeros(()), guide, 2)
      >>> print(terms.round(4))  # the entropy of a standard normal
      [1.4189 1.4189]
    """
    log_joint, base, _ = density(log_joint, guide)
    draws = base.sample(key, (num_samples,))
    return _log_joints(log_joint, draws, num_samples) + base.entropy()


@checked()
def score(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
    """ELBO terms with the score gradient, E[(log p - log q) grad log q], for any guide.

    It is unbiased for discrete latents, but has a large variance: with two draws or more, `rloo` is
    better.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`.
      num_samples: S draws.
    Returns:
      (S,) terms, nats.
    Source: Ranganath, Gerrish and Blei (2014), Black box variational inference.

    Examples:
      >>> from likelax import Bernoulli
      >>> log_joint = lambda z: jnp.log(jnp.where(z == 1, 0.3, 0.1))
      >>> guide = Bernoulli(0.75)  # the posterior, so that all terms are equal
      >>> print(score(jax.random.key(0), log_joint, guide, 2).round(4))
      [-0.9163 -0.9163]
    """
    log_p, log_q = _frozen_draws(key, log_joint, guide, num_samples)
    # the gradient of log_q itself has mean zero, so it would only add noise
    log_w = log_p - jax.lax.stop_gradient(log_q)
    return log_w + _score_term(log_w, log_q)


@checked()
def rloo(key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
    """ELBO terms with the score gradient and the mean of the other draws as baseline.

    It is unbiased for discrete and continuous latents, and has no variance if the guide is the
    posterior. A draw with log joint -inf makes the gradient NaN.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats.
      guide: anything with `sample` and `log_prob`.
      num_samples: S draws, at least 2.
    Returns:
      (S,) terms, nats.
    Raises:
      ValueError: fewer than 2 draws.
    Source: Kool, van Hoof and Welling (2019), Buy 4 REINFORCE samples, get a baseline for free.

    Examples:
      >>> from likelax import Bernoulli
      >>> log_joint = lambda z: jnp.log(jnp.where(z == 1, 0.3, 0.1))
      >>> guide = Bernoulli(0.75)  # the posterior, so that all terms are equal
      >>> print(rloo(jax.random.key(0), log_joint, guide, 2).round(4))
      [-0.9163 -0.9163]
    """
    if num_samples < 2:
        raise ValueError(f"rloo wants num_samples of at least 2, got {num_samples}; or use score.")
    log_p, log_q = _frozen_draws(key, log_joint, guide, num_samples)
    log_w = log_p - jax.lax.stop_gradient(log_q)
    others = (jnp.sum(log_w) - log_w) / (num_samples - 1)
    return log_w + _score_term(log_w - others, log_q)


@checked()
def iwae(num_particles: int) -> Estimator:
    """Importance weighted bound E[log (1/P) sum_p w_p], pathwise; P = 1 is the ELBO.

    Args:
      num_particles: P, weights inside each logarithm. With growing P the bound rises to the log
        evidence.
    Returns:
      An `Estimator`; each of its S terms uses P draws.
    Raises:
      ValueError: num_particles below 1.
    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)  # the posterior, so that all terms are equal
      >>> log_joint = lambda z: 2.0 - jnp.sum(z**2) / 2
      >>> print(iwae(3)(jax.random.key(0), log_joint, guide, 2).round(4))
      [2.9189 2.9189]
    """
    return _Renyi(_particles(num_particles), 0.0)


@checked()
def dreg(num_particles: int) -> Estimator:
    """The `iwae` bound with the doubly reparameterised gradient.

    Its ratio of signal to noise does not fall with P. The guide must be a pytree and its draws
    differentiable.

    Args:
      num_particles: P, weights inside each logarithm.
    Returns:
      An `Estimator`; each of its S terms uses P draws.
    Raises:
      ValueError: num_particles below 1.
    Source: Tucker, Lawson, Gu and Maddison (2019), Doubly reparameterized gradient estimators.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)  # the posterior, so that all terms are equal
      >>> log_joint = lambda z: 2.0 - jnp.sum(z**2) / 2
      >>> print(dreg(3)(jax.random.key(0), log_joint, guide, 2).round(4))
      [2.9189 2.9189]
    """
    return _Dreg(_particles(num_particles))


@checked()
def vimco(num_particles: int) -> Estimator:
    """The `iwae` bound with a score gradient and a baseline for each particle.

    For discrete latents. The baseline of particle p replaces its weight by the geometric mean of the
    other weights.

    Args:
      num_particles: P, at least 2.
    Returns:
      An `Estimator`; each of its S terms uses P draws.
    Raises:
      ValueError: num_particles below 2.
    Source: Mnih and Rezende (2016), Variational inference for Monte Carlo objectives.

    Examples:
      >>> from likelax import Bernoulli
      >>> log_joint = lambda z: jnp.log(jnp.where(z == 1, 0.3, 0.1))
      >>> guide = Bernoulli(0.75)  # the posterior, so that all terms are equal
      >>> print(vimco(3)(jax.random.key(0), log_joint, guide, 2).round(4))
      [-0.9163 -0.9163]
    """
    return _Vimco(_particles(num_particles, least=2))


@checked()
def renyi(alpha: float, num_particles: int) -> Estimator:
    """Variational Renyi bound log E[w^(1 - alpha)] / (1 - alpha) from P draws, pathwise.

    alpha = 0 is `iwae`; the limit alpha -> 1 is the ELBO; alpha < 0 may exceed the log evidence. With
    finite P the term is a biased estimate of the Renyi bound, and its gradient is unbiased for
    the expectation of that term.

    Args:
      alpha: the order, not 1.
      num_particles: P, draws for each term.
    Returns:
      An `Estimator`.
    Raises:
      ValueError: alpha = 1, where the formula is undefined, or num_particles below 1.
    Source: Li and Turner (2016), Renyi divergence variational inference.

    Examples:
      >>> from likelax.variational import mean_field
      >>> guide = mean_field(jnp.zeros(1), scale=1.0)  # the posterior, so that all terms are equal
      >>> log_joint = lambda z: 2.0 - jnp.sum(z**2) / 2
      >>> print(renyi(0.5, 3)(jax.random.key(0), log_joint, guide, 2).round(4))
      [2.9189 2.9189]
    """
    if alpha == 1:
        raise ValueError("renyi has no value at alpha=1, which is the ELBO: use pathwise.")
    return _Renyi(_particles(num_particles), float(alpha))


# Records rather than closures, so that equal ones compile once.


@dataclass(frozen=True)
class _Particles:
    num_particles: int


@dataclass(frozen=True)
class _Renyi(_Particles):
    alpha: float

    def __call__(self, key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
        total, power = num_samples * self.num_particles, 1 - self.alpha
        log_w = pathwise(key, log_joint, guide, total).reshape(num_samples, self.num_particles)
        return _log_mean(power * log_w) / power


@dataclass(frozen=True)
class _Dreg(_Particles):
    def __call__(self, key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
        log_joint, guide, _ = density(log_joint, guide)
        shape, total = (num_samples, self.num_particles), num_samples * self.num_particles
        draws, log_q = draws_and_log_guides(key, guide, total)
        frozen = _stop(guide)

        def log_weights(z: Any) -> Array:
            return _log_joints(log_joint, z, total) - _frozen_log_guides(frozen, z, log_q)

        log_w = jax.lax.stop_gradient(log_weights(draws)).reshape(shape)
        bound = _log_mean(log_w)
        share = jnp.exp(log_w - _log_total(log_w)[:, None])
        # the draws carry the share once and the term below once more: squared for the guide,
        # but single for the parameters of the joint
        slowed = jax.tree.map(lambda z: _scale_gradient(z, share.reshape(total)), draws)
        live = log_weights(slowed).reshape(shape)
        return bound + jnp.sum(share * (live - jax.lax.stop_gradient(live)), axis=1)


@dataclass(frozen=True)
class _Vimco(_Particles):
    def __call__(self, key: Array, log_joint: LogJoint, guide: Guide, num_samples: int) -> Array:
        shape, size = (num_samples, self.num_particles), self.num_particles
        log_p, log_q = _frozen_draws(key, log_joint, guide, num_samples * size)
        log_w, log_q = (log_p - log_q).reshape(shape), log_q.reshape(shape)
        bound = _log_mean(log_w)
        others = (jnp.sum(log_w, axis=1, keepdims=True) - log_w) / (size - 1)
        own = jnp.eye(size, dtype=bool)[None]
        replaced = jnp.where(own, others[:, :, None], log_w[:, None, :])
        baseline = _log_mean(replaced)
        return bound + jnp.sum(_score_term(bound[:, None] - baseline, log_q), axis=1)


def draws_per_term(estimator: Estimator) -> int | None:
    """How many draws an estimator of this package makes for a term, in one call of `sample`.

    None for other estimators.
    """
    if isinstance(estimator, _Particles):
        return estimator.num_particles
    ours = (pathwise, sticking_the_landing, analytic_entropy, score, rloo)
    return 1 if estimator in ours else None


def differentiates(estimator: Estimator) -> bool:
    """Whether this is an estimator of this package that takes gradients of the log joint."""
    if isinstance(estimator, _Particles):
        return not isinstance(estimator, _Vimco)
    return estimator in (pathwise, sticking_the_landing, analytic_entropy)


def density(
    log_joint: LogJoint, guide: Guide, name: str = "guide"
) -> tuple[LogJoint, Any, Callable[[Any], Any]]:
    """(log joint, guide, finish), where the guide is a density over unconstrained latents.

    `finish` maps one of its draws to the latents of the caller's log joint; `name` is that of the
    argument, for messages.
    """
    check_function("log_joint", log_joint)
    check_methods(name, guide, "sample", "log_prob")
    guide = whole(guide)
    transported: Any = guide
    if not hasattr(guide, "pull_back"):
        return log_joint, guide, lambda draw: draw
    return transported.pull_back(log_joint), transported.base, transported.space.constrain


def _particles(num_particles: int, least: int = 1) -> int:
    if not isinstance(num_particles, int) or num_particles < least:
        raise ValueError(
            f"num_particles must be an integer of at least {least}, got {num_particles!r}."
        )
    return num_particles


def _log_total(log_w: Array) -> Array:
    return logsumexp(log_w, axis=-1)


def _log_mean(log_w: Array) -> Array:
    return _log_total(log_w) - jnp.log(jnp.asarray(log_w.shape[-1], log_w.dtype))


def _frozen_draws(
    key: Array, log_joint: LogJoint, guide: Guide, num_samples: int
) -> tuple[Array, Array]:
    """(log joints, log guide densities) at draws that carry no gradient."""
    log_joint, guide, _ = density(log_joint, guide)
    draws, exact = draws_and_log_guides(key, guide, num_samples)
    draws = _stop(draws)
    log_q = _with_gradient_of(exact, _log_guides(guide, draws, num_samples))
    return _log_joints(log_joint, draws, num_samples), log_q


def draws_and_log_guides(key: Array, guide: Any, num_samples: int) -> tuple[Any, Array]:
    """S draws and their log densities under the guide, from the noise where the guide has it."""
    if not isinstance(guide, Reparameterized):
        draws = guide.sample(key, (num_samples,))
        return draws, _log_guides(guide, draws, num_samples)
    noise = guide.noise(key, (num_samples,))
    return guide.from_noise(noise), guide.log_prob_of_noise(noise)


def _frozen_log_guides(frozen: Any, draws: Any, log_q: Array) -> Array:
    """The log densities log_q, with the gradient through the draws alone."""
    return _with_gradient_of(log_q, _log_guides(frozen, draws, log_q.shape[0]))


def _with_gradient_of(value: Array, other: Array) -> Array:
    """The digits of one and the gradient of the other; densities at far draws lose digits."""
    change = jnp.where(jnp.isfinite(other), other - jax.lax.stop_gradient(other), 0)
    return jax.lax.stop_gradient(value) + change


def _score_term(signal: Array, log_q: Array) -> Array:
    """Zero in value, signal * grad log q in gradient."""
    return jax.lax.stop_gradient(signal) * (log_q - jax.lax.stop_gradient(log_q))


def _scale_gradient(z: Array, factor: Array) -> Array:
    if not is_floating(z):
        return z
    fixed = jax.lax.stop_gradient(z)
    factor = factor.astype(z.dtype).reshape(-1, *(1,) * (z.ndim - 1))
    return fixed + jnp.broadcast_to(factor, z.shape) * (z - fixed)


def _stop(tree: G) -> G:
    stopped = jax.tree.map(lambda a: jax.lax.stop_gradient(jnp.asarray(a)), jittable(tree))
    return whole(stopped)


def _log_joints(log_joint: LogJoint, draws: Any, num_samples: int) -> Array:
    return _scalars(jax.vmap(log_joint)(draws), num_samples, "log_joint", "sum its terms")


def _log_guides(guide: Guide, draws: Any, num_samples: int) -> Array:
    values = jax.vmap(guide.log_prob)(draws)
    return _scalars(values, num_samples, "guide.log_prob", "make its event one draw of all latents")


def _scalars(values: Any, num_samples: int, name: str, advice: str) -> Array:
    if jnp.shape(values) != (num_samples,):
        raise ValueError(
            f"{name} must return a scalar for one draw, got shape {jnp.shape(values)[1:]}; "
            f"{advice}."
        )
    return as_float(values)[0]
