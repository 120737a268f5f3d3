"""Fit guides to log joints by gradient ascent on their ELBO, and check the result on fresh draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from likelax import monte_carlo
from likelax.fit._gradient import Noisy
from likelax.fit.algorithm import drive
from likelax.fit.result import Status
from likelax.model import pytree
from likelax.numerics.checks import checked, is_concrete
from likelax.variational import tails
from likelax.variational.checking import GuideFit, check, in_parts, light_check, size_of
from likelax.variational.effort import is_light
from likelax.variational.estimators import (
    Estimator,
    Guide,
    LogJoint,
    analytic_entropy,
    density,
    differentiates,
    draws_per_term,
    pathwise,
    sticking_the_landing,
)
from likelax.variational.guides import MeanField, NormalGuide, Reparameterized
from likelax.variational.leaves import jittable, whole
from likelax.variational.local import RowGuide
from likelax.variational.minibatch import Minibatch
from likelax.variational.natural import NaturalAscent, num_draws
from likelax.variational.stochastic import StagedAscent

ADAM = optax.adam(0.05)
# fresh draws by which a race is decided: guides far apart need few
TRIAL_CHECK = 256
# draws on which the stages of a stochastic fit are compared
JUDGED = 256
# Nats by which another of many guides must be better for all to be fitted again beside walls.
WORTH_A_FIT = 0.1
# Above this number of parameters a mean-field guide is cheaper to fit by stochastic steps.
MOST_NATURAL = 256


@checked()
def fit_guide(
    key: Array,
    log_joint: LogJoint | Minibatch,
    guide: Guide,
    *,
    estimator: Estimator | None = None,
    optimizer: optax.GradientTransformation | None = None,
    num_samples: int = 16,
    max_steps: int | None = None,
    tol: float = 0.05,
    window: int = 100,
    num_check: int = 1000,
) -> GuideFit:
    """Fit a guide by gradient ascent on its ELBO, on the device.

    A normal guide (`mean_field` up to 256 parameters, `full_rank`, `block_rank`) is fitted by natural
    gradients with step sizes of their own: on fixed draws, then averaged over fresh ones. Nothing
    needs tuning, and a normal posterior takes a few steps. Any other guide, and any
    fit for which an `estimator` or an `optimizer` is given, takes stochastic gradient steps whose
    size falls in stages.

    The fit also looks for places that no draw of a normal guide reaches and that lower the bound, as where
    log p has a wall. If there are any, natural gradients are made again with them in their steps. Under `jax.jit` and
    `jax.vmap` they are there from the start, and the program compiles two to three times as long.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar log p(x, z), nats; or a `Minibatch`, of which
        every stochastic step sees another batch. Natural gradients and the final check
        take all data, in pieces of the size of a batch.
      guide: where to start: `mean_field(...)` and its kind, or any pytree with `sample` and
        `log_prob` whose fields declare their constraints.
      estimator: decides the bound and its gradient; `rloo` for discrete latents. None:
        `sticking_the_landing` where steps are stochastic.
      optimizer: of stochastic steps; None: `optax.adam(0.05)`.
      num_samples: terms of the estimator at each stochastic step.
      max_steps: stochastic steps, 20 000 if None; or sets of max(48, 4 D) draws for natural
        gradients, 2000 if None.
      tol: nats below the best bound of the family at which to stop. Below zero only `max_steps` stops
        the fit, and stochastic steps keep their size.
      window: stochastic steps between two looks at the stopping rule.
      num_check: fresh draws for the final ELBO and k-hat.
    Returns:
      A `GuideFit`; it never raises for numeric trouble, see `fit.status`. `fit.objectives` are
      bounds on fixed draws, and later on fresh ones, for natural gradients; noisy terms for
      stochastic steps.
    Raises:
      ValueError: num_samples, max_steps or window out of range, or a log_joint that is not scalar.

    Examples:
      >>> from likelax.variational.guides import mean_field
      >>> posterior = lambda z: -jnp.sum((z - 2.0) ** 2) / 2
      >>> fitted = fit_guide(jax.random.key(0), posterior, mean_field(jnp.zeros(1)))
      >>> bool(jnp.all(abs(fitted.guide.base.loc - 2) < 0.05))
      True
    """
    plan = _planned(
        log_joint, guide, estimator, optimizer, num_samples, max_steps, tol, window, num_check
    )
    natural = isinstance(plan.algorithm, NaturalAscent)
    guide = jittable(guide)
    light = is_light(key, log_joint, guide, plan.draws_at_once)
    found = _and_again_beside_walls(partial(plan.run, light=light), key, guide, natural)
    return found._replace(guide=whole(found.guide))


class _Plan(NamedTuple):
    """How a guide is fitted and checked.

    Attributes:
      algorithm: a `NaturalAscent` or a `StagedAscent`.
      log_joint: what `fit_guide` was given.
      draws_per_step: gradients of the log joint in a step, or sets of them.
      draws_at_once: gradients of the log joint in a step.
      num_check: draws of the check.
      searched: whether the check of stochastic steps may differentiate the log joint, to search for far places.
    """

    algorithm: Any
    log_joint: Any
    draws_per_step: int
    draws_at_once: int
    num_check: int
    searched: bool

    def run(
        self, key: Array, guide: Any, walls: tails.Walls, light: bool, *, in_batch: bool = False
    ) -> tuple[GuideFit, Array]:
        """(the result, whether far places count that it leaves out), the latter only if they are to be found.

        Args:
          light: whether to compile for small arrays.
          in_batch: whether the fit is one of many: then the check searches for far places, once for all fits,
            and the steps do not, which would search whenever one of them ends.
        """
        key_fit, key_check = jax.random.split(key)

        def checked_with(key: Array, found: Any, walls: tails.Walls) -> tuple[GuideFit, Array]:
            checks = light_check if light else check
            return checks(key, self.log_joint, found, self.draws_per_step, self.num_check, walls)

        if isinstance(self.algorithm, NaturalAscent):
            by_check = walls == "find" and in_batch
            algorithm = replace(self.algorithm, walls="ignore" if by_check else walls)
            found = drive(algorithm, guide, None, key=key_fit, light=light)
            by_steps = walls == "find" and not in_batch
            return checked_with(key_check, found, "ignore" if by_steps else walls)
        found = drive(self.algorithm, guide, None, key=key_fit)
        if not self.searched:
            return checked_with(key_check, found, "ignore")[0], jnp.zeros((), bool)
        # walls change the bound, but not stochastic steps: only the check is made again
        if not all(is_concrete(leaf) for leaf in jax.tree.leaves((key_check, found))):
            return checked_with(key_check, found, "use")[0], jnp.zeros((), bool)
        fitted, hidden = checked_with(key_check, found, "find")
        if hidden | _is_unreliable(fitted):
            fitted, _ = checked_with(jax.random.clone(key_check), found, "use")
        return fitted, jnp.zeros((), bool)


def _is_unreliable(found: GuideFit) -> Array:
    """Terms with a heavy tail may come from a place that draws of the guide hardly reach."""
    return found.fit.status == int(Status.UNRELIABLE)


def _and_again_beside_walls(
    run: Callable[[Array, Any, tails.Walls], tuple[GuideFit, Array]],
    key: Array,
    guide: Any,
    natural: bool,
) -> GuideFit:
    """What a fit finds that searches for far places if one that does not search would leave some out.

    So the longer program is compiled only where there are such places, or where it is not known whether there
    are, as under `jax.jit`. Where the bound of natural steps can't be trusted it is tried too.
    """
    same = jax.random.clone(key)
    if all(is_concrete(leaf) for leaf in jax.tree.leaves((same, guide))):
        found, hidden = run(key, guide, "find")
        if is_concrete(hidden):
            if not (hidden or (natural and _is_unreliable(found))):
                return found
            again, _ = run(same, guide, "use")
            count = found.num_gradients + again.num_gradients
            return again._replace(num_gradients=count)
    found, _ = run(same, guide, "use")
    return found


def _planned(
    log_joint: Any,
    guide: Any,
    estimator: Estimator | None,
    optimizer: optax.GradientTransformation | None,
    num_samples: int,
    max_steps: int | None,
    tol: float,
    window: int,
    num_check: int,
) -> _Plan:
    monte_carlo.check_num_samples(num_samples)
    monte_carlo.check_num_samples(num_check)
    base = density(log_joint, guide)[1]
    algorithm: Any
    searched = True
    if estimator is None and optimizer is None and _is_natural(base):
        algorithm = NaturalAscent(tol, 2000 if max_steps is None else max_steps, log_joint)
        draws, at_once = 1, num_draws(base.loc.shape[-1])
    else:
        estimator = sticking_the_landing if estimator is None else estimator
        _check_rows(log_joint, guide, estimator)
        steps = 20_000 if max_steps is None else max_steps
        bound = Bound(log_joint, estimator, num_samples)
        algorithm = StagedAscent(
            tol,
            steps,
            ADAM if optimizer is None else optimizer,
            max(2, min(window, steps)) if is_concrete(steps) else window,
            Noisy(bound),
            Judge(log_joint, estimator),
        )
        draws = at_once = num_samples * (draws_per_term(estimator) or 1)
        searched = differentiates(estimator)
    algorithm.check("variational.fit_guide")
    return _Plan(algorithm, log_joint, draws, at_once, num_check, searched)


def _check_rows(log_joint: Any, guide: Any, estimator: Estimator) -> None:
    if not isinstance(guide, RowGuide) or not isinstance(log_joint, Minibatch):
        return
    if not log_joint.local or log_joint.num_data != guide.num_rows:
        raise ValueError(
            f"a guide with latents for each of {guide.num_rows} rows wants a Minibatch of so many rows with "
            f"local=True, got one of {log_joint.num_data} rows with local={log_joint.local}"
        )
    if estimator not in (sticking_the_landing, pathwise, analytic_entropy):
        raise ValueError(
            "estimator must be sticking_the_landing, pathwise or analytic_entropy where steps draw the "
            "latents of a batch of rows; the others would be biased"
        )


def _is_natural(base: Any) -> bool:
    if not isinstance(base, NormalGuide):
        return False
    return not isinstance(base, MeanField) or base.loc.shape[-1] <= MOST_NATURAL


@checked()
def fit_guides(
    key: Array,
    log_joint: LogJoint | Minibatch,
    guides: Any,
    *,
    num_kept: int | None = None,
    trial_steps: int | None = None,
    estimator: Estimator | None = None,
    optimizer: optax.GradientTransformation | None = None,
    num_samples: int = 16,
    max_steps: int | None = None,
    tol: float = 0.05,
    window: int = 100,
    num_check: int = 1000,
) -> GuideFit:
    """Fit many guides at once and return the one whose fresh ELBO is highest.

    All use the same draws of base noise, which are made once, so they differ only by their starts.
    With `num_kept` it is a race: every guide runs `trial_steps`, and those with the highest fresh
    ELBO continue to the end.

    Args:
      guides: a guide with a leading axis R on every leaf; `scattered` makes one.
      num_kept: how many guides continue after the trial; None: all of them.
      trial_steps: steps before the choice; None: 200 stochastic steps, or 5 sets of draws.
      key, log_joint, estimator, optimizer, num_samples, max_steps, tol, window, num_check: as for
        `fit_guide`.
    Returns:
      The `GuideFit` of the best. A failed fit is returned only if all failed.
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
    base = density(log_joint, guides, "guides")[1]
    guides = jittable(guides)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(guides)]
    if not shapes or () in shapes:
        raise ValueError(f"guides must have a leading axis R on every leaf, got shapes {shapes}")
    num_guides = shapes[0][0]
    if num_kept is not None and not 1 <= num_kept <= num_guides:
        raise ValueError(f"num_kept must be from 1 to the {num_guides} guides, got {num_kept}.")

    natural = estimator is None and optimizer is None and _is_natural(base)
    if trial_steps is None:
        trial_steps = 5 if natural else 200

    def run(
        key: Array, guides: Any, walls: tails.Walls, steps: int | None, num_check: int
    ) -> tuple[GuideFit, Array]:
        def planned(guide: Guide) -> _Plan:
            return _planned(
                log_joint, guide, estimator, optimizer, num_samples, steps, tol, window, num_check
            )

        first = jax.tree.map(lambda leaf: leaf[0], guides)
        at_once = planned(first).draws_at_once * jax.tree.leaves(guides)[0].shape[0]
        light = is_light(key, log_joint, first, at_once)
        found: tuple[GuideFit, Array] = jax.vmap(
            lambda guide: planned(guide).run(key, guide, walls, light, in_batch=True)
        )(guides)
        return found

    if num_kept is not None:
        key_trial, key = jax.random.split(key)
        trial, _ = run(key_trial, guides, "ignore", trial_steps, min(num_check, TRIAL_CHECK))
        _, ahead = jax.lax.top_k(_worth(trial), num_kept)
        guides = jax.tree.map(lambda leaf: leaf[ahead], trial.guide)

    def best(key: Array, guides: Any, walls: tails.Walls) -> tuple[GuideFit, Array]:
        return _best(*run(key, guides, walls, max_steps, num_check))

    found = _and_again_beside_walls(best, key, guides, natural)
    return found._replace(guide=whole(found.guide))


