"""Many fits in few lanes: a lane that has finished its fit takes the next one from the queue."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.fit.algorithm import Algorithm, Data, finish, shorten, trace_lengths
from likelax.fit.result import Fit
from likelax.numerics import any_in_batch, chunks

# Steps between two checks of which lanes are done. A fit wastes half of them on average.
STEPS = 2
# Size of the arrays of an E step, for each number in the data of one lane.
SPREAD = 8
MOST = 256
# While the last fits end, the other lanes are idle: a share of the steps that is proportional to L / F, for
# L lanes and F fits. What a round costs whatever L is spread over L lanes. The sum of both is least at
# an L proportional to sqrt(F); the factor is between 1 (mixtures) and 1.5 (chains), measured.
# On an accelerator a round takes as long whatever the number of lanes, so there are more of them.
FITS_ACCELERATOR = 4
FEWEST = 8


class Axes(NamedTuple):
    """Which arguments have a leading axis: 0 for one entry for each fit or data set, None for one in all.

    Attributes:
      x, weights, prior: parts of `Data`.
      algorithm: its numbers, such as the tolerance.
    """

    x: int | None = None
    weights: int | None = None
    prior: int | None = None
    algorithm: int | None = None

    @property
    def data(self) -> Any:
        """Those of the parts of `Data`, as `jax.vmap` takes them."""
        return Data(*self[:3])  # type: ignore[arg-type]


OWN = Axes(0, 0)
"""Every fit has its own data and weights; the algorithm and the prior are one for all."""
COMMON = Axes()
"""All fits are to the same data."""


class Lanes(NamedTuple):
    """Many fits between two rounds. With F fits in all, index F stands for none.

    Attributes:
      fit: (L,) integers, the fit that each lane works on.
      states: states of the algorithm with a leading axis L.
      turn: (L,) integers, calls of `step` that each lane's fit has had.
      queue: integer scalar, the first fit that no lane has taken.
      results: `Fit` with a leading axis F; entries of fits that have not ended are arbitrary.
      rounds: integer scalar.
      seeds: (L, ...) data of the random keys of which each step of a lane gets its own; None for
        algorithms without randomness.
    """

    fit: Array
    states: Any
    turn: Array
    queue: Array
    results: Fit
    rounds: Array
    seeds: Array | None = None


def count(data: Data, axes: Axes, num_fits: int) -> int:
    """How many lanes take the least time, within a processor's cache; at most one for each fit.

    Args:
      data, axes: as for `begin`.
      num_fits: F.
    """
    numbers = sum(
        jnp.size(leaf) if axis is None else jnp.size(leaf) // jnp.shape(leaf)[0]
        for part, axis in zip(data, axes.data, strict=True)
        for leaf in jax.tree.leaves(part)
    )
    fitting = chunks.CACHE // (SPREAD * max(numbers, 1))
    few = math.isqrt(num_fits) if chunks.scale() == 1 else num_fits // FITS_ACCELERATOR
    return max(1, min(min(fitting, MOST) * chunks.scale(), max(few, FEWEST), num_fits))


def begin(
    algorithm: Algorithm,
    models: Any,
    data: Data,
    axes: Axes,
    *,
    lanes: int,
    length: int,
    keys: Array | None = None,
) -> Lanes:
    """The state before the first round.

    Args:
      algorithm: any algorithm; of axis 0, with a leading axis F on its leaves.
      models: F starts with a leading axis F.
      data: what the algorithm fits to. A part of axis 0 has a leading axis B, where F = B R, and
        fit f is to entry f // R; one of axis None is the same for all fits.
      axes: such as `OWN` or `COMMON`.
      lanes: L.
      length: entries of `objectives` that are kept for each fit; 1 keeps only the last.
      keys: (F,) a random key for each fit, or None for an algorithm that needs none.
    """
    num_fits = jax.tree.leaves(models)[0].shape[0]
    lanes = min(lanes, num_fits)
    fit = jnp.arange(lanes)
    own = None if keys is None else keys[:lanes]
    each = _of(algorithm, axes.algorithm, fit, num_fits)
    states = _init(each, models, _data_of(data, axes, fit, num_fits), axes, fit, own)
    outcome = jax.eval_shape(partial(_outcome, axes=axes), each, states)
    results = jax.tree.map(lambda leaf: jnp.zeros((num_fits, *leaf.shape[1:]), leaf.dtype), outcome)
    objectives = jnp.full((num_fits, length), jnp.nan, results.objectives.dtype)
    zero = jnp.zeros((), int)
    return Lanes(
        fit,
        states,
        jnp.zeros_like(fit),
        zero + lanes,
        Fit(results.model, objectives, results.num_steps, results.status),
        zero,
        None if own is None else jax.random.key_data(own),
    )


def advance(
    algorithm: Algorithm,
    lanes: Lanes,
    models: Any,
    data: Data,
    axes: Axes,
    *,
    rounds: Array | None = None,
    keys: Array | None = None,
) -> Lanes:
    """Work until all fits have ended, or for a number of rounds.

    Args:
      algorithm, models, data, axes, keys: as for `begin`.
      lanes: of `begin` or `advance`.
      rounds: integer scalar, the most rounds; None for no limit.
    """
    num_fits = jax.tree.leaves(models)[0].shape[0]
    last = None if rounds is None else lanes.rounds + rounds

    def going(now: Lanes) -> Array:
        busy = any_in_batch(jnp.any(now.fit < num_fits))
        return busy if last is None else busy & (now.rounds < last)

    def one_round(now: Lanes) -> Lanes:
        each = _of(algorithm, axes.algorithm, now.fit, num_fits)
        own = _data_of(data, axes, now.fit, num_fits)
        now = _step(each, now, own, axes, None if keys is None else jax.random.key_impl(keys))
        done = jax.vmap(lambda algorithm, state: algorithm.done(state), (axes.algorithm, 0))
        ended = done(each, now.states) & (now.fit < num_fits)
        now = jax.lax.cond(
            any_in_batch(jnp.any(ended)),
            lambda now: _hand_over(algorithm, now, models, data, axes, keys, ended),
            lambda now: now,
            now,
        )
        return now._replace(rounds=now.rounds + 1)

    return jax.lax.while_loop(going, one_round, lanes)


def steps_in_a_round(algorithm: Algorithm) -> int:
    """How often a round calls `step` of an algorithm."""
    return 1 if algorithm.window > 1 else STEPS


def collect(lanes: Lanes) -> Fit:
    """The fits, with a leading axis F, after the last round."""
    found = lanes.results
    length = found.objectives.shape[1]
    if length == 1:
        return found
    final = found.objectives[:, -1]
    traces = jax.vmap(finish)(found.objectives, found.num_steps, final)
    return Fit(found.model, traces, found.num_steps, found.status)


def run(
    algorithm: Algorithm, models: Any, data: Data, axes: Axes, keys: Array | None = None
) -> Fit:
    """All fits, in one program, with their objectives: `Fit` with a leading axis F.

    Args:
      algorithm, models, data, axes, keys: as for `begin`.
    """
    num_fits = jax.tree.leaves(models)[0].shape[0]
    length, wanted = trace_lengths(algorithm)
    width = count(data, axes, num_fits)
    return shorten(_run(algorithm, models, data, keys, axes, width, length + 1), wanted)


@partial(jax.jit, static_argnames=("axes", "width", "length"))
def _run(
    algorithm: Algorithm,
    models: Any,
    data: Data,
    keys: Array | None,
    axes: Axes,
    width: int,
    length: int,
) -> Fit:
    lanes = begin(algorithm, models, data, axes, lanes=width, length=length, keys=keys)
    return collect(advance(algorithm, lanes, models, data, axes, keys=keys))


def _of(tree: Any, axis: int | None, fit: Array, num_fits: int) -> Any:
    """The entry of the fit in each lane, of a tree with a leading axis B or, for axis None, without."""
    leaves = jax.tree.leaves(tree)
    if axis is None or not leaves:
        return tree
    at = jnp.minimum(fit, num_fits - 1) // (num_fits // leaves[0].shape[0])
    return jax.tree.map(lambda leaf: leaf[at], tree)


def _data_of(data: Data, axes: Axes, fit: Array, num_fits: int) -> Data:
    """The data of the fit in each lane."""
    parts = zip(data, axes.data, strict=True)
    return Data(*(_of(part, axis, fit, num_fits) for part, axis in parts))


def _init(
    algorithm: Algorithm, models: Any, data: Data, axes: Axes, fit: Array, keys: Array | None
) -> Any:
    def init(algorithm: Algorithm, *args: Any) -> Any:
        return algorithm.init(*args)

    own = jax.tree.map(lambda leaf: jnp.take(leaf, fit, axis=0, mode="clip"), models)
    return jax.vmap(init, in_axes=(axes.algorithm, 0, axes.data, 0))(algorithm, own, data, keys)


def _outcome(algorithm: Algorithm, states: Any, axes: Axes) -> Fit:
    def outcome(algorithm: Algorithm, state: Any) -> Fit:
        return algorithm.result(state, jnp.full(1, jnp.nan, state.objective.dtype))

    return jax.vmap(outcome, in_axes=(axes.algorithm, 0))(algorithm, states)


def _step(algorithm: Algorithm, now: Lanes, data: Data, axes: Axes, kind: Any) -> Lanes:
    def one_step(algorithm: Algorithm, *args: Any) -> tuple[Any, Array]:
        return algorithm.step(*args)

    step = jax.vmap(one_step, in_axes=(axes.algorithm, 0, axes.data, 0))
    window, length = algorithm.window, now.results.objectives.shape[1]

    def one(carry: Any, _: None) -> tuple[Any, None]:
        states, turn, objectives, seeds = carry
        later, own = (None, None) if seeds is None else _split(seeds, kind)
        states, values = step(algorithm, states, data, own)
        if length > 1:
            at = turn[:, None] * window + jnp.arange(window)[None, :]
            # the last entry is the final objective, written when the fit leaves its lane
            at = jnp.where(at < length - 1, at, length)
            objectives = objectives.at[now.fit[:, None], at].set(values, mode="drop")
        return (states, turn + 1, objectives, later), None

    start = now.states, now.turn, now.results.objectives, now.seeds
    length_of_round = steps_in_a_round(algorithm)
    (states, turn, objectives, seeds), _ = jax.lax.scan(one, start, None, length=length_of_round)
    found = now.results
    results = Fit(found.model, objectives, found.num_steps, found.status)
    return now._replace(states=states, turn=turn, results=results, seeds=seeds)


def _split(seeds: Array, kind: Any) -> tuple[Array, Array]:
    """(seeds of later steps, keys of this one), as `algorithm.drive` splits them."""
    both = jax.vmap(jax.random.split)(jax.random.wrap_key_data(seeds, impl=kind))
    return jax.random.key_data(both[:, 0]), both[:, 1]


def _hand_over(
    algorithm: Algorithm,
    now: Lanes,
    models: Any,
    data: Data,
    axes: Axes,
    keys: Array | None,
    ended: Array,
) -> Lanes:
    """Write the results of the lanes that ended, and give each of them the next fit."""
    num_fits = jax.tree.leaves(models)[0].shape[0]
    at = jnp.where(ended, now.fit, num_fits)
    each = partial(_of, algorithm, axes.algorithm, num_fits=num_fits)
    new = _outcome(each(now.fit), now.states, axes)
    old = now.results

    def write(whole: Array, part: Array) -> Array:
        return whole.at[at].set(part, mode="drop")

    results = Fit(
        jax.tree.map(write, old.model, new.model),
        old.objectives.at[at, -1].set(new.objectives[:, -1], mode="drop"),
        write(old.num_steps, new.num_steps),
        write(old.status, new.status),
    )
    following = jnp.minimum(now.queue + jnp.cumsum(ended) - 1, num_fits)
    fit = jnp.where(ended, following, now.fit)
    own = None if keys is None else keys[jnp.minimum(fit, num_fits - 1)]
    fresh = _init(each(fit), models, _data_of(data, axes, fit, num_fits), axes, fit, own)
    taken = ended & (fit < num_fits)

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(taken.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)

    return now._replace(
        fit=fit,
        states=jax.tree.map(choose, fresh, now.states),
        turn=jnp.where(ended, 0, now.turn),
        queue=jnp.minimum(now.queue + jnp.sum(ended), num_fits),
        results=results,
        seeds=None if own is None else choose(jax.random.key_data(own), jnp.asarray(now.seeds)),
    )
