"""Far places that decide the ELBO of a normal guide, and draws that reach them.

E_q log p may come mostly from places that no sample of q reaches: log p = -exp(z) under a normal with
standard deviation s has its expectation from draws s standard deviations out. Such a place is found by
its slope: tilting q by exp(slope z) moves its mean there, and draws of the tilted guide, weighted
back to q, estimate what it costs.

Source: Siegmund (1976), Importance sampling in the Monte Carlo study of sequential tests, for exponential
  tilting; Veach and Guibas (1995), Optimally combining sampling techniques, for the weights.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.numerics import as_float, cholesky, inverse_lower, matmul
from likelax.numerics.draws import standard_normal
from likelax.numerics.lapack import eigh, qr

# Standard deviations of each coordinate from the centre, along each of a set of random axes, at which
# the search starts.
RADII = (1.5, 2.5, 4.0, 6.0, 9.0)
MOST_AXES = 64
REFINEMENTS = 4
PEAK_STEPS = 20
# Largest factor by which `peak` widens a variance.
WIDEST = 10.0
MOST_PLACES = 32
# Draws around each place.
DRAWS_AT_PLACE = 4
# A place nearer than this, in standard deviations, is reached by draws of the guide itself.
NEAR = 2.5
# Draws of the guide hardly ever fall beyond this distance.
OUT_OF_REACH = 3.5
# The largest distance at which exp(-distance^2 / 2) times a float32 can matter.
FAR = 18.0
# Places that cost less than this, in nats, are left out.
CHEAP = 1e-4
# A fit takes notice of places that cost this much in all, in nats.
COUNTS = 0.01
# Two places closer than this fraction of their distance from the centre are one.
SAME = 0.5

# what a fit does about such places
Walls = Literal["ignore", "mark", "find", "use"]
OfNoise = Callable[[Array], Array]


def term(target: Callable[[Any], Array], guide: Any, noise: Array) -> Array:
    """log p - log q at one draw, from its noise."""
    log_p = as_float(target(guide.from_noise(noise)))[0].astype(noise.dtype)
    return log_p - guide.log_prob_of_noise(noise)


def deficit_of(target: Callable[[Any], Array], guide: Any, bound: Array) -> OfNoise:
    """By how many nats the terms are lower than the bound, their mean."""
    return lambda noise: bound.astype(noise.dtype) - term(target, guide, noise)


class Weighted(NamedTuple):
    """Draws of a normal guide and of its tilts, as noise.

    Attributes:
      noise: (S + K R, M); the first S are those of the guide.
      weights: (S + K R,) by which a sum over all draws estimates an expectation under the guide.
      shares: (S + K R, K) probabilities that a draw at that point is one of this tilt.
    """

    noise: Array
    weights: Array
    shares: Array


def weighted(half: Array, plain: Array, places: Array) -> Weighted:
    """Draws of the guide and of its tilts with the weights of the balance heuristic.

    Args:
      half: (R / 2, M) standard normal noise, which is used with both signs around each place.
      plain: (S, M) standard normal noise.
      places: (K, M) centres of the tilted noise; a row of zeros is no place, and gets no weight.
    """
    own = jnp.concatenate([half, -half])
    num_plain, num_own = plain.shape[0], own.shape[0]
    used = jnp.any(places != 0, axis=1)
    moved = (places[:, None] + own[None]).reshape(-1, plain.shape[1])
    noise = jnp.concatenate([plain, moved])
    # log of the density of each tilt relative to that of the guide
    ratios = matmul(noise, places.T) - jnp.sum(places**2, axis=1)[None] / 2
    ratios = jnp.where(used[None], ratios, -jnp.inf)
    highest = jnp.maximum(jnp.max(ratios, axis=1), 0)
    tilted = num_own * jnp.exp(ratios - highest[:, None])
    total = num_plain * jnp.exp(-highest) + jnp.sum(tilted, axis=1)
    counted = jnp.concatenate([jnp.ones(num_plain, bool), jnp.repeat(used, num_own)])
    weights = jnp.where(counted, jnp.exp(-highest) / total, 0)
    return Weighted(noise, weights, tilted / total[:, None])


def beside_baseline(
    both: Weighted, values: Array, known: Array, baseline: Array
) -> tuple[Array, Array]:
    """(weights, rest): the mean of the values is the known one of a baseline plus the sum of weights * rest.

    Args:
      both: draws with weights.
      values: (S + K R,) at the draws.
      known: (S + K R,) whether they are finite; the others get no weight.
      baseline: (S + K R,) or scalar.
    """
    rest = jnp.where(known, values - baseline, 0)
    return jnp.where(known, both.weights, 0), rest


class Places(NamedTuple):
    """Far places at which a guide pays, as noise.

    Attributes:
      noise: (K, M), the most expensive first; zero where there are fewer.
      costs: (K,) about how much each lowers the bound, nats; 0 where there are fewer.
      lost: scalar, nats that places cost at which log p overflows, by extrapolation.
    """

    noise: Array
    costs: Array
    lost: Array


def num_places(dim: int) -> int:
    """K, for M entries of noise."""
    return min(2 * dim, MOST_PLACES)


def search(key: Array, deficit: OfNoise, known: Array) -> Places:
    """The places where the guide pays most.

    A place e is a stationary point of -e'e / 2 + log deficit(e), so e = grad log deficit(e); for a
    deficit exp(a + b'e) one such step finds it from anywhere.

    Args:
      key: a typed key.
      deficit: noise (M,) -> nats by which log p - log q is lower there than its mean.
      known: (K, M) places known before, zero where there are fewer, or (0, M); they are tried first.
    """
    num = num_places(known.shape[1])
    starts = jnp.concatenate([known, _starts(key, known)])
    values, slopes, _ = _log_deficits(deficit, starts)
    # what the cost would be at e = slope if log deficit were linear
    log_costs = values - jnp.sum(slopes * starts, axis=1) + jnp.sum(slopes**2, axis=1) / 2
    _, costs, at = _distinct(slopes, _priced(slopes, log_costs), num)
    # those that stand for nothing stay at the centre
    used = costs > 0
    places = jnp.where(used[:, None], starts[at], 0)
    slopes = jnp.where(used[:, None], slopes[at], 0)
    values = jnp.where(used, values[at], -jnp.inf)

    def refine(i: Array, before: tuple[Array, ...]) -> tuple[Array, ...]:
        places, values, slopes, rate, blocked = before
        there = places + rate[:, None] * (_within(slopes) - places)
        new, new_slopes, overflow = _log_deficits(deficit, there)
        finite = jnp.isfinite(new) & used
        return (
            jnp.where(finite[:, None], there, places),
            jnp.where(finite, new, values),
            jnp.where(finite[:, None], new_slopes, slopes),
            jnp.where(finite, 1, rate / 4),
            blocked | (overflow & used),
        )

    first = (places, values, slopes, jnp.ones_like(values), jnp.zeros_like(used))
    places, values, slopes, _, blocked = jax.lax.fori_loop(0, REFINEMENTS, refine, first)
    log_costs = _priced(places, values - jnp.sum(places**2, axis=1) / 2)
    # log p is not finite where the slope points to
    beyond = values - jnp.sum(slopes * places, axis=1) + jnp.sum(slopes**2, axis=1) / 2
    overflown = blocked & (jnp.linalg.norm(slopes, axis=1) > jnp.linalg.norm(places, axis=1))
    lost = jnp.max(jnp.where(overflown, jnp.exp(beyond), 0))
    noise, costs, _ = _distinct(places, log_costs, num)
    return Places(noise, costs, lost)


def merged(found: Places, known: Array) -> Array:
    """The places found, and then those known (K, M) before, as long as there is room."""
    old = jnp.where(jnp.any(known != 0, axis=1), jnp.log(CHEAP), -jnp.inf)
    log_costs = jnp.concatenate([jnp.log(found.costs), old.astype(found.costs.dtype)])
    places = jnp.concatenate([found.noise, known])
    return _distinct(places, log_costs, len(found.noise))[0]


def cost_of_new(found: Places, known: Array) -> Array:
    """About how many nats the places out of reach cost that are not among the known ones (K, M)."""
    apart = jnp.all(_apart(found.noise[:, None], known[None]), axis=1)
    hidden = jnp.linalg.norm(found.noise, axis=1) >= OUT_OF_REACH
    return jnp.sum(jnp.where(apart & hidden, found.costs, 0))


def hidden_cost(key: Array, deficit: OfNoise, dim: int, dtype: Any) -> Array:
    """About how many nats places out of reach cost where none is known before."""
    known = jnp.zeros((0, dim), dtype)
    found = search(key, deficit, known)
    return cost_of_new(found, known) + found.lost


def _starts(key: Array, known: Array) -> Array:
    """Points at several distances along random orthogonal axes, on both sides.

    Every second axis is made orthogonal to the known places: the walls there hide what lies beyond.
    """
    dim = known.shape[1]
    num = min(dim, MOST_AXES)
    radii = jnp.asarray(RADII, known.dtype)
    axes = qr(standard_normal(key, (dim, num), known.dtype))[0].T * dim**0.5
    if len(known):
        # those that are no place, and nearly dependent ones, get no part in the projection
        square = jnp.sum(known**2, axis=1)
        ridge = jnp.where(square > 0, 1e-4 * jnp.max(square), 1)
        root = inverse_lower(cholesky(matmul(known, known.T) + jnp.diag(ridge)))
        frame = matmul(root, known)
        free = axes - matmul(matmul(axes, frame.T), frame)
        axes = jnp.where((jnp.arange(num) % 2 == 0)[:, None], axes, free)
    axes = jnp.concatenate([axes, -axes])
    return (radii[:, None, None] * axes[None]).reshape(-1, dim)


def _log_deficits(deficit: OfNoise, places: Array) -> tuple[Array, Array, Array]:
    """(log deficits, their gradients, whether log p overflows).

    The first two are -inf and 0 where there is no deficit, or where it is not finite.
    """
    values, slopes = jax.vmap(jax.value_and_grad(deficit))(places)
    finite = jnp.isfinite(values) & jnp.all(jnp.isfinite(slopes), axis=1)
    known = finite & (values > 0)
    safe = jnp.where(known, values, 1)
    slopes = jnp.where(known[:, None], slopes / safe[:, None], 0)
    return jnp.where(known, jnp.log(safe), -jnp.inf), slopes, ~finite


def _within(places: Array) -> Array:
    """The places, none of them farther out than float32 allows."""
    distance = jnp.linalg.norm(places, axis=1, keepdims=True)
    return places * jnp.minimum(1, FAR / jnp.where(distance > 0, distance, 1))


def _apart(one: Array, other: Array) -> Array:
    """Whether places (..., M) differ by more than a part of their distance from the centre."""
    return jnp.linalg.norm(other - one, axis=-1) > SAME * jnp.linalg.norm(one, axis=-1)


def _priced(places: Array, log_costs: Array) -> Array:
    """The log costs, -inf for places that are near or cheap."""
    far = jnp.linalg.norm(places, axis=1) >= NEAR
    return jnp.where(far & (log_costs > jnp.log(CHEAP)), log_costs, -jnp.inf)


def _distinct(places: Array, log_costs: Array, num: int) -> tuple[Array, Array, Array]:
    """The most expensive places that are apart from one another: (places, costs, their indices)."""
    places = _within(places)

    def one(log_costs: Array, _: None) -> tuple[Array, tuple[Array, Array, Array]]:
        at = jnp.argmax(log_costs)
        cost = jnp.exp(log_costs[at])
        place = jnp.where(cost > 0, places[at], 0)
        rest = jnp.where(_apart(place[None], places), log_costs, -jnp.inf)
        return rest, (place, cost, at)

    found: tuple[Array, Array, Array] = jax.lax.scan(one, log_costs, None, length=num)[1]
    return found


class Peak(NamedTuple):
    """The best normal for a log joint that is quadratic but for exponential walls.

    Attributes:
      loc: (D,).
      precision: (D, D).
      gain: scalar, nats by which its bound is above that of the standard normal.
    """

    loc: Array
    precision: Array
    gain: Array


def peak(signal: Array, curvature: Array, places: Array, costs: Array, guide: Any) -> Peak:
    """The normal that maximises its bound for a'x - x'Cx / 2 - sum_k b_k exp(e_k'x).

    Under a standard normal the wall at place e_k costs costs_k = b_k exp(e_k'e_k / 2); under N(m, V) its
    cost is costs_k exp(e_k'm + e_k'(V - I) e_k / 2). The optimum is m = C^-1 (a - sum_k cost_k e_k),
    V^-1 = C + sum_k cost_k e_k e_k', where the costs are those at the optimum: Newton steps find their logs.

    Args:
      signal: (D,) mean score under the standard normal.
      curvature: (D, D) mean negative Hessian there.
      places: (K, D) the e_k, zero where there are fewer.
      costs: (K,) nats, not negative.
      guide: a `NormalGuide`, whose `part` says which entries the precision can have.
    """
    dim, dtype = signal.shape[0], signal.dtype
    used = jnp.any(places != 0, axis=1) & (costs > 0)
    places, costs = jnp.where(used[:, None], places, 0), jnp.where(used, costs, 0)
    bend = curvature - matmul(places.T * costs[None], places)
    values, vectors = eigh(bend)
    # a step widens the guide by at most this
    values = jnp.maximum(jnp.abs(values), 1 / WIDEST)
    bend, inverse = (matmul(vectors * v[None], vectors.T) for v in (values, 1 / values))
    pull = signal + matmul(costs, places)
    toward = matmul(matmul(places, inverse), places.T)
    eye = jnp.eye(places.shape[0], dtype=dtype)
    log_costs = jnp.log(jnp.where(used, costs, 1))
    half = jnp.sum(places**2, axis=1) / 2

    def at(logs: Array) -> tuple[Array, Array, Array, Array]:
        now = jnp.where(used, jnp.exp(logs), 0)
        loc = matmul(inverse, pull - matmul(now, places))
        precision = guide.part(bend + matmul(places.T * now[None], places))
        root = inverse_lower(cholesky(precision))
        spread = matmul(matmul(places, root.T), root)
        exponent = matmul(places, loc) + jnp.sum(spread * places, axis=1) / 2 - half
        return exponent, loc, precision, spread

    def newton(i: Array, logs: Array) -> Array:
        exponent, _, _, spread = at(logs)
        off = jnp.where(used, log_costs + exponent - logs, 0)
        now = jnp.where(used, jnp.exp(logs), 0)
        # (I + A N)^-1 by the symmetric I + N^1/2 A N^1/2
        bend_of_logs = toward + guide.overlap(spread, places) / 2
        weight = jnp.sqrt(now)
        inverse_root = inverse_lower(cholesky(eye + weight[:, None] * bend_of_logs * weight[None]))
        pulled = matmul(inverse_root.T, matmul(inverse_root, weight * off))
        return logs + jnp.clip(off - matmul(bend_of_logs, weight * pulled), -2, 2)

    logs = jax.lax.fori_loop(0, PEAK_STEPS, newton, log_costs)
    exponent, loc, precision, _ = at(logs)
    root = inverse_lower(cholesky(precision))
    covariance = matmul(root.T, root)
    linear = matmul(pull, loc) - matmul(loc, matmul(bend, loc)) / 2
    scale = (
        jnp.sum(jnp.log(jnp.diagonal(root)))
        - jnp.sum(bend * (covariance - jnp.eye(dim, dtype=dtype))) / 2
    )
    walls = jnp.sum(jnp.where(used, costs - costs * jnp.exp(exponent), 0))
    return Peak(loc, precision, linear + scale + walls)
