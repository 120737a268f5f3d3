"""Guides fitted to data that are arguments: many data sets in one batch, or rows over devices."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from likelax.data import DataLike, check_data, convert
from likelax.fit.algorithm import Data, drive
from likelax.fit.result import Fit
from likelax.model import pytree, static
from likelax.numerics import as_array, as_float, devices, weighted_sum
from likelax.numerics.checks import check_methods, checked
from likelax.variational.estimators import Guide, density
from likelax.variational.guides import NormalGuide
from likelax.variational.natural import NaturalAscent, NaturalState


@pytree
class GuideAscent:
    """Ascent of the ELBO of a normal guide given data, as an algorithm for `fit.batch`.

    log p(x, z) = log p(z) + sum_n weights[n] log p(x[n] | z)

    The steps are the natural gradients of `fit_guide`. The objective of a `Fit` is the bound on the
    last draws of its steps; `elbo` gives a fresh one with its error. Unlike `fit_guide` they do not search
    for walls that no draw of the guide sees.

    Attributes:
      log_prior: one draw of the latents -> scalar, nats.
      log_lik: (one draw, a data set) -> (N,) log likelihood of each row, nats.
      tol: nats below the best bound of the family at which to stop.
      max_steps: maximum number of sets of draws.
      mesh: with automatic axes; the devices over which the rows are split, or None. `fit_rows`
        places the data on them.

    Source: Khan and Rue (2023), The Bayesian learning rule.

    Examples:
      >>> from likelax import fit
      >>> from likelax.variational import GuideAscent, full_rank
      >>> ascent = GuideAscent(lambda z: -z[0] ** 2 / 2, lambda z, x: -((x - z[0]) ** 2) / 2)
      >>> start = lambda key, x: full_rank(jax.random.normal(key, (1,)))
      >>> x = jnp.array([[3.0, 3.0], [0.0, -3.0]])
      >>> done = fit.batch(ascent, start, x, key=jax.random.key(0), num_restarts=2)
      >>> print(done.best.model.base.loc.round(2).ravel())  # the posterior mean, sum x / (N + 1)
      [ 2. -1.]
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = False
    needs_key: ClassVar[bool] = True

    log_prior: Callable[[Any], Array] = static()
    log_lik: Callable[[Any, Any], Array] = static()
    tol: ArrayLike = 0.05
    max_steps: ArrayLike = 2000
    mesh: Mesh | None = static(default=None)

    def check(self, name: str) -> None:
        """Raise for options out of range.

        Args:
          name: the function that was called, for the message.
        Raises:
          TypeError: for a tol or max_steps that is not a number.
          ValueError: for one out of range.
        """
        self._given(Data(None)).check(name)

    def init(self, model: Guide, data: Data, key: Array | None = None) -> NaturalState:
        """The state before the first draws.

        Raises:
          TypeError: for a guide that is not normal.
        """
        base = density(self.log_prior, model)[1]
        if not isinstance(base, NormalGuide):
            raise TypeError(
                "GuideAscent: the guide must be normal, such as full_rank or mean_field; got "
                f"{type(base).__name__}, which fit_guide fits by stochastic steps"
            )
        return self._given(data).init(model, data, key)

    def step(
        self, state: NaturalState, data: Data, key: Array | None = None
    ) -> tuple[NaturalState, Array]:
        """One look at the guide, and a step."""
        return self._given(data).step(state, data, key)

    def done(self, state: NaturalState) -> Array:
        """Whether the fit has ended."""
        return self._given(Data(None)).done(state)

    def result(self, state: NaturalState, objectives: Array) -> Fit:
        """The `Fit` with the last guide."""
        found = self._given(Data(None)).result(state, objectives)
        guide = found.model[0]
        return Fit(guide, found.objectives, found.num_steps, found.status)

    def log_joint(self, z: Any, data: Data) -> Array:
        """log p(x, z) of one draw, a scalar in nats.

        Args:
          z: one draw of the latents.
          data: x and weights.

        Examples:
          >>> from likelax.fit.algorithm import Data
          >>> ascent = GuideAscent(lambda z: -z**2, lambda z, x: x - z)
          >>> print(ascent.log_joint(jnp.array(2.0), Data(jnp.array([3.0, 5.0]))))
          0.0
        """
        prior, likelihood = as_float(self.log_prior(z), self._log_lik(z, data))
        return prior + likelihood

    def _log_lik(self, z: Any, data: Data) -> Array:
        if self.mesh is None:
            return self._of_rows(z, data.x, data.weights)
        no_statistics = devices.over_rows(lambda *args: ((), self._of_rows(*args)), self.mesh)
        return no_statistics(z, data.x, data.weights)[1]

    def _of_rows(self, z: Any, x: Any, weights: Any) -> Array:
        (each,) = as_float(self.log_lik(z, x))
        if weights is None:
            return jnp.sum(each)
        if jnp.shape(weights) != each.shape:
            raise ValueError(
                f"GuideAscent: log_lik must return one value a row, shape {jnp.shape(weights)}; got "
                f"{each.shape}"
            )
        return weighted_sum(jnp.asarray(weights).astype(each.dtype), each)

    def _given(self, data: Data) -> NaturalAscent:
        return NaturalAscent(self.tol, self.max_steps, lambda z: self.log_joint(z, data))


