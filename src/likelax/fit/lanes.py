"""Many fits in few lanes: a lane that has finished its fit takes the next one from the queue."""

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
# Fits for each lane. While the last fits end, the other lanes are idle: few lanes waste little then.
# On an accelerator a round takes as long whatever the number of lanes, so there are more of them.
FITS, FITS_ACCELERATOR = 32, 4
FEWEST = 8


OWN = Data(0, 0, None)
"""Every fit has its own data and weights; the prior is one for all."""
COMMON = Data(None, None, None)
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


def count(data: Data, axes: Data, num_fits: int) -> int:
    """How many lanes fill a processor's cache, or an accelerator's lanes, at most one for each fit.

    Args:
      data, axes: as for `begin`.
      num_fits: F.
    """
    numbers = sum(
        jnp.size(leaf) if axis is None else jnp.size(leaf) // jnp.shape(leaf)[0]
        for part, axis in zip(data, axes, strict=True)
        for leaf in jax.tree.leaves(part)
    )
    fitting = chunks.CACHE // (SPREAD * max(numbers, 1))
    fits = FITS if chunks.scale() == 1 else FITS_ACCELERATOR
    return max(1, min(min(fitting, MOST) * chunks.scale(), max(num_fits // fits, FEWEST), num_fits))


def begin(
    algorithm: Algorithm,
    models: Any,
    data: Data,
    axes: Data,
    *,
    lanes: int,
    length: int,
    keys: Array | None = None,
) -> Lanes:
    """The state before the first round.

    Args:
      algorithm: any algorithm.
      models: F starts with a leading axis F.
      data: what the algorithm fits to. A part of axis 0 has a leading axis B, where F = B R, and
        fit f is to entry f // R; one of axis None is the same for all fits.
      axes: `OWN` or `COMMON`.
      lanes: L.
      length: entries of `objectives` that are kept for each fit; 1 keeps only the last.
      keys: (F,) a random key for each fit, or None for an algorithm that needs none.
    """
    num_fits = jax.tree.leaves(models)[0].shape[0]
    lanes = min(lanes, num_fits)
    fit = jnp.arange(lanes)
    own = None if keys is None else keys[:lanes]
    states = _init(algorithm, models, _of(data, axes, fit, num_fits), axes, fit, own)
    outcome = jax.eval_shape(partial(_outcome, algorithm), states)
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
    axes: Data,
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
        own = _of(data, axes, now.fit, num_fits)
        now = _step(algorithm, now, own, axes, None if keys is None else jax.random.key_impl(keys))
        ended = jax.vmap(algorithm.done)(now.states) & (now.fit < num_fits)
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
    algorithm: Algorithm, models: Any, data: Data, axes: Data, keys: Array | None = None
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
    axes: Data,
    width: int,
    length: int,
) -> Fit:
    lanes = begin(algorithm, models, data, axes, lanes=width, length=length, keys=keys)
    return collect(advance(algorithm, lanes, models, data, axes, keys=keys))


def _of(data: Data, axes: Data, fit: Array, num_fits: int) -> Data:
    """The data of the fit in each lane."""

    def own(part: Any) -> Any:
        leaves = jax.tree.leaves(part)
        if not leaves:
            return part
        at = jnp.minimum(fit, num_fits - 1) // (num_fits // leaves[0].shape[0])
        return jax.tree.map(lambda leaf: leaf[at], part)

    parts = zip(data, axes, strict=True)
    return Data(*(part if axis is None else own(part) for part, axis in parts))


def _init(
    algorithm: Algorithm, models: Any, data: Data, axes: Data, fit: Array, keys: Array | None
) -> Any:
    own = jax.tree.map(lambda leaf: jnp.take(leaf, fit, axis=0, mode="clip"), models)
    return jax.vmap(algorithm.init, in_axes=(0, axes, 0))(own, data, keys)


def _outcome(algorithm: Algorithm, states: Any) -> Fit:
    empty = jax.vmap(lambda s: jnp.full(1, jnp.nan, s.objective.dtype))(states)
    return jax.vmap(algorithm.result)(states, empty)


def _step(algorithm: Algorithm, now: Lanes, data: Data, axes: Data, kind: Any) -> Lanes:
    step = jax.vmap(algorithm.step, in_axes=(0, axes, 0))
    window, length = algorithm.window, now.results.objectives.shape[1]

    def one(carry: Any, _: None) -> tuple[Any, None]:
        states, turn, objectives, seeds = carry
        later, own = (None, None) if seeds is None else _split(seeds, kind)
        states, values = step(states, data, own)
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
    axes: Data,
    keys: Array | None,
    ended: Array,
) -> Lanes:
    """Write the results of the lanes that ended, and give each of them the next fit."""
    num_fits = jax.tree.leaves(models)[0].shape[0]
    at = jnp.where(ended, now.fit, num_fits)
    new = _outcome(algorithm, now.states)
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
    fresh = _init(algorithm, models, _of(data, axes, fit, num_fits), axes, fit, own)
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
