"""The result of a fit. A failed fit has a status; it does not raise."""

import enum
from typing import Generic, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.model import Density, Model, pytree
from likelax.numerics.checks import checked

T = TypeVar("T")
"""The type of the fitted model."""

M = TypeVar("M", bound=Model)
D = TypeVar("D", bound=Density)


class Status(enum.IntEnum):
    """How a fit ended."""

    CONVERGED = 0
    """The objective stopped rising by more than the tolerance."""
    MAX_STEPS = 1
    """The steps ran out first; the model is the last one."""
    DECREASED = 2
    """A step lowered the objective by more than rounding explains; the model is the one before."""
    NON_FINITE = 3
    """The objective or a parameter was not finite at the start: the model can't produce the data, or
    one of them holds NaN."""
    COLLAPSED = 4
    """A step made the objective infinite or NaN, as when a component shrinks onto one point; the
    model is the one before."""
    NO_DATA = 5
    """There is nothing to fit: all weights are zero, or all values are masked, and there is no prior.
    The model is the start."""
    UNRELIABLE = 6
    """The fit ended, but its check on fresh draws has no trustworthy value: the objective is infinite
    or NaN at some of them, or so heavy-tailed that its standard error means nothing."""


_REMEDY = {
    Status.MAX_STEPS: "raise max_steps, loosen tol, or start nearer.",
    Status.DECREASED: "check that m_step maximises what log_prob computes, or use float64.",
    Status.NON_FINITE: "start from a model without NaN that gives every observation a positive "
    "probability, and declare missing values with Masked.from_nan(x).",
    Status.COLLAPSED: "give the component a prior, use fewer components, start elsewhere, or lower the "
    "learning rate of a gradient fit.",
    Status.UNRELIABLE: "choose a guide nearer to the posterior, reparameterise the model, or use "
    "float64.",
    Status.NO_DATA: "give an observation a positive weight, or a prior.",
}


class FitError(RuntimeError):
    """A fit did not reach a usable model."""


@pytree
class Fit(Generic[T]):
    """The result of a fit, or of a vmapped batch of them (then every leaf has leading axes).

    Attributes:
      model: the fitted model, always the best one seen with a finite objective.
      objectives: (max_steps + 1,) objective in nats before the first step and after each one;
        entries past `num_steps` repeat the last.
      num_steps: scalar integer, steps taken.
      status: scalar integer, a `Status`.

    Examples:
      >>> from likelax import Poisson, fit
      >>> found = fit.em(Poisson(1.0), jnp.array([2, 4]))
      >>> fit.Status(int(found.status)).name, int(found.num_steps), f"{found.objective:.3f}"
      ('CONVERGED', 2, '-3.280')
    """

    model: T
    objectives: Array
    num_steps: Array
    status: Array

    @property
    def objective(self) -> Array:
        """The maximised objective at `model`, nats: log p(x), plus the log prior if there is one."""
        return self.objectives[..., -1]

    @property
    def converged(self) -> Array:
        """True where the status is CONVERGED."""
        return self.status == Status.CONVERGED

    @property
    def usable(self) -> Array:
        """True where the fit converged or ran out of steps; False where it failed."""
        return (self.status == Status.CONVERGED) | (self.status == Status.MAX_STEPS)

    def raise_unless_converged(self) -> Self:
        """Return self, or raise where any status is not CONVERGED.

        Raises:
          FitError: naming the status, the step and a remedy.

        Examples:
          >>> from likelax import Poisson, fit
          >>> fit.em(Poisson(1.0), jnp.array([2, 4]), max_steps=0).raise_unless_converged()
          Traceback (most recent call last):
            ...
          likelax.fit.result.FitError: status MAX_STEPS after 0 steps; raise max_steps, loosen tol,
          or start nearer.
        """
        status, steps = (
            np.atleast_1d(np.asarray(self.status)),
            np.atleast_1d(np.asarray(self.num_steps)),
        )
        bad = np.argwhere(status != Status.CONVERGED)
        if bad.size:
            first = tuple(int(i) for i in bad[0])
            name = Status(int(status[first]))
            which = f"{len(bad)} of {status.size} fits, the first at index {first}: " * (
                status.size > 1
            )
            raise FitError(
                f"{which}status {name.name} after {int(steps[first])} steps; {_REMEDY[name]}"
            )
        return self


@checked()
def best(fits: Fit[T]) -> Fit[T]:
    """The fit with the highest objective in a batch that was vmapped over its first axis.

    A failed fit is chosen only if all failed, since a component that collapsed onto a point has a
    higher objective than any good fit.

    Args:
      fits: a `Fit` whose leaves have a leading axis of fits.

    Examples:
      >>> objectives, zeros = jnp.array([[-3.0], [-2.0]]), jnp.zeros(2, int)
      >>> fits = Fit(jnp.array([1.0, 2.0]), objectives, zeros, zeros)
      >>> print(best(fits).model)
      2.0
    """
    score = jnp.where(jnp.isfinite(fits.objective), fits.objective, -jnp.inf)
    usable = fits.usable & jnp.isfinite(fits.objective)
    score = jnp.where(usable | ~jnp.any(usable), score, -jnp.inf)
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(score)], fits)