@checked(max_steps=None, tol=None, weights=None)
def fit_rows(
    key: Array,
    log_prior: Callable[[Any], Array],
    log_lik: Callable[[Any, Any], Array],
    x: DataLike,
    guide: Guide,
    *,
    weights: ArrayLike | None = None,
    tol: float = 0.05,
    max_steps: int = 2000,
    mesh: Mesh | None = None,
) -> Fit:
    """Fit a normal guide to the posterior given rows of data, which may be split over devices.

    As `fit_guide`, but the data are an argument of the compiled program and no constant of it. Only the
    bounds of the draws and their gradients are sent between devices: S (D + 1) numbers for S draws of D
    latents, however many rows there are.

    Args:
      key: a typed key.
      log_prior: one draw of the latents -> scalar, nats.
      log_lik: (one draw, rows of x) -> (N,) log likelihood of each row, nats.
      x: an array (N, ...) or a pytree of such arrays.
      guide: where to start: `full_rank(...)`, `mean_field(...)` or another normal guide.
      weights: (N,) of the rows, or None for ones.
      tol, max_steps: as for `GuideAscent`.
      mesh: devices over which to split the rows, as for `fit.em`, or None.
    Returns:
      The `Fit`; its objective is the bound on the last draws, nats.
    Raises:
      TypeError: for arguments of another type.
      ValueError: for options out of range, arrays of different lengths, or NaN in x.
    Source: Khan and Rue (2023), The Bayesian learning rule.

    Examples:
      >>> from likelax.variational import fit_rows, full_rank
      >>> log_lik = lambda z, x: -((x - z[0]) ** 2) / 2
      >>> x, guide = jnp.array([3.0, 3.0]), full_rank(jnp.zeros(1))
      >>> found = fit_rows(jax.random.key(0), lambda z: -z[0] ** 2 / 2, log_lik, x, guide)
      >>> print(found.model.base.loc.round(2))
      [2.]
    """
    check_methods("guide", guide, "sample", "log_prob")
    x = convert("x", x)
    check_data("variational.fit_rows", x)
    place = devices.mesh_of(x) if mesh is None else devices.automatic(mesh)
    algorithm = GuideAscent(log_prior, log_lik, tol, max_steps, place)
    algorithm.check("variational.fit_rows")
    shares = None if weights is None else as_array("variational.fit_rows: weights", weights)
    with devices.using(place):
        if place is not None:
            count = jax.tree.leaves(x)[0].shape[:1]
            x, shares = devices.split_rows("variational.fit_rows", x, shares, count, place)
            guide = devices.put(guide, place, rows=False)
        return devices.fetched(drive(algorithm, guide, Data(x, shares), key=key), place)
