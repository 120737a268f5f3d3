"""Fit by gradient ascent in unconstrained space, with any optax optimiser, on the device.

`gradient` maximises the log probability of data, `maximize` an exact objective of the user,
`maximize_noisy` an objective that is estimated from draws or minibatches. None of them raises for
numerical failure, which the status of the `Fit` reports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from likelax.data import DataLike
from likelax.fit.algorithm import Data, Progress, drive
from likelax.fit.ascent import ADAM, Ascent, Likelihood
from likelax.fit.placement import place
from likelax.fit.result import D, Fit, T
from likelax.model import Density, PriorLike
from likelax.numerics import devices
from likelax.numerics.checks import as_array, as_tree, checked, is_concrete

ExactObjective = Callable[[Any], Array]
NoisyObjective = Callable[[Any, Any], Array]


@checked(tol=None, max_steps=None, window=None, model=None, weights=None)
def gradient(
    model: D,
    x: DataLike,
    *,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1e-7,
    window: int = 50,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Fit[D]:
    """Maximum likelihood or MAP by gradient ascent on sum_n weights[n] log p(x[n]).

    The steps are taken in unconstrained space, as the constraints of the model's fields define it.
    Structural zeros stay zero. The density of the prior is that over the model's own parameters, so
    the mode does not depend on the map of the constraint.

    Args:
      model: the start; anything with `log_prob(x)`.
      x: data, as `model.log_prob` takes it.
      weights: (N, ...) non-negative, the shape of `model.log_prob(x)`; None is ones.
      prior: the model's conjugate prior, as for `fit.em`: `model.log_prior(prior)` is added.
      optimizer: any optax transformation, schedules and clipping included. It descends on the
        negated objective and sees all parameters as one vector.
      max_steps: at least 1.
      tol: stop when a window of steps raised the best objective by at most
        tol * (1 + |objective|). Below zero only `max_steps` stops the fit.
      window: steps between two evaluations of the stopping rule, at least 1.
      mesh: devices over which to split the rows of x, as for `fit.em`. Only the gradient is sent between
        them.
      progress: called on the host after every window with the number of steps and the best
        objective in nats.
    Returns:
      A `Fit` with the best model that was seen. `objectives[t]` is the objective before step t
      for t < num_steps; from num_steps on it is the objective of `model`. Where the objective
      or its gradient is not finite the status is NON_FINITE at the start and COLLAPSED later,
      and the model is the best before that.
    Raises:
      ValueError: max_steps or window below 1, weights of another shape, or with mesh
        a single observation that can't be split.
      TypeError: a model without `log_prob`.

    Examples:
      >>> from likelax.families.normal import Normal
      >>> fitted = gradient(Normal(0.0, 1.0), jnp.array([1.0, 2.0, 3.0]))
      >>> print(fitted.model.loc.round(2))
      2.0
    """
    name = "fit.gradient"
    model, data, mesh = place(name, model, Data(x, weights, prior), mesh, by_m_step=False)
    algorithm = _ascent(name, Likelihood(mesh), optimizer, max_steps, tol, window)
    with devices.using(mesh):
        return devices.fetched(drive(algorithm, model, data, progress=progress), mesh)


@checked(tol=None, max_steps=None, window=None)
def maximize(
    objective: ExactObjective,
    start: T,
    *,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1e-7,
    window: int = 50,
    progress: Progress | None = None,
) -> Fit[T]:
    """Gradient ascent on an exact objective; options and result as in `gradient`.

    Args:
      objective: model -> scalar, to be maximised.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
      optimizer, max_steps, tol, window, progress: as for `gradient`.
    Returns:
      A `Fit` with the best iterate.
    Raises:
      ValueError: max_steps or window below 1, or an objective that is not scalar.

    Examples:
      >>> print(maximize(lambda p: -((p - 3.0) ** 2), jnp.array(0.0)).model.round(2))
      3.0
    """
    algorithm = _ascent("fit.maximize", Exact(objective), optimizer, max_steps, tol, window)
    return drive(algorithm, as_tree("start", start), None, progress=progress)


@checked(tol=None, max_steps=None, window=None)
def maximize_noisy(
    key: Array,
    objective: NoisyObjective,
    start: T,
    *,
    optimizer: optax.GradientTransformation = ADAM,
    max_steps: int = 2000,
    tol: float = 1.0,
    window: int = 100,
    progress: Progress | None = None,
) -> Fit[T]:
    """Stochastic gradient ascent on an objective estimated from draws: an ELBO, or minibatches.

    The options are those of `gradient`, except for the stopping rule.

    Args:
      key: a typed key; every step gets its own. Under `jax.vmap` over starts, those that share a
        key share the noise, which is then drawn once.
      objective: (key, model) -> scalar, an unbiased estimate with an unbiased gradient. One
        with a method `draw(key, start)` is given (draw(key, start), model) instead: noise of
        many steps is then drawn in one call, which is several times faster.
      start: a model, or any pytree of parameters; integer leaves stay as they are.
      tol: stop when the mean objective of a window exceeds that of the best earlier window by
        at most tol standard errors of their difference. Below zero only `max_steps` stops the fit.
      window: steps over which the objective and the iterates are averaged, at least 2.
    Returns:
      A `Fit` whose model is the average, in unconstrained space, of the iterates of the window with
      the highest mean objective. The average is less noisy than any iterate, and no single iterate is
      chosen for a high noisy value. Its `objective` is that mean; `objectives` before num_steps are
      the noisy values.
    Raises:
      ValueError: max_steps below 1, window below 2, or an objective that is not scalar.
    Source: Polyak and Juditsky (1992); Dhaka et al. (2020), Robust, accurate stochastic
      optimization for variational inference.

    Examples:
      >>> noisy = lambda key, p: -((p - 3.0 + jax.random.normal(key)) ** 2)
      >>> fitted = maximize_noisy(jax.random.key(0), noisy, jnp.array(0.0))
      >>> bool(abs(fitted.model - 3) < 0.3)
      True
    """
    name = "fit.maximize_noisy"
    algorithm = _ascent(name, Noisy(objective), optimizer, max_steps, tol, window, noisy=True)
    return drive(algorithm, as_tree("start", start), None, key=key, progress=progress)


def _ascent(
    name: str,
    objective: Any,
    optimizer: optax.GradientTransformation,
    max_steps: int,
    tol: float,
    window: int,
    *,
    noisy: bool = False,
) -> Ascent:
    """The algorithm with valid options, and a window that is not longer than the fit."""
    Ascent(tol, max_steps, optimizer, window, objective, noisy).check(name)
    window = min(window, int(max_steps)) if is_concrete(max_steps) else window
    return Ascent(tol, max_steps, optimizer, window, objective, noisy)


@checked()
def minibatch_log_prob(
    x: DataLike, batch_size: int, *, log_prior: ExactObjective | None = None
) -> NoisyObjective:
    """An objective for `maximize_noisy`: the log probability of x, estimated from a batch.

    (N / B) sum over B draws with replacement of log p(x[n]), plus log_prior(model)

    Args:
      x: an array (N, ...) or a pytree of such with one N.
      batch_size: B, at least 1.
      log_prior: model -> scalar in nats, or None.
    Raises:
      ValueError: for a batch_size below 1, or x without rows.

    Examples:
      >>> from likelax.families import Poisson
      >>> objective = minibatch_log_prob(jnp.full(100, 3), batch_size=2)
      >>> key = jax.random.key(0)  # all rows are equal, so the estimate is exact
      >>> print(f"{objective(key, Poisson(3.0)):.1f}")
      -149.6
    """
    x = jax.tree.map(partial(as_array, "x"), x)
    leaves = jax.tree.leaves(x)
    if not leaves or any(jnp.ndim(v) == 0 for v in leaves) or leaves[0].shape[0] == 0:
        raise ValueError("x must hold arrays with a leading axis of at least one datum.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    return _Minibatch(x, batch_size, leaves[0].shape[0], log_prior)


# The objectives are records rather than closures, so that equal ones share a compiled program.


@dataclass(frozen=True)
class Exact:
    """A user's exact objective of the model alone."""

    objective: ExactObjective

    def __call__(self, noise: None, model: object, data: object) -> Array:
        """The objective."""
        return self.objective(model)

    def draw(self, key: Array, start: object) -> None:
        """No noise."""

    def empty(self, model: object, data: object) -> Array:
        """No: there are no data."""
        return jnp.zeros((), bool)