@jax.jit
def _best(found: GuideFit, hidden: Array) -> tuple[GuideFit, Array]:
    """The best of many fits, and whether one beside walls that it leaves out may be better."""
    at = jnp.argmax(_worth(found))
    # beside walls a bound is too high if anything: others that are not higher need no better one
    rival = hidden & (_surely(found) > _worth(found)[at] + WORTH_A_FIT)
    return jax.tree.map(lambda leaf: leaf[at], found), hidden[at] | jnp.any(rival)


def _worth(found: GuideFit) -> Array:
    """The fresh ELBO, lowest for what failed."""
    usable = found.fit.usable & jnp.isfinite(found.elbo.value)
    return jnp.where(usable, found.elbo.value, -jnp.inf)


def _surely(found: GuideFit) -> Array:
    """The ELBO on plain draws less 3 errors, or the last bound of the steps less a nat for its noise."""
    fresh = found.elbo.value - 3 * found.elbo.standard_error
    return jnp.where(jnp.isfinite(fresh), fresh, found.fit.objective - 1)


@dataclass(frozen=True)
class Bound:
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
        _, base = self._of_batch(guide, rows)
        per_term = draws_per_term(self.estimator)
        if per_term is None or not hasattr(base, "from_noise"):
            return key, rows
        return base.noise(key, (self.num_samples * per_term,)), rows

    def __call__(self, drawn: tuple[Array, Array | None], guide: Any) -> Array:
        noise, rows = drawn
        log_joint, base = self._of_batch(guide, rows)
        key, guide = noise, base
        if not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
            # the draws are made, so that the estimator uses no key
            key, guide = jax.random.key(0), _Drawn(base, noise)
        return jnp.mean(self.estimator(key, log_joint, guide, self.num_samples))

    def _of_batch(self, guide: Any, rows: Array | None) -> tuple[LogJoint, Any]:
        """The log joint and the guide of a step, over the reals where the guide knows them."""
        guide, log_joint = whole(guide), self.log_joint
        if not isinstance(log_joint, Minibatch) or rows is None:
            return density(log_joint, guide)[:2]
        if isinstance(guide, RowGuide):
            return guide.of_batch(log_joint, rows)
        return density(partial(_of_rows, log_joint, rows), guide)[:2]


