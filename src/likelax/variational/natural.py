"""Natural gradient ascent of the ELBO of a normal guide: on fixed draws, then averaged over fresh ones.

In the coordinates in which the guide is a standard normal, S draws give the mean score and, by
Stein's lemma, the expected curvature of the log joint from first derivatives alone. The draws have
mean 0 and covariance I exactly, so both are exact for a normal posterior, which takes one step.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.fit import validation
from likelax.fit.algorithm import finish
from likelax.fit.result import Fit, Status
from likelax.model import pytree, static
from likelax.numerics import as_float, cholesky, inverse_lower, matmul
from likelax.numerics.draws import standard_normal
from likelax.numerics.lapack import eigh
from likelax.variational import tails, walls
from likelax.variational.estimators import density
from likelax.variational.guides import NormalGuide
from likelax.variational.leaves import base_of, select, with_base

FEWEST_DRAWS = 48
# Largest number of draws whose gradients are held in memory at once.
DRAWS_AT_ONCE = 1024
# A step widens the guide by at most this factor in variance; the scores of a narrow guide say
# little about the log joint far away.
WIDEST = 10.0
# Fixed draws are left when their own bound can rise by this fraction of the tolerance at most.
SETTLED = 1 / 40
# A step size below which no step raises the bound on fixed draws.
STUCK = 1e-3
MOST_NARROWINGS = 8
# Fixed draws are too few where fresh ones find the guide further than this from rest, in nats: there
# are then RAISE times as many, up to MOST_SETS sets.
OVERFITTED = 2.0
RAISE = 4
MOST_SETS = 64


class Look(NamedTuple):
    """What a set of draws says about a guide.

    Attributes:
      bound: scalar, mean log joint plus entropy, nats.
      signal: (D,) mean whitened score; zero at the best location.
      curvature: (D, D) expected negative Hessian of the log joint, whitened; I at the best scale.
      size: scalar, mean absolute log joint, for the rounding error of `bound`.
      costs: (K,) nats that far places cost, see `tails`.
    """

    bound: Array
    signal: Array
    curvature: Array
    size: Array
    costs: Array


class NaturalState(NamedTuple):
    """A fit by natural gradients between two steps.

    Attributes:
      guide: the guide to be looked at next; the result once the fit is done.
      origin: the guide from which the last step was taken.
      seed: data of the key of the fixed draws, which is used at every look at them.
      sets: integer scalar, sets of S draws in a look.
      look: a `Look` at `origin`.
      rate: scalar, step size on the fixed draws.
      averaging: whether the steps use fresh draws.
      batches: integer scalar, sets of fresh draws used.
      noise_level: scalar, smoothed distance from rest that fresh draws report, nats.
      gap: scalar, estimated nats that the ELBO of `guide` lies below the best of its family, or that of
        `origin` beside walls; inf before fresh draws were used.
      step: integer scalar, looks taken.
      used: integer scalar, sets of S draws used.
      objective: scalar, the bound of the last look, nats.
      kept: the guide with the highest bound on draws that it was not fitted to, the start among them.
      kept_bound: scalar, that bound, nats.
      narrowings: integer scalar, how often the guide was narrowed to make the bound finite.
      slopes: (K, D) slopes of log p at far places that decide the bound, see `tails`; zero where
        there are none.
      searches: integer scalar, how often such places were found.
      hidden: whether places were found that the algorithm does not use.
      stalled: whether the gap is below the tolerance.
      failed: whether no finite bound was found.
    """

    guide: Any
    origin: Any
    seed: Array
    sets: Array
    look: Look
    rate: Array
    averaging: Array
    batches: Array
    noise_level: Array
    gap: Array
    step: Array
    used: Array
    objective: Array
    kept: Any
    kept_bound: Array
    narrowings: Array
    slopes: Array
    searches: Array
    hidden: Array
    stalled: Array
    failed: Array


@pytree
class NaturalAscent:
    """Natural gradient ascent of an ELBO, as an algorithm: see `fit_guide`, which runs it.

    First, steps on fixed draws, each accepted only if it raises their bound. Then steps of size
    1 / t on fresh draws, which average over all of them. The fit has converged when the estimated
    distance from the best bound of the family is below the tolerance.

    Attributes:
      tol: nats.
      max_steps: maximum number of sets of draws.
      log_joint: one draw -> scalar, nats.
      walls: what to do about far places that decide the bound, see `tails`: "ignore" them; "find" them,
        which ends the fit; or "use" them in further steps, which makes the program three times as long.

    Source: Khan and Rue (2023), The Bayesian learning rule; Lin, Khan and Schmidt (2019), Stein's
      lemma for the reparameterization trick; Giordano, Ingram and Broderick (2024) for fixed draws.
    """

    window: ClassVar[int] = 1
    by_m_step: ClassVar[bool] = False
    needs_key: ClassVar[bool] = True

    tol: ArrayLike = 0.05
    max_steps: ArrayLike = 2000
    log_joint: Any = static(default=None)
    walls: tails.Walls = static(default="ignore")

    @property
    def _uses(self) -> bool:
        return self.walls == "use"

    def check(self, name: str) -> None:
        """Raise for options out of range."""
        validation.check_options(name, self.tol, self.max_steps, fewest=1)

    def init(self, model: Any, data: Any, key: Any = None) -> NaturalState:
        """The state before the first draws; of the key only the type is used."""
        base = density(self.log_joint, model)[1]
        dim, dtype = base.loc.shape[0], base.loc.dtype
        zero, count = jnp.zeros((), dtype), jnp.zeros((), int)
        no = jnp.zeros((), bool)
        unknown = jnp.full((), -jnp.inf, dtype)
        rest = jnp.eye(dim, dtype=dtype)
        slopes = jnp.zeros((tails.num_places(dim) if self._uses else 0, dim), dtype)
        look = _nothing_seen(base, slopes)._replace(bound=unknown, curvature=rest)
        return NaturalState(
            guide=model,
            origin=model,
            seed=jnp.zeros_like(jax.random.key_data(key)),
            sets=count + 1,
            look=look,
            rate=jnp.ones((), dtype),
            averaging=no,
            batches=count,
            noise_level=zero,
            gap=jnp.full((), jnp.inf, dtype),
            step=count,
            used=count,
            objective=unknown,
            kept=model,
            kept_bound=unknown,
            narrowings=count,
            slopes=slopes,
            searches=count,
            hidden=no,
            stalled=no,
            failed=no,
        )

    def step(self, state: NaturalState, data: Any, key: Any = None) -> tuple[NaturalState, Array]:
        """One look at the guide, and a step from it or from the one before."""
        key_search = key
        if self.walls != "ignore":
            key, key_search = jax.random.split(key)
        # the last look, too, is at draws that the guide was not fitted to
        last = self.are_spent(state.used + state.sets)
        fresh = state.averaging | jnp.isneginf(state.look.bound) | last
        seed = jnp.where(fresh, jax.random.key_data(key), state.seed)
        impl = jax.random.key_impl(key)
        look, finite = self._look(state.guide, state.slopes, seed, impl, state.sets)
        better = self._is_better(state, look, finite)
        highest = fresh & finite & (look.bound > state.kept_bound)
        state = state._replace(
            kept=select(highest, state.guide, state.kept),
            kept_bound=jnp.where(highest, look.bound, state.kept_bound),
        )
        known = jnp.any(state.slopes != 0)
        # beside a wall a noisy step may be ruinous
        ruin = known & (state.batches > 0) & (look.bound < state.look.bound - OVERFITTED)
        taken = jnp.where(state.averaging, finite & ~ruin, better)
        origin = select(taken, state.guide, state.origin)
        seen = select(taken, look, state.look)
        values, vectors = eigh(seen.curvature)
        distance = _distance(origin, seen, values, vectors)
        plain = tails.Peak(seen.signal, seen.curvature, distance)
        best = walls.if_any(
            known, self._uses, lambda: walls.best(base_of(origin), seen, state.slopes), plain
        )
        # lost digits
        far = known & (best.gain >= 0) & (best.gain < jnp.inf)
        distance = jnp.where(far, best.gain, distance)
        climbing = self._climbed(state, better, distance)
        averaging = self._averaged(state, finite & ~ruin, seen, distance)
        after = select(state.averaging, averaging, climbing)
        if self.walls != "ignore":
            after = walls.searched(self, state, after, key_search, origin, seen)
        after = after._replace(seed=seed, origin=origin, step=state.step + 1)
        after = after._replace(used=state.used + state.sets)
        after = after._replace(objective=jnp.where(taken, look.bound, state.objective))
        settled = ~state.averaging & after.averaging
        narrow = after.narrowings > state.narrowings
        again = (after.sets > state.sets) | (after.searches > state.searches)
        guide = _moved(origin, seen, values, vectors, after.rate, state.averaging)
        if self._uses:
            guide = select(far, walls.toward(origin, best, after.rate), guide)
        # the first fresh draws look at the guide that the fixed ones gave
        guide = select(settled | again, origin, guide)
        wide = select(jnp.isneginf(seen.bound), state.guide, origin)
        guide = select(narrow, _narrowed(wide), guide)
        bound = jnp.where(narrow | again, -jnp.inf, seen.bound)
        after = after._replace(guide=guide, look=seen._replace(bound=bound))
        return select(self.done(state), state, after), after.objective[None]

    def done(self, state: NaturalState) -> Array:
        """Whether the fit has ended."""
        return state.stalled | state.failed | state.hidden | self.are_spent(state.used)

    def are_spent(self, used: Array) -> Array:
        """Whether so many sets of draws are all that the fit may use."""
        return used >= jnp.asarray(self.max_steps).astype(used.dtype)

    def result(self, state: NaturalState, objectives: Array) -> Fit:
        """The `Fit` with the last guide."""
        ended = jnp.where(state.stalled, int(Status.CONVERGED), int(Status.MAX_STEPS))
        failed = state.failed | jnp.isneginf(state.objective)
        status = jnp.where(failed, int(Status.NON_FINITE), ended).astype(int)
        # beside a wall only a guide that was looked at is safe
        guide = select(failed | jnp.any(state.slopes != 0), state.origin, state.guide)
        # what was fitted to few draws may be worse than the start
        fitted_to_few = ~failed & ~state.averaging & ~jnp.isneginf(state.kept_bound)
        guide = select(fitted_to_few, state.kept, guide)
        trace = finish(objectives, state.step, state.objective)
        count = state.used * num_draws(base_of(guide).loc.shape[0])
        return Fit((guide, state.gap, count, state.slopes, state.hidden), trace, state.step, status)

    def _look(
        self, guide: Any, slopes: Array, seed: Array, impl: Any, sets: Array
    ) -> tuple[Look, Array]:
        """The mean over some sets of draws, and whether all is finite."""

        def add(i: Array, before: tuple[Look, Array]) -> tuple[Look, Array]:
            total, finite = before
            key = jax.random.wrap_key_data(seed, impl=impl)
            one, fine = self._look_once(guide, slopes, jax.random.fold_in(key, i))
            total = jax.tree.map(lambda t, v: t + v / sets.astype(v.dtype), total, one)
            return total, finite & fine

        start = (_nothing_seen(base_of(guide), slopes), jnp.ones((), bool))
        found: tuple[Look, Array] = jax.lax.fori_loop(0, sets, add, start)
        return found

    def _look_once(self, guide: Any, slopes: Array, key: Array) -> tuple[Look, Array]:
        target, base, _ = density(self.log_joint, guide)
        dim = base.loc.shape[0]
        # drawn in one row, which compiles once
        num_half, num_far = num_draws(dim) // 2, tails.DRAWS_AT_PLACE // 2 if self._uses else 0
        drawn = standard_normal(key, (num_half + num_far, dim), base.loc.dtype)
        noise, far = whitened(drawn[:num_half]), drawn[num_half:]

        def at(noise: Array) -> tuple[Array, Array]:
            values, scores = _values_and_scores(target, base.from_noise(noise))
            return values, base.whiten(scores)

        values, scores = at(noise)
        signal = jnp.mean(scores, axis=0)
        stein = matmul(noise.T, scores) / noise.shape[0]
        none = jnp.zeros(slopes.shape[0], noise.dtype)
        plain = walls.Moments(jnp.mean(values), signal, stein, jnp.mean(jnp.abs(values)), none)
        moments = walls.if_any(
            jnp.any(slopes != 0),
            self._uses,
            lambda: walls.moments(at, base.whiten(slopes), far, noise, values, scores, plain),
            plain,
        )
        bound, curvature = moments.value + base.entropy(), -(moments.stein + moments.stein.T) / 2
        # finite values may have infinite sums
        sums = (values, bound[None], moments.signal, moments.stein.reshape(-1))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in sums]))
        return Look(bound, moments.signal, curvature, moments.size, moments.costs), finite

    def _is_better(self, state: NaturalState, look: Look, finite: Array) -> Array:
        """Whether the bound on the fixed draws has risen, or stayed within rounding."""
        rounding = 8 * jnp.finfo(look.bound.dtype).eps * (1 + look.size)
        return finite & (look.bound >= state.look.bound - rounding)

    def _climbed(self, state: NaturalState, better: Array, distance: Array) -> NaturalState:
        """After a look on the fixed draws."""
        tol = jnp.abs(jnp.asarray(self.tol)).astype(distance.dtype)
        rate = jnp.where(better, jnp.minimum(2 * state.rate, 1), state.rate / 4)
        none = jnp.isneginf(state.look.bound) & ~better
        # near rest the symmetric part of the curvature may be no ascent direction
        stuck = ~none & ((rate < STUCK) | ((rate < 0.1) & (distance <= tol)))
        # draws so far apart that they say nothing about the curvature: draw them closer together
        narrow = (none | (stuck & ~(distance <= 1))) & (state.narrowings < MOST_NARROWINGS)
        narrowings = jnp.where(narrow, state.narrowings + 1, state.narrowings)
        settled = ~none & ~narrow & ((better & (distance <= SETTLED * tol)) | stuck)
        return state._replace(
            rate=jnp.where(narrow, 1, rate),
            averaging=settled,
            narrowings=narrowings,
            # fixed draws that were fitted too closely report a short distance
            gap=jnp.full_like(distance, jnp.inf),
            failed=none & ~narrow,
        )

    def _averaged(
        self, state: NaturalState, finite: Array, seen: Look, distance: Array
    ) -> NaturalState:
        """After a look on fresh draws."""
        tol = jnp.asarray(self.tol).astype(distance.dtype)
        count = state.batches.astype(distance.dtype)
        level = jnp.where(count == 0, distance, (state.noise_level + distance) / 2)
        # what is left of the noise after averaging, and what two sets of draws agree on
        noise = level / (count + 2)
        agreed = _agreement(state.origin, state.look, seen)
        gap = jnp.where(finite, jnp.maximum(noise, agreed), jnp.inf)
        # the fixed draws were fitted, and not the posterior: more of them
        too_few = (count == 0) & (~finite | (distance > OVERFITTED))
        again = too_few & (state.sets < MOST_SETS)
        state = select(
            again, self._with_more_draws(state), state._replace(batches=state.batches + 1)
        )
        return state._replace(
            rate=jnp.where(again, 1, 1 / (count + 2)),
            noise_level=level,
            gap=gap,
            stalled=(tol >= 0) & (gap <= tol) & ~again,
        )

    def _with_more_draws(self, state: NaturalState) -> NaturalState:
        return state._replace(sets=RAISE * state.sets, averaging=jnp.zeros_like(state.averaging))


def _nothing_seen(base: NormalGuide, slopes: Array) -> Look:
    dim, dtype = base.loc.shape[0], base.loc.dtype
    zero = jnp.zeros((), dtype)
    costs = jnp.zeros(slopes.shape[0], dtype)
    return Look(zero, jnp.zeros(dim, dtype), jnp.zeros((dim, dim), dtype), zero, costs)


def num_draws(dim: int) -> int:
    """S, for D parameters."""
    return max(4 * dim, FEWEST_DRAWS)


def whitened(noise: Array) -> Array:
    """(2 S, D) draws in pairs e, -e whose covariance is exactly I, from standard normal noise (S, D)."""
    second = matmul(noise.T, noise) / noise.shape[0]
    frame = matmul(noise, inverse_lower(cholesky(second)).T)
    return jnp.concatenate([frame, -frame])


def _values_and_scores(target: Any, draws: Array) -> tuple[Array, Array]:
    def one(draw: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(scalar)(draw)

    def scalar(draw: Array) -> Array:
        value = target(draw)
        if jnp.shape(value) != ():
            raise ValueError(
                f"log_joint must return a scalar for one draw, got shape {jnp.shape(value)}; "
                "sum its terms."
            )
        return as_float(value)[0].astype(draw.dtype)

    found: tuple[Array, Array] = in_pieces(one, draws, draws.shape[0])
    return found


def in_pieces(function: Any, draws: Any, num: int) -> Any:
    """The function of each draw, of not too many draws at once."""
    pieces = -(-num // DRAWS_AT_ONCE)
    if pieces == 1:
        return jax.vmap(function)(draws)
    # pieces of one size, so that the function is compiled once
    while num % pieces:
        pieces += 1
    return jax.lax.map(function, draws, batch_size=num // pieces)


def _floor(values: Array) -> Array:
    """Absolute curvatures, none of them lost in the rounding of the largest."""
    size = jnp.abs(values)
    return jnp.maximum(size, 1e-5 * jnp.max(size) + jnp.finfo(values.dtype).tiny)


def _distance(guide: Any, look: Look, values: Array, vectors: Array) -> Array:
    """Nats that a Newton step is expected to gain: to the second order, the gap to the optimum."""
    along = matmul(vectors.T, look.signal)
    excess = look.curvature - jnp.eye(values.shape[0], dtype=values.dtype)
    scale = jnp.sum(base_of(guide).part(excess) ** 2) / 4
    return jnp.sum(along**2 / _floor(values)) / 2 + scale


def _agreement(guide: Any, first: Look, second: Look) -> Array:
    """`_distance` by the product of two independent looks: noise has mean zero in it."""
    eye = jnp.eye(first.signal.shape[0], dtype=first.signal.dtype)
    part = base_of(guide).part(first.curvature - eye)
    scale = jnp.sum(part * (second.curvature - eye)) / 4
    return jnp.sum(first.signal * second.signal) / 2 + scale


def _moved(
    guide: Any, look: Look, values: Array, vectors: Array, rate: Array, averaging: Array
) -> Any:
    """A step of size `rate` towards the location and the precision that the look asks for."""
    base = base_of(guide)

    def rule(curvature: Array) -> Array:
        wider = 1 / (1 + rate * (1 / jnp.clip(curvature, 1 / WIDEST, 1) - 1))
        return jnp.where(curvature > 1, 1 - rate + rate * curvature, wider)

    size = _floor(values)
    damped = jnp.where(averaging, jnp.maximum(size, 0.1), 1 - rate + rate * size)
    along = matmul(vectors.T, look.signal)
    shift = matmul(vectors, rate * along / damped)
    precision = base.precision(look.curvature, values, vectors, rule)
    return with_base(guide, base.moved(shift, precision))


def _narrowed(guide: Any) -> Any:
    base = base_of(guide)
    dim, dtype = base.loc.shape[0], base.loc.dtype
    return with_base(guide, base.moved(jnp.zeros(dim, dtype), 100 * jnp.eye(dim, dtype=dtype)))
