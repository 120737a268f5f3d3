"""Fit guides to log joints by stochastic gradient ascent on their ELBO."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from likelax import monte_carlo
from likelax.fit._gradient import maximize_noisy
from likelax.fit.result import Fit
from likelax.model import pytree
from likelax.variational._elbo import elbo
from likelax.variational.estimators import (
    Estimator,
    Guide,
    LogJoint,
    density,
    draws_per_term,
    sticking_the_landing,
)
from likelax.variational.minibatch import Minibatch
from likelax.variational.weights import importance

ADAM = optax.adam(0.05)
# fresh draws by which a race is decided: guides far apart need few
TRIAL_CHECK = 256


class GuideFit(NamedTuple):
    """A fitted guide and how far to trust it.

    Attributes:
      guide: the fitted approximate posterior, a model.
      fit: the `Fit` that made it: trace, steps, status.
      elbo: a fresh `Estimate` of its ELBO, nats.
      k_hat: Pareto k-hat of its importance weights: below 0.7 weighted estimates can be
        trusted, see `monte_carlo.psis`.
      relative_change: rise of the mean objective from the last but one window to the last,
        relative to its size; NaN where fewer than two windows were run.
    """

    guide: Any
    fit: Fit
    elbo: monte_carlo.Estimate
    k_hat: Array
    relative_change: Array


def fit_guide(
    key: Array,
    log_joint: LogJoint | Minibatch,
    guide: Guide,
    *,
    num_samples: int = 16,
    estimator: Estimator = sticking_the_landing,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 5000,
    tol: float = 1.0,
    window: int = 200,
    num_check: int = 1000,
) -> GuideFit:
    """Fit a guide by stochastic gradient ascent on its ELBO, on the device.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats; or a `Minibatch`, of which
        every step sees another batch and the final check all data.
      guide: where to start: `mean_field(...)` and its kind, or any pytree with `sample` and
        `log_prob` whose fields declare their constraints.
      num_samples: terms of the estimator at each step.
      estimator: decides the bound and its gradient; `rloo` for discrete latents.
      optimizer, max_steps, tol, window: as for `fit.maximize_noisy`.
      num_check: fresh draws for the final ELBO and k-hat.
    Returns:
      A `GuideFit`; it never raises for numeric trouble, see `fit.status`.
    Raises:
      ValueError: num_samples, max_steps or window out of range, or a log_joint that is not scalar.

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> posterior = lambda z: -jnp.sum((z - 2.0) ** 2) / 2
      >>> fitted = fit_guide(jax.random.key(0), posterior, mean_field(jnp.zeros(1)))
      >>> bool(jnp.all(abs(fitted.guide.base.loc - 2) < 0.05))
      True
    """
    monte_carlo.check_num_samples(num_samples)
    key_fit, key_elbo, key_weights = jax.random.split(key, 3)

    fitted = maximize_noisy(
        key_fit,
        _Bound(log_joint, estimator, num_samples),
        guide,
        optimizer=optimizer,
        max_steps=max_steps,
        tol=tol,
        window=window,
    )
    return _check(key_elbo, key_weights, log_joint, fitted, window, num_check)


def fit_guides(
    key: Array,
    log_joint: LogJoint | Minibatch,
    guides: Any,
    *,
    num_kept: int | None = None,
    trial_steps: int = 200,
    num_samples: int = 16,
    estimator: Estimator = sticking_the_landing,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 5000,
    tol: float = 1.0,
    window: int = 200,
    num_check: int = 1000,
) -> GuideFit:
    """Fit many guides at once and return the one whose fresh ELBO is highest.

    All see the same draws of base noise: they differ by their starts alone, and the noise is
    made once. With `num_kept` it is a race: every guide runs `trial_steps`, and the best by a
    fresh ELBO run on to the end.

    Args:
      guides: a guide with a leading axis R on every leaf; `scattered` makes one.
      num_kept: how many go past the trial; None: all run to the end.
      trial_steps: steps before the choice.
      key, log_joint, num_samples, estimator, optimizer, max_steps, tol, window, num_check: as for
        `fit_guide`.
    Returns:
      The `GuideFit` of the best. A fit that failed is taken only where all failed.
    Raises:
      ValueError: num_kept not from 1 to R.
    Source: Jamieson and Talwalkar (2016), Non-stochastic best arm identification and
      hyperparameter optimization, for the race.

    Examples:
      >>> from likelax.variational.guides import mean_field, scattered
      >>> two_hills = lambda z: jnp.logaddexp(-8 * (z + 3) ** 2, 2 - 8 * (z - 3) ** 2)
      >>> guides = scattered(jax.random.key(0), mean_field(0.0), 8, spread=3.0)
      >>> found = fit_guides(jax.random.key(1), two_hills, guides, max_steps=400)
      >>> print(found.guide.base.loc.round(1))
      [3.]
    """
    num_guides = jax.tree.leaves(guides)[0].shape[0]
    if num_kept is not None and not 1 <= num_kept <= num_guides:
        raise ValueError(f"num_kept must be from 1 to the {num_guides} guides, got {num_kept}.")

    def run(key: Array, guides: Any, steps: int, num_check: int) -> GuideFit:
        def one(guide: Guide) -> GuideFit:
            return fit_guide(
                key,
                log_joint,
                guide,
                num_samples=num_samples,
                estimator=estimator,
                optimizer=optimizer,
                max_steps=steps,
                tol=tol,
                window=window,
                num_check=num_check,
            )

        return jax.vmap(one)(guides)

    if num_kept is not None:
        key_trial, key = jax.random.split(key)
        trial = run(key_trial, guides, trial_steps, min(num_check, TRIAL_CHECK))
        _, ahead = jax.lax.top_k(_worth(trial), num_kept)
        guides = jax.tree.map(lambda leaf: leaf[ahead], trial.guide)
    found = run(key, guides, max_steps, num_check)
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(_worth(found))], found)


def _worth(found: GuideFit) -> Array:
    """The fresh ELBO, lowest for what failed."""
    usable = found.fit.usable & jnp.isfinite(found.elbo.value)
    return jnp.where(usable, found.elbo.value, -jnp.inf)


@dataclass(frozen=True)
class _Bound:
    """A record rather than a closure, so that equal ones compile once."""

    log_joint: LogJoint | Minibatch
    estimator: Estimator
    num_samples: int

    def draw(self, key: Array, guide: Any) -> tuple[Array, Array | None]:
        """(base noise or a key, rows of the batch) of one step."""
        rows = None
        if isinstance(self.log_joint, Minibatch):
            key, key_rows = jax.random.split(key)
            rows = self.log_joint.draw(key_rows)
        _, base, _ = density(self.log_joint, guide)
        per_term = draws_per_term(self.estimator)
        if per_term is None or not hasattr(base, "from_noise"):
            return key, rows
        return base.noise(key, (self.num_samples * per_term,)), rows

    def __call__(self, drawn: tuple[Array, Array | None], guide: Any) -> Array:
        noise, rows = drawn
        log_joint = self.log_joint
        if isinstance(log_joint, Minibatch) and rows is not None:
            log_joint = partial(log_joint.on_rows, rows)
        if not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
            log_joint, base, _ = density(log_joint, guide)
            guide = _Drawn(base, noise)
        return jnp.mean(self.estimator(noise, log_joint, guide, self.num_samples))


@pytree
class _Drawn:
    """A guide whose base noise is drawn already; the key that it is given is not looked at."""

    guide: Any
    noise: Array

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        return self.guide.from_noise(self.noise)

    def log_prob(self, x: Array) -> Array:
        return self.guide.log_prob(x)

    def entropy(self) -> Array:
        return self.guide.entropy()


@partial(jax.jit, static_argnames=("log_joint", "window", "num_check"))
def _check(
    key_elbo: Array,
    key_weights: Array,
    log_joint: LogJoint,
    fitted: Fit,
    window: int,
    num_check: int,
) -> GuideFit:
    bound = elbo(key_elbo, log_joint, fitted.model, num_check)
    k_hat = importance(key_weights, log_joint, fitted.model, num_check).k_hat
    return GuideFit(fitted.model, fitted, bound, k_hat, _relative_change(fitted, window))


def _relative_change(fitted: Fit, window: int) -> Array:
    values = fitted.objectives[:-1]
    window = min(window, values.shape[0])
    step = jnp.arange(values.shape[0])

    def mean(end: Array) -> Array:
        inside = (step >= end - window) & (step < end)
        return jnp.sum(jnp.where(inside, values, 0)) / window

    last, before = mean(fitted.num_steps), mean(fitted.num_steps - window)
    known = fitted.num_steps >= 2 * window
    return jnp.where(known, (last - before) / jnp.abs(last), jnp.nan)