@dataclass(frozen=True)
class Noisy:
    """A user's objective of noise and the model."""

    objective: NoisyObjective

    def __call__(self, noise: Any, model: object, data: object) -> Array:
        """The objective."""
        return self.objective(noise, model)

    def draw(self, key: Array, start: object) -> Any:
        """The noise of one step: what the objective itself draws, or the key."""
        own = getattr(self.objective, "draw", None)
        return key if own is None else own(key, start)

    def empty(self, model: object, data: object) -> Array:
        """No: there are no data."""
        return jnp.zeros((), bool)


@dataclass(frozen=True, eq=False)
class _Minibatch:
    x: DataLike
    batch_size: int
    num_data: int
    log_prior: ExactObjective | None

    def draw(self, key: Array, start: object) -> Array:
        return jax.random.randint(key, (self.batch_size,), 0, self.num_data)

    def __call__(self, noise: Array, model: Density) -> Array:
        is_key = jnp.issubdtype(noise.dtype, jax.dtypes.prng_key)
        rows = self.draw(noise, model) if is_key else noise
        batch = jax.tree.map(lambda v: v[rows], self.x)
        log_prob = jnp.sum(model.log_prob(batch)) * (self.num_data / self.batch_size)
        return log_prob if self.log_prior is None else log_prob + self.log_prior(model)
