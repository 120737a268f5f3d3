"""Several paths of a hidden Markov model: the k best, random ones, and how uncertain the path is.

Arguments and the meaning of -1 in a path are those of `likelax.hmm.decoding`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax._chains import dispatch
from likelax._chains.chain import (
    Chain,
    active,
    blank,
    chain,
    compiled,
    finite,
    first,
    hide_padding,
    last,
    stacked,
    total,
)
from likelax.numerics import log_normalize, weighted_sum
from likelax.numerics.checks import checked


@checked()
def sample_paths(
    key: Array,
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    num_samples: int,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> Array:
    """Independent draws from the posterior of the state path.

    z ~ p(z_0..z_T-1 | x): the last state from the filter, then each one given the next,
    p(z_t = i | z_t+1 = j, x) ~ p(z_t = i | x_0..x_t) exp(log_transition[i, j])

    Args:
      key: a typed key.
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      num_samples: S.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
    Returns:
      (S, T) int32, -1 at padding and in a sequence that no path can produce or whose potentials
      hold NaN. A path of probability zero is never drawn.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Chib (1996), J. Econometrics 75, 79-97.

    Examples:
      >>> half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
      >>> sure = jnp.log(jnp.array([[0.5, 0.5], [0.0, 1.0]]))
      >>> print(sample_paths(jax.random.key(0), half, keep, sure, 2))
      [[1 1]
       [1 1]]
    """
    c = chain(log_initial, log_transition, log_lik, length, starts)
    return _sample_paths(key, c, num_samples)


@functools.partial(compiled, static_argnames="num_samples")
def _sample_paths(key: Array, c: Chain, num_samples: int) -> Array:
    c = hide_padding(c)
    filtered = dispatch.filtered(c).filtered
    num_steps, num_states = filtered.shape

    # all noise before the scan: a key that a scan splits can't be mapped over
    noise = jax.random.gumbel(key, (num_steps, num_samples, num_states), filtered.dtype)

    def draw(noise: Array, logits: Array) -> Array:
        state = jnp.argmax(logits + noise, axis=1).astype(jnp.int32)
        return jnp.where(jnp.max(logits, axis=1) > -jnp.inf, state, -1)  # -1 for NaN too

    def step(ahead: Array, xs: tuple[Any, ...]) -> tuple[Array, Array]:
        noise, filtered, end, transition = xs
        transition = c.log_transition if transition is None else transition
        moves = jnp.where(end, 0, transition.T[jnp.maximum(ahead, 0)])
        state = draw(noise, filtered[None] + moves)
        state = jnp.where((ahead < 0) & ~end, -1, state)
        return state, state

    state = draw(noise[-1], jnp.broadcast_to(filtered[-1:], (num_samples, num_states)))
    xs = (noise[:-1], filtered[:-1], last(c)[:-1], stacked(c))
    _, path = lax.scan(step, state, xs, reverse=True)
    return blank(c, jnp.append(path, state[None], axis=0), value=-1)[0].T


@functools.partial(compiled, static_argnames="shape")
def sample_states(
    key: Array, log_initial: Array, log_transition: Array, shape: tuple[int, ...]
) -> Array:
    """Paths of the chain before any data: shape (..., T) integers.

    Args:
      key: a typed key.
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), or (T-1, ..., K, K) with those of each path; nats.
      shape: (..., T), how many paths, and their length.
    """
    *batch, num_steps = shape
    num_states = log_initial.size
    each = log_transition.ndim > 3
    moves = log_transition
    if not each:
        moves = jnp.broadcast_to(log_transition, (num_steps - 1, num_states, num_states))
    # all noise before the scan: a key that a scan splits can't be mapped over
    noise = jax.random.gumbel(key, (num_steps, *batch, num_states), log_initial.dtype)

    def step(state: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
        noise, move = here
        if each:
            scores = jnp.take_along_axis(move, state[..., None, None], axis=-2)[..., 0, :]
        else:
            scores = move[state]
        state = jnp.argmax(scores + noise, axis=-1)
        return state, state

    begin = jnp.argmax(jnp.broadcast_to(log_initial, noise.shape[1:]) + noise[0], axis=-1)
    _, rest = lax.scan(step, begin, (noise[1:], moves))
    return jnp.moveaxis(jnp.concatenate([begin[None], rest]), 0, -1)


def path_entropy(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> Array:
    """Entropy of the posterior of the whole state path.

    H = -sum_z p(z | x) log p(z | x)
      = sum_t sum_j p(z_t+1 = j | x) H(z_t | z_t+1 = j, x_0..x_t) + H(z_T-1 | x)

    The second line, which is summed, has no term below zero, so nothing cancels.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0. Entropies of separate sequences add.
    Returns:
      Scalar, nats; 0 where one path is certain. A sequence that no path can produce adds 0.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Hernando, Crespi & Cybenko (2005), IEEE Trans. Inf. Theory 51(7).

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> print(path_entropy(half, jnp.stack([half, half]), jnp.zeros((3, 2))) / jnp.log(2))
      3.0
    """
    return _path_entropy(chain(log_initial, log_transition, log_lik, length, starts))


@compiled
def _path_entropy(c: Chain) -> Array:
    c = hide_padding(c)
    filtered, marginals = (
        dispatch.filtered(c).filtered,
        dispatch.posterior(c, in_logs=True).marginals,
    )

    def entropy(log_probs: Array) -> Array:
        return -weighted_sum(jnp.exp(log_probs), log_probs, axis=0)

    def step(_: None, xs: tuple[Any, ...]) -> tuple[None, Array]:
        filtered, now, ahead, end, transition = xs
        transition = c.log_transition if transition is None else transition
        given_next = entropy(log_normalize(filtered[:, None] + transition, axis=0)[0])
        return None, jnp.where(end, entropy(now), weighted_sum(jnp.exp(ahead), given_next))

    xs = (filtered[:-1], marginals[:-1], marginals[1:], last(c)[:-1], stacked(c))
    _, entropies = lax.scan(step, None, xs)
    return total(c, jnp.append(entropies, entropy(marginals[-1])))


@checked()
def top_k_paths(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    num_paths: int,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """The most probable state paths in order, with their joint log probabilities.

    Each state keeps the scores of the num_paths best paths into it (the list Viterbi algorithm).

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      num_paths: R.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0. The paths are those of all sequences together.
    Returns:
      (paths, scores): (R, T) int32 and (R,) nats, best first. Where fewer than R paths have
      positive probability, the others are all -1 with score -inf. The first is a `viterbi` path.
    Raises:
      ValueError: if shapes do not match, num_paths is below 1, or a known length is not in
        0..T.
    Source: Seshadri & Sundberg (1994), IEEE Trans. Communications 42.

    Examples:
      >>> start, move = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
      >>> walk_shop = jnp.log(jnp.array([[0.1, 0.6], [0.4, 0.3]]))
      >>> paths, scores = top_k_paths(start, move, walk_shop, 2)
      >>> print(paths, jnp.exp(scores).round(4))
      [[1 1]
       [1 0]] [0.0432 0.0384]
    """
    if num_paths < 1:
        raise ValueError(f"num_paths must be at least 1, got {num_paths}")
    return _top_k_paths(chain(log_initial, log_transition, log_lik, length, starts), num_paths)


@functools.partial(compiled, static_argnames="num_paths")
def _top_k_paths(c: Chain, num_paths: int) -> tuple[Array, Array]:
    c = hide_padding(c)
    num_states = c.log_initial.size

    def update(scores: Array, log_lik: Array) -> tuple[Array, Array]:
        scores = scores + log_lik[:, None]
        peak = jnp.max(scores)
        return scores - finite(peak), peak

    def step(scores: Array, xs: tuple[Any, ...]) -> tuple[Array, tuple[Array, Array]]:
        log_lik, start, counts, transition = xs
        transition = c.log_transition if transition is None else transition
        transition = jnp.where(start, c.log_initial[None], transition)
        transition = jnp.where(counts, transition, stay)
        into = (scores[:, :, None] + transition[:, None]).reshape(-1, num_states)
        scores, back = lax.top_k(into.T, num_paths)
        scores, gain = update(scores, log_lik)
        return scores, (back, gain)

    stay = jnp.where(jnp.eye(num_states, dtype=bool), 0, -jnp.inf).astype(c.log_lik.dtype)
    alone = jnp.arange(num_paths) == 0
    scores = jnp.where(alone[None], c.log_initial[:, None], -jnp.inf)
    counts = active(c)
    empty = jnp.where(alone[None] & (jnp.arange(num_states) == 0)[:, None], 0, -jnp.inf)
    scores = jnp.where(counts[0], scores, empty.astype(scores.dtype))
    scores, head = update(scores, c.log_lik[0])
    xs = (c.log_lik[1:], first(c)[1:], counts[1:], stacked(c))
    scores, (back, gain) = lax.scan(step, scores, xs)
    final, slots = lax.top_k(scores.reshape(-1), num_paths)

    def follow(slots: Array, back: Array) -> tuple[Array, Array]:
        slots = back.reshape(-1)[slots]
        return slots, slots

    _, earlier = lax.scan(follow, slots, back, reverse=True)
    paths = jnp.append(earlier, slots[None], axis=0) // num_paths
    paths = jnp.where(counts[:, None] & (final > -jnp.inf)[None], paths, -1)
    return paths.T.astype(jnp.int32), final + total(c, jnp.append(head, gain))
