"""One step of data at a time, with a state that is carried: filter, fixed-lag smoother, best path.

Every step is compiled once and has fixed shapes, so it can be the body of `jax.lax.scan`. Its
arguments are the state that the step before returned, log_transition (K, K) from this step to the
next, and log_lik (K,) of this step, in nats; zeros for a missing step. A new sequence begins with a
new state. Steps of many sequences are mapped by `jax.vmap`.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax._chains import log_domain
from likelax._chains.best_path import best_into, choose
from likelax._chains.chain import Chain, chain, compiled, finite, weights_of_states
from likelax.numerics import as_array, log_normalize, logsumexp, named_floats
from likelax.numerics.checks import checked


class FilterStep(NamedTuple):
    """The states after one more step of data.

    Attributes:
      log_filtered: (K,) log p(z_t = k | x_0..x_t), nats.
      log_predicted: (K,) log p(z_t+1 = k | x_0..x_t), nats: what the next step starts from.
      log_increment: scalar, log p(x_t | x_0..x_t-1), nats.
    """

    log_filtered: Array
    log_predicted: Array
    log_increment: Array


def filter_step(
    log_predicted: ArrayLike, log_transition: ArrayLike, log_lik: ArrayLike
) -> FilterStep:
    """One step of `filter`, for data that arrive one at a time: keep `log_predicted` between steps.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_predicted: (K,) nats: log_initial at the first step, then that of the step before.
      log_transition: (K, K) nats, from this step to the next.
      log_lik: (K,) log p(x_t | z_t = k), nats; zeros for a missing step.
    Returns:
      `FilterStep`. After a step that no state can explain, all are -inf.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 19-21, normalised.

    Examples:
      >>> state, move = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> for x in (0, 0, 1):
      ...     step = filter_step(state, move, jnp.log(jnp.array([[0.8, 0.2], [0.3, 0.7]]))[:, x])
      ...     state = step.log_predicted
      >>> print(jnp.exp(step.log_filtered).round(3), f"{step.log_increment:.3f}")
      [0.504 0.496] -1.173
    """
    log_predicted, log_transition, log_lik = named_floats(
        log_predicted=log_predicted, log_transition=log_transition, log_lik=log_lik
    )
    return _filter_step(_one_step(log_predicted, log_transition, log_lik))


@compiled
def _filter_step(c: Chain) -> FilterStep:
    # a second step without data, for what is predicted there
    both = dataclasses.replace(c, log_lik=jnp.pad(c.log_lik, ((0, 1), (0, 0))))
    run = log_domain.filtered(both)
    impossible = run.increment[0] == -jnp.inf
    filtered = jnp.where(impossible, -jnp.inf, run.filtered[0])
    return FilterStep(filtered, run.predicted[1], run.increment[0])


class SmootherState(NamedTuple):
    """What a fixed-lag smoother keeps between steps; L is the lag.

    Attributes:
      log_predicted: (K,) log p(z_t+1 = k | x_0..x_t), nats.
      log_filtered: (L, K) those of the last L steps, the oldest first; -inf before the first step.
      log_transition: (L, K, K) the transitions out of these steps, nats.
    """

    log_predicted: Array
    log_filtered: Array
    log_transition: Array


class SmootherStep(NamedTuple):
    """The states of the last L + 1 steps, given the data so far.

    Attributes:
      state: to be given to the next step.
      log_marginals: (L + 1, K) log p(z_t-L+i = k | x_0..x_t), nats, the oldest first: the first row
        is the answer of the smoother of lag L, and the last one the filter. Rows before the first
        step are -inf.
      log_increment: scalar, log p(x_t | x_0..x_t-1), nats.
    """

    state: SmootherState
    log_marginals: Array
    log_increment: Array


@checked(lag=0)
def smoother_start(log_initial: ArrayLike, lag: int) -> SmootherState:
    """The state of a fixed-lag smoother before the first step.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      lag: L, how many steps to wait for later data.
    Raises:
      ValueError: for log_initial of another shape, or a negative lag.
    Source: Murphy (2012), Machine Learning: A Probabilistic Perspective, 17.4.1.

    Examples:
      >>> print(smoother_start(jnp.log(jnp.array([0.5, 0.5])), lag=3).log_filtered.shape)
      (3, 2)
    """
    log_initial = weights_of_states("log_initial", log_initial)
    size = log_initial.size
    return SmootherState(
        log_initial,
        jnp.full((lag, size), -jnp.inf, log_initial.dtype),
        jnp.zeros((lag, size, size), log_initial.dtype),
    )


@checked()
def smoother_step(
    state: SmootherState, log_transition: ArrayLike, log_lik: ArrayLike
) -> SmootherStep:
    """One step of `fixed_lag_smoother`, for data that arrive one at a time.

    Over a whole series of T steps, row 0 of step t + L is row t of `fixed_lag_smoother`, and the
    rows of the last step are the last L + 1 of `smoother`.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      state: of `smoother_start`, then of the step before.
      log_transition: (K, K) nats, from this step to the next.
      log_lik: (K,) log p(x_t | z_t = k), nats; zeros for a missing step.
    Returns:
      `SmootherStep`, at a cost of L K^2. After a step that no state can explain, all are -inf.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Kim (1994), J. Econometrics 60, 1-22.

    Examples:
      >>> half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
      >>> state = smoother_start(half, lag=1)
      >>> for row in jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.3]])):
      ...     step = smoother_step(state, keep, row)
      ...     state = step.state
      >>> print(jnp.exp(step.log_marginals).round(2))
      [[0.25 0.75]
       [0.25 0.75]]
    """
    predicted, log_filtered, moves, transition, lik = named_floats(
        log_predicted=state.log_predicted,
        log_filtered=state.log_filtered,
        state_transition=state.log_transition,
        log_transition=log_transition,
        log_lik=log_lik,
    )
    c = _one_step(predicted, transition, lik)
    _check_window("smoother_step", "log_filtered", log_filtered, predicted.size)
    want = (*log_filtered.shape, predicted.size)
    if moves.shape != want:
        raise ValueError(
            f"smoother_step: state.log_transition must have shape {want}, got {moves.shape}"
        )
    return _smoother_step(c, log_filtered, moves)


@compiled
def _smoother_step(c: Chain, log_filtered: Array, moves: Array) -> SmootherStep:
    now = _filter_step(c)

    def back(ahead: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
        filtered, move = here
        joint = filtered[:, None] + move
        predicted = logsumexp(joint, axis=0)
        gain = ahead - finite(predicted)
        marginals = log_normalize(logsumexp(joint + gain[None], axis=1))[0]
        return marginals, marginals

    _, earlier = lax.scan(back, now.log_filtered, (log_filtered, moves), reverse=True)
    state = SmootherState(
        now.log_predicted,
        _push(log_filtered, now.log_filtered),
        _push(moves, c.log_transition),
    )
    marginals = jnp.concatenate([earlier, now.log_filtered[None]])
    return SmootherStep(state, marginals, now.log_increment)


class ViterbiState(NamedTuple):
    """What Viterbi decoding keeps between steps; L is the lag.

    Attributes:
      log_scores: (K,) nats: score of the best path into each state of the next step, relative to the
        best path of all so far.
      before: (L, K) int32: the best state before each state, of the last L moves, the oldest first;
        -1 before the first step.
    """

    log_scores: Array
    before: Array


class ViterbiStep(NamedTuple):
    """The end of the best path, given the data so far.

    Attributes:
      state: to be given to the next step.
      path: (L + 1,) int32, the last states of the path that is best so far, the oldest first; -1
        before the first step, and where no path can produce the data.
      decided: (L + 1,) booleans: whether the best paths into all states go through that one, so that
        no later data change it.
      log_increment: scalar, nats: what this step adds to the score of the best path.
    """

    state: ViterbiState
    path: Array
    decided: Array
    log_increment: Array


@checked(lag=0)
def viterbi_start(log_initial: ArrayLike, lag: int) -> ViterbiState:
    """The state of Viterbi decoding before the first step.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      lag: L, how many steps back the path can still be changed.
    Raises:
      ValueError: for log_initial of another shape, or a negative lag.
    Source: Viterbi (1967), IEEE Trans. Information Theory 13, 260-269.

    Examples:
      >>> print(viterbi_start(jnp.log(jnp.array([0.5, 0.5])), lag=3).before.shape)
      (3, 2)
    """
    log_initial = weights_of_states("log_initial", log_initial)
    return ViterbiState(log_initial, jnp.full((lag, log_initial.size), -1, jnp.int32))


@checked()
def viterbi_step(state: ViterbiState, log_transition: ArrayLike, log_lik: ArrayLike) -> ViterbiStep:
    """One step of `viterbi`, for data that arrive one at a time.

    Where `decided` is True for the state of step t - L before it leaves the window, the states that
    leave are the path of `viterbi` over the whole series; the last window is its end. Elsewhere they
    are those of the path that was best L steps later. The sum of the increments is its score.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      state: of `viterbi_start`, then of the step before.
      log_transition: (K, K) nats, from this step to the next.
      log_lik: (K,) log p(x_t | z_t = k), nats; zeros for a missing step.
    Returns:
      `ViterbiStep`, at a cost of K^2 + L K.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Viterbi (1967), IEEE Trans. Information Theory 13, 260-269; Šrámek, Brejová & Vinař (2007),
      WABI, LNCS 4645, 240-251, for the states that are decided.

    Examples:
      >>> start, move = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
      >>> state = viterbi_start(start, lag=2)
      >>> for row in jnp.log(jnp.array([[0.1, 0.6], [0.4, 0.3], [0.5, 0.1]])):
      ...     step = viterbi_step(state, move, row)
      ...     state = step.state
      >>> print(step.path, step.decided)
      [1 0 0] [ True False False]
    """
    scores, transition, lik = named_floats(
        log_scores=state.log_scores, log_transition=log_transition, log_lik=log_lik
    )
    before = as_array("before", state.before)
    _check_window("viterbi_step", "before", before, scores.size)
    if not jnp.issubdtype(before.dtype, jnp.integer):
        raise ValueError(f"viterbi_step: state.before must be integers, got {before.dtype}")
    return _viterbi_step(_one_step(scores, transition, lik), before.astype(jnp.int32))


@compiled
def _viterbi_step(c: Chain, before: Array) -> ViterbiStep:
    scores = c.log_initial + c.log_lik[0]
    peak = jnp.max(scores)
    scores = scores - finite(peak)
    states = jnp.arange(scores.size, dtype=jnp.int32)
    ends = jnp.where(scores == -jnp.inf, -1, states)
    best = choose(scores)

    def back(paths: tuple[Array, Array], before: Array) -> Any:
        # of the best path, and of the best paths into all states
        earlier = tuple(jnp.where(at < 0, -1, before[jnp.maximum(at, 0)]) for at in paths)
        return earlier, earlier

    _, earlier = lax.scan(back, (best, ends), before, reverse=True)
    path = jnp.append(earlier[0], best)
    every = jnp.concatenate([earlier[1], ends[None]])
    alive = jnp.broadcast_to((ends >= 0)[None], every.shape)
    decided = jnp.all(~alive | (every == path[:, None]), axis=1) & (path >= 0)
    chosen = choose(scores[:, None] + c.log_transition)
    state = ViterbiState(best_into(scores, c.log_transition), _push(before, chosen))
    return ViterbiStep(state, path, decided, peak)


def _one_step(log_predicted: Array, log_transition: Array, log_lik: Array) -> Chain:
    """A chain of one step of data.

    Raises:
      ValueError: if shapes do not match.
    """
    log_lik = weights_of_states("log_lik", log_lik)
    return chain(log_predicted, log_transition, log_lik[None], None, None)


def _check_window(name: str, field: str, window: Array, num_states: int) -> None:
    if window.ndim != 2 or window.shape[1] != num_states:
        raise ValueError(
            f"{name}: state.{field} must have shape (L, {num_states}), got {window.shape}"
        )


def _push(window: Array, row: Array) -> Array:
    """The window with its oldest row replaced by a new one at the end."""
    return jnp.concatenate([window, row[None]])[1:]