def _of_rows(log_joint: Minibatch, rows: Array, z: Any) -> Array:
    """The log joint of a draw of a guide of all rows, from those of a batch."""
    if log_joint.local:
        z, local = log_joint.parts(z)
        z = z, jax.tree.map(lambda leaf: leaf[rows], local)
    return log_joint.on_rows(rows, z)


@dataclass(frozen=True)
class Judge:
    """Terms of the bound of a guide on all data."""

    log_joint: LogJoint
    estimator: Estimator

    def __call__(self, key: Array, guide: Any) -> Array:
        log_joint, base, _ = density(self.log_joint, guide)
        terms = in_parts(
            lambda key, num: self.estimator(key, log_joint, base, num), key, JUDGED, size_of(base)
        )
        return jax.lax.stop_gradient(terms)


@pytree
class _Drawn(Reparameterized):
    """A guide whose base noise is drawn already; the key that it is given is not used."""

    guide: Any
    drawn: Array

    def noise(self, key: Array, shape: Sequence[int] = ()) -> Array:
        return self.drawn

    def from_noise(self, noise: Array) -> Array:
        return self.guide.from_noise(noise)

    def log_prob(self, x: Array) -> Array:
        return self.guide.log_prob(x)

    def log_prob_of_noise(self, noise: Array) -> Array:
        return self.guide.log_prob_of_noise(noise)

    def entropy(self) -> Array:
        return self.guide.entropy()
