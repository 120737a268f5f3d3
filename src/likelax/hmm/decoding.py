"""Paths of a hidden Markov model: the best, and its score.

Arguments are those of `likelax.hmm.inference`. A path holds -1 at padding, and in a sequence that
no path can produce.
"""

import functools

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax._chains import dispatch
from likelax._chains.chain import Chain, blank, chain, compiled, first, hide_padding, total
from likelax._chains.expectations import log_partition
from likelax.numerics import as_array


def viterbi(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    parallel: bool | None = None,
) -> tuple[Array, Array]:
    """The most probable state path, and the log of its joint probability with the data.

    path = argmax_z log_initial[z_0] + sum_t log_transition[z_t, z_t+1] + sum_t log_lik[t, z_t]

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0. Each sequence gets its own best path.
      parallel: which recursion, as in `likelax.hmm.inference`.
    Returns:
      (path, score): path (T,) int32, -1 at padding and in a sequence that no path can produce;
      score is a scalar, nats, summed over sequences. Of equal paths the one whose last state is
      lowest wins, then the one whose last but one is lowest, and so on.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Viterbi (1967); Rabiner (1989), Proc. IEEE 77(2), section III.B.

    Examples:
      >>> start, move = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
      >>> walk_shop_clean = jnp.log(jnp.array([[0.1, 0.6], [0.4, 0.3], [0.5, 0.1]]))
      >>> path, score = viterbi(start, move, walk_shop_clean)
      >>> print(path, jnp.exp(score).round(5))
      [1 0 0] 0.01344
    """
    return _viterbi(chain(log_initial, log_transition, log_lik, length, starts), parallel)


@functools.partial(compiled, static_argnames="parallel")
def _viterbi(c: Chain, parallel: bool | None) -> tuple[Array, Array]:
    c = hide_padding(c)
    path, score = dispatch.best_path(c, parallel)
    return blank(c, path, value=-1)[0], score


def path_log_prob(
    path: ArrayLike,
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Log probability of one state path: joint with the data, and given the data.

    joint = log_initial[z_0] + sum_t log_transition[z_t, z_t+1] + sum_t log_lik[t, z_t]
    posterior = joint - log p(x)

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      path: (T,) integers; entries at padding are not read.
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
    Returns:
      (joint, posterior), scalars, nats. Both are -inf for an impossible path, one with an entry
      outside 0..K-1 included.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 12 to 14.

    Examples:
      >>> half, flat = jnp.log(jnp.array([0.5, 0.5])), jnp.zeros((3, 2))
      >>> path = jnp.array([0, 1, 1])
      >>> joint, posterior = path_log_prob(path, half, jnp.stack([half, half]), flat)
      >>> print(jnp.exp(joint), jnp.exp(posterior))
      0.125 0.125
    """
    c = chain(log_initial, log_transition, log_lik, length, starts)
    return _path_log_prob(_check_path(path, c), c)


@compiled
def _path_log_prob(path: Array, c: Chain) -> tuple[Array, Array]:
    c = hide_padding(c)
    inside = (path >= 0) & (path < c.log_initial.size)
    path = jnp.where(inside, path, 0)
    moves = c.log_transition
    each = () if moves.ndim == 2 else (jnp.arange(len(moves)),)
    moves = moves[*each, path[:-1], path[1:]]
    entry = jnp.where(first(c), c.log_initial[path], jnp.append(jnp.zeros(1, moves.dtype), moves))
    emission = jnp.take_along_axis(c.log_lik, path[:, None], axis=1)[:, 0]
    joint = total(c, jnp.where(inside, entry + emission, -jnp.inf))
    return joint, jnp.where(joint == -jnp.inf, -jnp.inf, joint - log_partition(None, c))


def _check_path(path: ArrayLike, c: Chain) -> Array:
    path = as_array("path", path)
    want = (c.log_lik.shape[0],)
    if path.shape != want or not jnp.issubdtype(path.dtype, jnp.integer):
        raise ValueError(
            f"path must be integers of shape (T,) = {want}, got {path.dtype} of {path.shape}"
        )
    return path
