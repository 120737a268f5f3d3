"""The result of a fit of a guide, and its check on fresh draws: how far to trust it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax import monte_carlo
from likelax.fit.algorithm import LIGHT
from likelax.fit.result import Fit, Status
from likelax.numerics import any_in_batch, as_float
from likelax.variational import tails
from likelax.variational.estimators import LogJoint, density, draws_and_log_guides
from likelax.variational.guides import Reparameterized
from likelax.variational.natural import in_pieces
from likelax.variational.weights import beyond_rounding, rounding_of

# Pareto k-hat above which weighted estimates cannot be trusted.
MOST_K_HAT = 0.7
# Pareto shape of the terms of the ELBO above which they have no mean.
NO_MEAN = 1.0
# Share of the variance of the terms that one draw may have.
ONE_DRAW = 0.25
# Cost in nats of far places that a fit did not know of, above which its bound means nothing.
UNSEEN = 0.1
MORE_SEARCHES = 16
# Standard error in nats below which the tail of the terms does not matter.
SMALL_ERROR = 0.01
# Numbers of the draws of a check that are held in memory at once.
NUMBERS_AT_ONCE = 2**24
# Numbers of a draw up to which far places are searched for.
MOST_SEARCHED = 4096


class GuideFit(NamedTuple):
    """A fitted guide and how far to trust it.

    Attributes:
      guide: the fitted approximate posterior, a model.
      fit: the `Fit` that made it: trace, steps, status. The status is UNRELIABLE where the log
        joint is not finite at all fresh draws, or where the terms of the ELBO are so heavy-tailed
        that their mean and its error cannot be trusted, or where places that no draw reaches count and
        the fit did not know of them.
      elbo: a fresh `Estimate` of its ELBO, nats; its standard error includes rounding. NaN where
        the check is unreliable.
      k_hat: Pareto k-hat of its importance weights: below 0.7 weighted estimates can be
        trusted, see `monte_carlo.psis`. -inf where they are equal but for rounding.
      gap: estimated nats by which the ELBO is below the best of the guide's family, near the
        optimum that was found; inf where that is not known, as before fresh draws were used or
        where the check is unreliable. CONVERGED means gap <= tol.
      num_gradients: gradients of the log joint, one for each draw of the guide; those of searches for far
        places and around them are left out.
    """

    guide: Any
    fit: Fit
    elbo: monte_carlo.Estimate
    k_hat: Array
    gap: Array
    num_gradients: Array

    def summary(self) -> str:
        """One paragraph: status, bound and error, gap and k-hat. Not under jit.

        Examples:
          >>> from likelax.variational import fit_guide, full_rank
          >>> posterior = lambda z: -jnp.sum((z - 2.0) ** 2) / 2
          >>> fitted = fit_guide(jax.random.key(0), posterior, full_rank(jnp.zeros(2)))
          >>> print(fitted.summary().splitlines()[0])
          CONVERGED after 192 gradients: estimated 0.00 nats below the best bound of this family.
        """
        status, k_hat = Status(int(self.fit.status)), float(self.k_hat)
        gap = f"estimated {float(self.gap):.2f} nats below the best bound of this family"
        if not np.isfinite(float(self.gap)):
            gap = "its distance from the best bound of this family is not known"
        bound = f"ELBO {float(self.elbo.value):.3f} +- {float(self.elbo.standard_error):.3f} nats"
        if not np.isfinite(float(self.elbo.value)):
            bound = "The ELBO on fresh draws cannot be trusted, and is not given"
        verdict = "weighted estimates can be trusted"
        # the tail of S weights to which k-hat is fitted has min(S / 5, 3 sqrt(S)) of them
        number = int(self.elbo.num_samples)
        error = (1 + k_hat) / max(1.0, min(number / 5, 3 * number**0.5)) ** 0.5
        if k_hat > MOST_K_HAT - error:
            verdict = (
                f"with an error of {error:.2f} it may be above 0.7; a larger num_check says whether "
                "weighted estimates can be trusted"
            )
        if not k_hat <= MOST_K_HAT:
            verdict = (
                "above 0.7, so the guide is far from the posterior, and neither its means nor "
                "weighted estimates can be trusted without another check"
            )
        count = int(self.num_gradients)
        return (
            f"{status.name} after {count} gradients: {gap}.\n{bound}. k-hat {k_hat:.2f}: {verdict}."
        )


def _check(
    key: Array,
    log_joint: LogJoint,
    found: Fit,
    draws_per_step: int,
    num_check: int,
    walls: tails.Walls,
) -> tuple[GuideFit, Array]:
    """The result of a fit with its bound on fresh draws, and whether far places count that it leaves out.

    Where they are used they are part of the bound.
    """
    guide, gap, count, slopes, hidden = found.model
    target, base, _ = density(log_joint, guide)
    size = size_of(base)
    normal = isinstance(base, Reparameterized) and base.normal_noise and size <= MOST_SEARCHED
    held = normal and num_check * size <= NUMBERS_AT_ONCE
    key_far = key
    if walls != "ignore":
        key, key_far = jax.random.split(key)

    def log_joints(draws: Any, num: int) -> Array:
        return in_pieces(lambda draw: as_float(target(draw))[0], draws, num)

    def logs(key: Array, num: int) -> tuple[Array, Array]:
        draws, log_q = draws_and_log_guides(key, base, num)
        return log_joints(draws, num), log_q

    def at(noise: Array) -> tuple[Array, Array]:
        return log_joints(base.from_noise(noise), len(noise)), base.log_prob_of_noise(noise)

    # noise of draws around far places, in the same row, which compiles once
    num_far = tails.DRAWS_AT_PLACE // 2 if walls == "use" else 0
    if held:
        drawn = base.noise(key, (num_check + num_far,))
        log_p, log_q = at(drawn[:num_check])
    else:
        log_p, log_q = in_parts(logs, key, num_check, size)
    terms = log_p - log_q
    bound = monte_carlo.mean(terms)
    # the tail of the weights, and that of the terms; batched, so that psis is compiled once
    both = jnp.stack([terms, jnp.log(jnp.max(terms) - terms)])
    k_hat, k_hat_terms = jax.vmap(lambda tail: monte_carlo.psis(tail).k_hat)(both)
    dominated = _one_draw_dominates(terms - jnp.mean(terms))
    unseen = jnp.zeros((), bool)
    if normal and walls == "use":
        some = terms
        if not held:
            key_far, key_some = jax.random.split(key_far)
            drawn = base.noise(key_some, (NUMBERS_AT_ONCE // size + num_far,))
            log_p_there, log_q_there = at(drawn[:-num_far])
            some = log_p_there - log_q_there
        noise, half = drawn[:-num_far], drawn[-num_far:]
        bound, dominated, unseen = _with_tails(
            key_far, target, base, noise, half, some, bound, dominated, slopes
        )
    elif normal and walls == "find":
        deficit = tails.deficit_of(target, base, bound.value)
        hidden |= tails.hidden_cost(key_far, deficit, size, base.loc.dtype) > tails.COUNTS
    # a sum of many terms is rounded as often as they are
    rounding = rounding_of(log_p, log_q)
    k_hat = beyond_rounding(k_hat, log_p, log_q)
    heavy = (k_hat_terms > NO_MEAN) & dominated
    error = jnp.sqrt(bound.standard_error**2 + rounding**2)
    # finite terms may have infinite sums
    finite = jnp.all(jnp.isfinite(terms)) & jnp.isfinite(bound.value) & jnp.isfinite(error)
    reliable = finite & ~(heavy & (error > SMALL_ERROR)) & ~unseen
    bound = bound._replace(
        value=jnp.where(reliable, bound.value, jnp.nan),
        standard_error=jnp.where(reliable, error, jnp.nan),
    )
    usable = found.usable & ~reliable
    status = jnp.where(usable, int(Status.UNRELIABLE), found.status).astype(int)
    fitted = Fit(guide, found.objectives, found.num_steps, status)
    gap = jnp.where(reliable, gap, jnp.inf)
    return GuideFit(guide, fitted, bound, k_hat, gap, count * draws_per_step), hidden


_STATIC = ("log_joint", "draws_per_step", "num_check", "walls")
check = jax.jit(_check, static_argnames=_STATIC)
light_check = jax.jit(_check, static_argnames=_STATIC, compiler_options=LIGHT)


def _with_tails(
    key: Array,
    target: LogJoint,
    base: Any,
    noise: Array,
    half: Array,
    terms: Array,
    bound: monte_carlo.Estimate,
    dominated: Array,
    slopes: Array | None,
) -> tuple[monte_carlo.Estimate, Array, Array]:
    """The bound with what far places add to it, whether one draw dominates it, and whether places were not known."""
    known = jnp.zeros((0, noise.shape[1]), noise.dtype) if slopes is None else base.whiten(slopes)

    def searched(key: Array, places: Array) -> tuple[Array, Array]:
        found = tails.search(key, tails.deficit_of(target, base, bound.value), places)
        return tails.merged(found, places), tails.cost_of_new(found, known) + found.lost

    def again(i: Array, before: tuple[Array, Array]) -> tuple[Array, Array]:
        places, lost = before
        places, unseen = searched(jax.random.fold_in(key, i), places)
        return places, jnp.maximum(lost, unseen)

    if slopes is None:
        places, lost = searched(key, known)
    else:
        # where there are walls, others may be behind them
        searches = jnp.where(jnp.any(known != 0), MORE_SEARCHES, 1)
        start = (known, jnp.zeros((), known.dtype))
        places, lost = jax.lax.fori_loop(0, searches, again, start)

    def reached() -> tuple[monte_carlo.Estimate, Array, Array]:
        both = tails.weighted(half, noise, places)
        far = jax.vmap(partial(tails.term, target, base))(both.noise[terms.shape[0] :])
        usable = jnp.concatenate([jnp.ones(terms.shape, bool), jnp.isfinite(far)])
        all_terms = jnp.concatenate([terms, far.astype(terms.dtype)])
        weights, rest = tails.beside_baseline(both, all_terms, usable, bound.value)
        value = bound.value + jnp.sum(weights * rest)
        error = jnp.sqrt(jnp.sum((weights * rest) ** 2))
        # log p overflows around a place, so that a part of its cost is not known
        overflow = jnp.any(~usable & (both.weights > 0))
        found = bound._replace(value=value, standard_error=error)
        return found, _one_draw_dominates(weights * rest), overflow

    any_place = any_in_batch(jnp.any(places != 0))
    nothing = (bound, dominated, jnp.zeros((), bool))
    estimate, dominated, overflow = jax.lax.cond(any_place, reached, lambda: nothing)
    return estimate, dominated, (lost > UNSEEN) | overflow


def _one_draw_dominates(deviations: Array) -> Array:
    """Whether a single draw makes up a large part of the variance."""
    squares = deviations**2
    return jnp.max(squares) > ONE_DRAW * jnp.sum(squares)


def in_parts(function: Any, key: Array, num: int, size: int) -> Any:
    """(key, S) -> arrays with an axis S, of draws of so many numbers each, of not too many at once."""
    parts = -(-num * size // NUMBERS_AT_ONCE)
    if parts == 1:
        return function(key, num)
    parts = next(count for count in range(parts, num + 1) if num % count == 0 or count == num)
    keys = jax.random.split(key, parts)
    found = jax.lax.map(lambda key: function(key, num // parts), keys)
    return jax.tree.map(lambda leaf: leaf.reshape(num, *leaf.shape[2:]), found)


def size_of(base: Any) -> int:
    """Numbers of one draw, where the guide says it."""
    return int(base.num_noise) if isinstance(base, Reparameterized) else 1
