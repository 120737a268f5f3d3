"""What the data say about the states of a hidden Markov model: kernels on log potentials.

Every kernel takes one sequence (map over batches with `jax.vmap`) as

  log_initial (K,)                       nats
  log_transition (K, K) or (T-1, K, K)   nats; entry t of the latter carries step t to step t+1
  log_lik (T, K)                         log p(x_t | z_t = k), nats; a missing step is a row of 0
  length                                 scalar integer in 0..T: steps >= length are padding and never
                                         count; a traced length outside 0..T is clamped to it
  starts (T,)                            booleans: True where a new sequence begins, which cuts the
                                         chain and draws the state from log_initial again

and -inf is an exact zero. Sequences that `starts` cuts apart are independent; one of them that no
path can produce makes log_prob -inf, has no posterior (all -inf, counts of zero), and leaves the
posteriors of the others as they are.

`parallel` picks the recursion: False goes step by step, True multiplies blocks of transitions so
that few steps wait for each other, and None, the default, does the latter in programs for
accelerators with more than a little work. All give the same answers.

Which form of the recursion runs is decided by the steps, the states, the size of the batch and the
platform (`likelax._chains.dispatch` has the table). The fast ones prove of each sequence that they are
exact; those of which they can't are computed again in the log domain, and not the batch.

Every function is compiled once for each shape and option, also where it is called without `jax.jit`.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax._chains import dispatch, expectations, log_domain
from likelax._chains.chain import Chain, blank, chain, compiled, hide_padding, weights_of_states
from likelax._chains.expectations import Expected, expected
from likelax.numerics import log_normalize
from likelax.numerics.checks import checked

# compiled once for each shape and option, also where the caller has no `jax.jit`
_compiled = functools.partial(compiled, static_argnames="parallel")


class Filtered(NamedTuple):
    """Forward posteriors of the states.

    Attributes:
      log_filtered: (T, K) log p(z_t = k | x_0..x_t), nats; -inf at padding.
      log_predicted: (T, K) log p(z_t = k | x_0..x_t-1), nats; log_initial where a sequence
        begins, -inf at padding.
      log_increments: (T,) log p(x_t | x_0..x_t-1), nats: their sum is log_prob. 0 at padding, and
        -inf from the step on at which a sequence becomes impossible.
      log_prob: scalar, log p(x), nats.
    """

    log_filtered: Array
    log_predicted: Array
    log_increments: Array
    log_prob: Array


class Smoothed(NamedTuple):
    """Posteriors of the states given all data, and the expected counts that an E step needs.

    Attributes:
      log_marginals: (T, K) log p(z_t = k | x), nats; -inf at padding.
      transition_counts: (K, K) sum_t p(z_t = i, z_t+1 = j | x), over steps of one sequence.
      initial_counts: (K,) sum of p(z_t = k | x) over the steps t where a sequence begins.
      log_prob: scalar, log p(x), nats.
    """

    log_marginals: Array
    transition_counts: Array
    initial_counts: Array
    log_prob: Array


def log_partition(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    parallel: bool | None = None,
) -> Array:
    """Log probability of the data, all state paths summed out.

    log sum_z exp(log_initial[z_0] + sum_t log_transition[z_t, z_t+1] + sum_t log_lik[t, z_t])

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K), or (T-1, K, K) whose entry t carries step t to step t+1; nats.
      log_lik: (T, K) log p(x_t | z_t = k), nats.
      length: scalar integer; steps at or after it never count. None: all T; 0 gives 0.
      starts: (T,) booleans, True where a new sequence begins. None: only step 0.
      parallel: as in the module's docstring.
    Returns:
      Scalar, nats; -inf if no path has positive probability. The rows need not be normalised.
      The derivative by a potential is the posterior expectation of its use (Fisher's identity),
      in forward and reverse mode and to any order; it is zero on structural zeros and on
      sequences that no path can produce.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), section III.A.

    Examples:
      >>> start, move = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
      >>> walk_shop_clean = jnp.log(jnp.array([[0.1, 0.6], [0.4, 0.3], [0.5, 0.1]]))
      >>> print(log_partition(start, move, walk_shop_clean).round(4))
      -3.3929
    """
    return _log_partition(chain(log_initial, log_transition, log_lik, length, starts), parallel)


@_compiled
def _log_partition(c: Chain, parallel: bool | None) -> Array:
    return expectations.log_partition(parallel, hide_padding(c))


def filter(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    parallel: bool | None = None,
) -> Filtered:
    """Posterior of each state given the data up to it, and before it.

    log_predicted[t, j] = log sum_i exp(log_filtered[t-1, i] + log_transition[i, j])
    log_filtered[t] = log_predicted[t] + log_lik[t] - log p(x_t | x_0..x_t-1)

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
      parallel: as in the module's docstring.
    Returns:
      `Filtered`. From the first step of a sequence that no path can explain, its rows are -inf.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 19-21, normalised.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> out = filter(half, jnp.stack([half, half]), jnp.log(jnp.array([[0.1, 0.3]])))
      >>> print(jnp.exp(out.log_filtered).round(2))
      [[0.25 0.75]]
    """
    return _filter(chain(log_initial, log_transition, log_lik, length, starts), parallel)


@_compiled
def _filter(c: Chain, parallel: bool | None) -> Filtered:
    c = hide_padding(c)
    out = dispatch.filtered(c, parallel)
    log_filtered, log_predicted = blank(c, out.filtered, out.predicted)
    (increments,) = blank(c, out.increment, value=0)
    return Filtered(log_filtered, log_predicted, increments, out.log_prob)


def backward(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> Array:
    """Backward messages: what the data after each step say of its state.

    log_backward[t, k] = log p(x_t+1.. | z_t = k) - log p(x_t+1.. | x_0..x_t)

    so that `log_filtered + log_backward` of a step are its marginals given all data.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
    Returns:
      (T, K) nats; 0 at the last step of a sequence, -inf at padding and in a sequence that no path
      can produce.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 24-25, scaled as in section V.A.

    Examples:
      >>> half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
      >>> log_lik = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.3]]))
      >>> print(jnp.exp(backward(half, keep, log_lik)))
      [[0.5 1.5]
       [1.  1. ]]
    """
    return _backward(chain(log_initial, log_transition, log_lik, length, starts))


@compiled
def _backward(c: Chain) -> Array:
    c = hide_padding(c)
    return blank(c, log_domain.backward(c))[0]


def smoother(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    parallel: bool | None = None,
) -> Smoothed:
    """Posterior of each state given all data, with expected transition and initial counts.

    The E step of Baum-Welch. The counts are the gradients of `log_partition` by log_transition
    and log_initial, the marginals its gradient by log_lik.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats. `transition_counts` is summed over t for both;
        `pairwise` keeps each t.
      log_lik: (T, K) nats.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
      parallel: as in the module's docstring.
    Returns:
      `Smoothed`. A sequence that no path can produce has marginals -inf and counts of zero.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 27 and 37-38.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> post = smoother(half, jnp.log(jnp.eye(2)), jnp.log(jnp.array([[0.1, 0.3], [0.5, 0.5]])))
      >>> print(jnp.exp(post.log_marginals).round(2))
      [[0.25 0.75]
       [0.25 0.75]]
      >>> print(post.transition_counts.round(2))
      [[0.25 0.  ]
       [0.   0.75]]
    """
    return _smoother(chain(log_initial, log_transition, log_lik, length, starts), parallel)


@_compiled
def _smoother(c: Chain, parallel: bool | None) -> Smoothed:
    c = hide_padding(c)
    return Smoothed(*expected(c, dispatch.posterior(c, parallel, in_logs=True), in_logs=True))


def expected_states(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> Expected:
    """`smoother` in probabilities: what an E step sums up."""
    return _expected_states(chain(log_initial, log_transition, log_lik, length, starts))


@compiled
def _expected_states(c: Chain) -> Expected:
    c = hide_padding(c)
    return expected(c, dispatch.posterior(c, in_logs=False))


def pairwise(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    parallel: bool | None = None,
) -> Array:
    """Posterior of each pair of consecutive states.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial, log_transition, log_lik, length, starts, parallel: as for `smoother`.
    Returns:
      (T-1, K, K) log p(z_t = i, z_t+1 = j | x), nats. All -inf where step t+1 is padding or
      begins a new sequence, and in sequences that no path can produce.
    Raises:
      ValueError: if shapes do not match, or a known length is not in 0..T.
    Source: Rabiner (1989), Proc. IEEE 77(2), eq. 37.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> print(jnp.exp(pairwise(half, jnp.stack([half, half]), jnp.zeros((2, 2)))).round(2))
      [[[0.25 0.25]
        [0.25 0.25]]]
    """
    return _pairwise(chain(log_initial, log_transition, log_lik, length, starts), parallel)


@_compiled
def _pairwise(c: Chain, parallel: bool | None) -> Array:
    num_moves = c.log_lik.shape[0] - 1
    if num_moves == 0:
        return jnp.zeros((0, *c.log_transition.shape), c.log_lik.dtype)
    return dispatch.pairwise(hide_padding(c), parallel)


@checked()
def forecast(log_state: ArrayLike, log_transition: ArrayLike, num_steps: int) -> Array:
    """Distribution of the state 1..num_steps steps ahead.

    log p(z_n+h = k | x_0..x_n) = log sum_i exp(log_state[i]) (P_1 ... P_h)[i, k]

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_state: (K,) nats, the state now: a row of `Filtered.log_filtered`.
      log_transition: (K, K), or (num_steps, K, K) whose entry h carries step h to h+1 ahead.
      num_steps: how many steps.
    Returns:
      (num_steps, K) nats; row h-1 is h steps ahead.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Zucchini & MacDonald (2009), Hidden Markov Models for Time Series, chapter 5.

    Examples:
      >>> flip = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
      >>> print(jnp.exp(forecast(jnp.array([0.0, -jnp.inf]), flip, 2)))
      [[0. 1.]
       [1. 0.]]
    """
    log_state = weights_of_states("log_state", log_state)
    ahead = jnp.zeros((num_steps + 1, log_state.size), log_state.dtype)
    return _forecast(chain(log_state, log_transition, ahead, None, None))


@compiled
def _forecast(c: Chain) -> Array:
    return log_domain.filtered(c).predicted[1:]


@checked(lag=0)
def fixed_lag_smoother(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_lik: ArrayLike,
    *,
    lag: int,
    length: ArrayLike | None = None,
    starts: ArrayLike | None = None,
) -> Array:
    """Posterior of each state given the data up to `lag` steps later, as a monitor may wait for.

    log p(z_t = k | x_0..x_t+lag), the data after the end of the sequence being none

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats.
      log_transition: (K, K) or (T-1, K, K), nats.
      log_lik: (T, K) nats.
      lag: how many later steps are known; 0 is the filter, T-1 or more the smoother.
      length: scalar integer; None: T.
      starts: (T,) booleans; None: only step 0.
    Returns:
      (T, K) nats; -inf at padding and where the data up to t + lag are impossible. The cost is
      that of lag + 1 smoothers.
    Raises:
      ValueError: if shapes do not match, lag is negative, or a known length is not in 0..T.
    Source: Murphy (2012), Machine Learning: A Probabilistic Perspective, 17.4.1.

    Examples:
      >>> half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
      >>> log_lik = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.3], [0.9, 0.1]]))
      >>> print(jnp.exp(fixed_lag_smoother(half, keep, log_lik, lag=1)).round(2))
      [[0.25 0.75]
       [0.75 0.25]
       [0.75 0.25]]
    """
    if lag < 0:
        raise ValueError(f"lag must be 0 or more, got {lag}")
    c = chain(log_initial, log_transition, log_lik, length, starts)
    return _fixed_lag(c, min(lag, c.log_lik.shape[0] - 1))


@functools.partial(compiled, static_argnames="lag")
def _fixed_lag(c: Chain, lag: int) -> Array:
    c = hide_padding(c)
    behind = log_domain.backward_windows(c, lag)
    return blank(c, log_normalize(dispatch.filtered(c).filtered + behind)[0])[0]
