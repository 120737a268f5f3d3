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
from likelax.numerics import any_in_batch, as_float, cholesky, inverse_lower
from likelax.numerics.draws import standard_normal
from likelax.numerics.lapack import eigh
from likelax.variational import tails
from likelax.variational.estimators import density
from likelax.variational.guides import NormalGuide

FEWEST_DRAWS = 64
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
# Fits that go on for this many looks, or a power of two of it, search for far places; so does every end.
FIRST_SEARCH = 16
SEARCH_EVERY = 8
MOST_SEARCHES = 30


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
        fresh = state.averaging | jnp.isneginf(state.look.bound)
        seed = jnp.where(fresh, jax.random.key_data(key), state.seed)
        impl = jax.random.key_impl(key)
        look, finite = self._look(state.guide, state.slopes, seed, impl, state.sets)
        better = self._is_better(state, look, finite)
        known = jnp.any(state.slopes != 0)
        # beside a wall a noisy step may be ruinous
        ruin = known & (state.batches > 0) & (look.bound < state.look.bound - OVERFITTED)
        taken = jnp.where(state.averaging, finite & ~ruin, better)
        origin = _select(taken, state.guide, state.origin)
        seen = _select(taken, look, state.look)
        values, vectors = eigh(seen.curvature)
        distance = _distance(origin, seen, values, vectors)
        plain = tails.Peak(seen.signal, seen.curvature, distance)
        best = _if_any(known, self._uses, lambda: _best(origin, seen, state.slopes), plain)
        # lost digits
        far = known & (best.gain >= 0) & (best.gain < jnp.inf)
        distance = jnp.where(far, best.gain, distance)
        climbing = self._climbed(state, better, distance)
        averaging = self._averaged(state, finite & ~ruin, seen, distance)
        after = _select(state.averaging, averaging, climbing)
        if self.walls != "ignore":
            after = self._searched(state, after, key_search, origin, seen)
        after = after._replace(seed=seed, origin=origin, step=state.step + 1)
        after = after._replace(used=state.used + state.sets)
        after = after._replace(objective=jnp.where(taken, look.bound, state.objective))
        settled = ~state.averaging & after.averaging
        narrow = after.narrowings > state.narrowings
        again = (after.sets > state.sets) | (after.searches > state.searches)
        guide = _moved(origin, seen, values, vectors, after.rate, state.averaging)
        if self._uses:
            guide = _select(far, _toward(origin, best, after.rate), guide)
        # the first fresh draws look at the guide that the fixed ones gave
        guide = _select(settled | again, origin, guide)
        wide = _select(jnp.isneginf(seen.bound), state.guide, origin)
        guide = _select(narrow, _narrowed(wide), guide)
        bound = jnp.where(narrow | again, -jnp.inf, seen.bound)
        after = after._replace(guide=guide, look=seen._replace(bound=bound))
        return _select(self.done(state), state, after), after.objective[None]

    def done(self, state: NaturalState) -> Array:
        """Whether the fit has ended."""
        limit = jnp.asarray(self.max_steps).astype(state.step.dtype)
        return state.stalled | state.failed | state.hidden | (state.used >= limit)

    def result(self, state: NaturalState, objectives: Array) -> Fit:
        """The `Fit` with the last guide."""
        ended = jnp.where(state.stalled, int(Status.CONVERGED), int(Status.MAX_STEPS))
        failed = state.failed | jnp.isneginf(state.objective)
        status = jnp.where(failed, int(Status.NON_FINITE), ended).astype(int)
        # beside a wall only a guide that was looked at is safe
        guide = _select(failed | jnp.any(state.slopes != 0), state.origin, state.guide)
        trace = finish(objectives, state.step, state.objective)
        count = state.used * num_draws(_base(guide).loc.shape[0])
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

        start = (_nothing_seen(_base(guide), slopes), jnp.ones((), bool))
        found: tuple[Look, Array] = jax.lax.fori_loop(0, sets, add, start)
        return found

    def _look_once(self, guide: Any, slopes: Array, key: Array) -> tuple[Look, Array]:
        target, base, _ = density(self.log_joint, guide)
        dim = base.loc.shape[0]
        # drawn in one row, which compiles once
        num_half, num_far = num_draws(dim) // 2, tails.DRAWS_AT_PLACE // 2 if self._uses else 0
        drawn = standard_normal(key, (num_half + num_far, dim), base.loc.dtype)
        noise, far = whitened(drawn[:num_half]), drawn[num_half:]
        values, scores = _values_and_scores(target, base.from_noise(noise))
        whitened_scores = base.whiten(scores)
        signal = jnp.mean(whitened_scores, axis=0)
        stein = jnp.matmul(noise.T, whitened_scores, precision="highest") / noise.shape[0]
        none = jnp.zeros(slopes.shape[0], noise.dtype)
        plain = _Moments(jnp.mean(values), signal, stein, jnp.mean(jnp.abs(values)), none)
        moments = _if_any(
            jnp.any(slopes != 0),
            self._uses,
            lambda: self._with_tails(guide, slopes, far, noise, values, whitened_scores, plain),
            plain,
        )
        bound, curvature = moments.value + base.entropy(), -(moments.stein + moments.stein.T) / 2
        # finite values may have infinite sums
        sums = (values, bound[None], moments.signal, moments.stein.reshape(-1))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in sums]))
        return Look(bound, moments.signal, curvature, moments.size, moments.costs), finite

    def _with_tails(
        self,
        guide: Any,
        slopes: Array,
        far: Array,
        noise: Array,
        values: Array,
        scores: Array,
        plain: "_Moments",
    ) -> "_Moments":
        """The moments with what draws at far places add to the plain ones."""
        target, base, _ = density(self.log_joint, guide)
        both = tails.weighted(far, noise, base.whiten(slopes))
        far_values, far_scores = _values_and_scores(
            target, base.from_noise(both.noise[noise.shape[0] :])
        )
        values = jnp.concatenate([values, far_values])
        scores = jnp.concatenate([scores, base.whiten(far_scores)])
        known = jnp.isfinite(values) & jnp.all(jnp.isfinite(scores), axis=1)
        weights = jnp.where(known, both.weights, 0)
        # a quadratic log joint with the plain moments, whose expectations are known
        bend = jnp.matmul(both.noise, plain.stein, precision="highest")
        square = jnp.sum(bend * both.noise, axis=1) - jnp.trace(plain.stein)
        linear = jnp.matmul(both.noise, plain.signal, precision="highest")
        expected = plain.value + linear + square / 2
        rest = jnp.where(known, values, 0) - expected
        rest_scores = jnp.where(known[:, None], scores, 0) - plain.signal[None] - bend
        stein = jnp.matmul((weights[:, None] * both.noise).T, rest_scores, precision="highest")
        return _Moments(
            plain.value + jnp.sum(weights * rest),
            plain.signal + jnp.matmul(weights, rest_scores, precision="highest"),
            plain.stein + stein,
            plain.size + jnp.sum(weights * jnp.abs(rest)),
            jnp.maximum(-jnp.matmul(weights * rest, both.shares, precision="highest"), 0),
        )

    def _searched(
        self, before: NaturalState, after: NaturalState, key: Array, origin: Any, seen: Look
    ) -> NaturalState:
        """Now and then, and at the end: with far places that the draws do not reach.

        If such places are new and cost more than the tolerance, the ascent starts again with them, or ends.
        """
        step = before.step + 1
        power = (step >= FIRST_SEARCH) & (step & (step - 1) == 0)
        # where there is one wall there may be more
        now_and_then = power | (jnp.any(before.slopes != 0) & (step % SEARCH_EVERY == 0))
        limit = jnp.asarray(self.max_steps).astype(step.dtype)
        last = (before.used + before.sets >= limit) & (not self._uses)
        wanted = ((now_and_then | last) & ~jnp.isneginf(seen.bound)) | after.stalled
        wanted = wanted & (before.searches < MOST_SEARCHES) & ~self.done(before)

        def search() -> tuple[Array, Array]:
            target, base, _ = density(self.log_joint, origin)
            deficit = tails.deficit_of(target, base, seen.bound)
            if not self._uses:
                dim, dtype = base.loc.shape[0], base.loc.dtype
                return before.slopes, tails.hidden_cost(key, deficit, dim, dtype)
            known = base.whiten(before.slopes)
            found = tails.search(key, deficit, known)
            return base.slopes(tails.merged(found, known)), tails.cost_of_new(found, known)

        nothing = (before.slopes, jnp.zeros_like(after.gap))
        slopes, cost = jax.lax.cond(any_in_batch(wanted), search, lambda: nothing)
        if not self._uses:
            return after._replace(hidden=wanted & (cost > tails.COUNTS))
        tol = jnp.abs(jnp.asarray(self.tol)).astype(cost.dtype)
        again = after._replace(
            slopes=slopes,
            searches=before.searches + 1,
            sets=before.sets,
            averaging=jnp.zeros((), bool),
            batches=jnp.zeros_like(before.batches),
            stalled=jnp.zeros((), bool),
            rate=jnp.ones_like(after.rate),
            gap=jnp.full_like(after.gap, jnp.inf),
        )
        return _select(wanted & (cost > jnp.maximum(tol, tails.COUNTS)), again, after)

    def _is_better(self, state: NaturalState, look: Look, finite: Array) -> Array:
        """Whether the bound on the fixed draws has risen, or stayed within rounding."""
        rounding = 8 * jnp.finfo(look.bound.dtype).eps * (1 + look.size)
        return finite & (look.bound >= state.look.bound - rounding)

    def _climbed(self, state: NaturalState, better: Array, distance: Array) -> NaturalState:
        """After a look on the fixed draws."""
        tol = jnp.asarray(self.tol).astype(distance.dtype)
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
        state = _select(
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


class _Moments(NamedTuple):
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


def _if_any(flag: Array, possible: bool, found: Any, otherwise: Any) -> Any:
    """`found()` where the flag is set in any fit of a batch; no program for it unless that is possible."""
    return jax.lax.cond(any_in_batch(flag), found, lambda: otherwise) if possible else otherwise


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
    second = jnp.matmul(noise.T, noise, precision="highest") / noise.shape[0]
    frame = jnp.matmul(noise, inverse_lower(cholesky(second)).T, precision="highest")
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


def _base(guide: Any) -> NormalGuide:
    base: NormalGuide = getattr(guide, "base", guide)
    return base


def _with_base(guide: Any, base: NormalGuide) -> Any:
    return base if guide is _base(guide) else type(guide)(base, guide.space)


def _select(flag: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)


def _floor(values: Array) -> Array:
    """Absolute curvatures, none of them lost in the rounding of the largest."""
    size = jnp.abs(values)
    return jnp.maximum(size, 1e-5 * jnp.max(size) + jnp.finfo(values.dtype).tiny)


def _distance(guide: Any, look: Look, values: Array, vectors: Array) -> Array:
    """Nats that a Newton step is expected to gain: to the second order, the gap to the optimum."""
    along = jnp.matmul(vectors.T, look.signal, precision="highest")
    excess = look.curvature - jnp.eye(values.shape[0], dtype=values.dtype)
    scale = jnp.sum(_base(guide).part(excess) ** 2) / 4
    return jnp.sum(along**2 / _floor(values)) / 2 + scale


def _agreement(guide: Any, first: Look, second: Look) -> Array:
    """`_distance` by the product of two independent looks: noise has mean zero in it."""
    eye = jnp.eye(first.signal.shape[0], dtype=first.signal.dtype)
    part = _base(guide).part(first.curvature - eye)
    scale = jnp.sum(part * (second.curvature - eye)) / 4
    return jnp.sum(first.signal * second.signal) / 2 + scale


def _moved(
    guide: Any, look: Look, values: Array, vectors: Array, rate: Array, averaging: Array
) -> Any:
    """A step of size `rate` towards the location and the precision that the look asks for."""
    base = _base(guide)

    def rule(curvature: Array) -> Array:
        wider = 1 / (1 + rate * (1 / jnp.clip(curvature, 1 / WIDEST, 1) - 1))
        return jnp.where(curvature > 1, 1 - rate + rate * curvature, wider)

    size = _floor(values)
    damped = jnp.where(averaging, jnp.maximum(size, 0.1), 1 - rate + rate * size)
    along = jnp.matmul(vectors.T, look.signal, precision="highest")
    shift = jnp.matmul(vectors, rate * along / damped, precision="highest")
    precision = base.precision(look.curvature, values, vectors, rule)
    return _with_base(guide, base.moved(shift, precision))


def _best(guide: Any, look: Look, slopes: Array) -> tails.Peak:
    base = _base(guide)
    places = base.whiten(slopes)
    return tails.peak(look.signal, look.curvature, places, look.costs, base)


def _toward(guide: Any, best: tails.Peak, rate: Array) -> Any:
    """A step of size `rate` towards the best normal, in its natural parameters."""
    base = _base(guide)
    eye = jnp.eye(best.loc.shape[0], dtype=best.loc.dtype)
    precision = (1 - rate) * eye + rate * best.precision
    root = inverse_lower(cholesky(precision))
    pull = rate * jnp.matmul(best.precision, best.loc, precision="highest")
    shift = jnp.matmul(root.T, jnp.matmul(root, pull, precision="highest"), precision="highest")
    moved = base.moved(shift, precision)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]
    return _with_base(guide, _select(jnp.all(jnp.stack(finite)), moved, base))


def _narrowed(guide: Any) -> Any:
    base = _base(guide)
    dim, dtype = base.loc.shape[0], base.loc.dtype
    return _with_base(guide, base.moved(jnp.zeros(dim, dtype), 100 * jnp.eye(dim, dtype=dtype)))
