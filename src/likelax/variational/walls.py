"""What steps of natural gradients do about far places that decide the bound, see `tails`.

They are searched for now and then. Draws around the known ones enter the moments of a look, and steps go
towards the maximum of a model of the log joint that is quadratic but for exponential walls at these places.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.numerics import any_in_batch, cholesky, inverse_lower, matmul
from likelax.variational import tails
from likelax.variational.estimators import density
from likelax.variational.guides import NormalGuide
from likelax.variational.leaves import base_of, select, with_base

# Fits that go on for this many looks, or a power of two of it, search for far places; so does every end.
FIRST_SEARCH = 16
SEARCH_EVERY = 8
MOST_SEARCHES = 30


class Moments(NamedTuple):
    """Expectations under a guide.

    Attributes:
      value: scalar, of the log joint.
      signal: (D,) of the whitened score.
      stein: (D, D) of noise times whitened score.
      size: scalar, of the absolute log joint.
      costs: (K,) nats that far places cost.
    """

    value: Array
    signal: Array
    stein: Array
    size: Array
    costs: Array


def if_any(flag: Array, possible: bool, found: Any, otherwise: Any) -> Any:
    """`found()` where the flag is set in any fit of a batch; no program for it unless that is possible."""
    return jax.lax.cond(any_in_batch(flag), found, lambda: otherwise) if possible else otherwise


def moments(
    at: Callable[[Array], tuple[Array, Array]],
    places: Array,
    half: Array,
    noise: Array,
    values: Array,
    scores: Array,
    plain: Moments,
) -> Moments:
    """The moments with what draws at far places add to the plain ones.

    Args:
      at: noise (S, D) -> log joints (S,) and whitened scores (S, D).
      places: (K, D) far places, as noise.
      half: noise around each place, as for `tails.weighted`.
      noise, values, scores: the plain draws.
      plain: their moments.
    """
    both = tails.weighted(half, noise, places)
    far_values, far_scores = at(both.noise[noise.shape[0] :])
    values = jnp.concatenate([values, far_values])
    scores = jnp.concatenate([scores, far_scores])
    known = jnp.isfinite(values) & jnp.all(jnp.isfinite(scores), axis=1)
    # a quadratic log joint with the plain moments, whose expectations are known
    bend = matmul(both.noise, plain.stein)
    square = jnp.sum(bend * both.noise, axis=1) - jnp.trace(plain.stein)
    expected = plain.value + matmul(both.noise, plain.signal) + square / 2
    weights, rest = tails.beside_baseline(both, values, known, expected)
    rest_scores = jnp.where(known[:, None], scores, 0) - plain.signal[None] - bend
    return Moments(
        plain.value + jnp.sum(weights * rest),
        plain.signal + matmul(weights, rest_scores),
        plain.stein + matmul((weights[:, None] * both.noise).T, rest_scores),
        plain.size + jnp.sum(weights * jnp.abs(rest)),
        jnp.maximum(-matmul(weights * rest, both.shares), 0),
    )


def best(base: NormalGuide, look: Any, slopes: Array) -> tails.Peak:
    """The best normal beside known walls, in the coordinates of the guide."""
    return tails.peak(look.signal, look.curvature, base.whiten(slopes), look.costs, base)


def toward(guide: Any, best: tails.Peak, rate: Array) -> Any:
    """A step of size `rate` towards the best normal, in its natural parameters."""
    base = base_of(guide)
    eye = jnp.eye(best.loc.shape[0], dtype=best.loc.dtype)
    precision = (1 - rate) * eye + rate * best.precision
    root = inverse_lower(cholesky(precision))
    pull = rate * matmul(best.precision, best.loc)
    shift = matmul(root.T, matmul(root, pull))
    moved = base.moved(shift, precision)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]
    return with_base(guide, select(jnp.all(jnp.stack(finite)), moved, base))


def searched(algorithm: Any, before: Any, after: Any, key: Array, origin: Any, seen: Any) -> Any:
    """The state after a search, now and then and at the end, for far places that the draws do not reach.

    If such places are new and cost more than the tolerance, the ascent starts again with them, or ends.

    Args:
      algorithm: a `NaturalAscent`.
      before, after: its states before and after a step.
      key: a typed key.
      origin: the guide of the last look.
      seen: that look.
    """
    uses, step = algorithm.walls == "use", before.step + 1
    power = (step >= FIRST_SEARCH) & (step & (step - 1) == 0)
    # where there is one wall there may be more
    now_and_then = power | (jnp.any(before.slopes != 0) & (step % SEARCH_EVERY == 0))
    last = algorithm.are_spent(before.used + before.sets) & (not uses)
    wanted = ((now_and_then | last) & ~jnp.isneginf(seen.bound)) | after.stalled
    wanted = wanted & (before.searches < MOST_SEARCHES) & ~algorithm.done(before)

    def search() -> tuple[Array, Array]:
        target, base, _ = density(algorithm.log_joint, origin)
        deficit = tails.deficit_of(target, base, seen.bound)
        if not uses:
            dim, dtype = base.loc.shape[0], base.loc.dtype
            return before.slopes, tails.hidden_cost(key, deficit, dim, dtype)
        known = base.whiten(before.slopes)
        found = tails.search(key, deficit, known)
        return base.slopes(tails.merged(found, known)), tails.cost_of_new(found, known)

    nothing = (before.slopes, jnp.zeros_like(after.gap))
    slopes, cost = jax.lax.cond(any_in_batch(wanted), search, lambda: nothing)
    if not uses:
        return after._replace(hidden=wanted & (cost > tails.COUNTS))
    tol = jnp.abs(jnp.asarray(algorithm.tol)).astype(cost.dtype)
    again = after._replace(
        slopes=slopes,
        searches=before.searches + 1,
        sets=before.sets,
        averaging=jnp.zeros((), bool),
        batches=jnp.zeros_like(before.batches),
        stalled=jnp.zeros((), bool),
        rate=jnp.ones_like(after.rate),
        gap=jnp.full_like(after.gap, jnp.inf),
        # without these places it was too high
        kept_bound=jnp.full_like(after.kept_bound, -jnp.inf),
    )
    return select(wanted & (cost > jnp.maximum(tol, tails.COUNTS)), again, after)
