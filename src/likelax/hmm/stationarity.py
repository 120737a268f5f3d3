"""The stationary distribution of a transition matrix, and the M step of a chain that starts in it."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from likelax import numerics
from likelax._chains.chain import compiled
from likelax.numerics.checks import check_simplex


def stationary(transition: ArrayLike) -> Array:
    """The distribution that a transition matrix leaves as it is: pi = pi P.

    States are removed one by one. That adds, multiplies and divides, but never subtracts, so each
    entry is right to a few roundings, however rare its state is. A state that the chain leaves for
    good has exactly zero. The diagonal is not read: it is one minus the rest of its row.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      transition: (K, K) probabilities, rows sum to one.
    Returns:
      (K,) probabilities; all NaN where more than one set of states is closed, such as for an
      identity matrix, since then many distributions are stationary. Differentiable to any order.
    Raises:
      ValueError: if the shape is not square, or rows do not sum to one.
    Source: Grassmann, Taksar & Heyman (1985), Operations Research 33, 1107-1116; the derivative
      is that of Schweitzer (1968), J. Applied Probability 5, 401-413.

    Examples:
      >>> print(stationary(jnp.array([[0.7, 0.3], [0.4, 0.6]])))
      [0.5714 0.4286]
    """
    (transition,) = numerics.named_floats(transition=transition)
    if transition.ndim != 2 or transition.shape[0] != transition.shape[1]:
        raise ValueError(f"stationary: transition must have shape (K, K); got {transition.shape}")
    check_simplex("transition", transition)
    return _compiled(transition)


@jax.custom_jvp
def _stationary(transition: Array) -> Array:
    num_states = transition.shape[0]
    states = jnp.arange(num_states)

    def censor(moves: Array, n: Array) -> tuple[Array, tuple[Array, Array]]:
        # watch the chain only while it is in 0..n-1: a visit to n is a detour
        lower = states < n
        out = jnp.where(lower, moves[n], 0)
        exit = jnp.sum(out)
        into = jnp.where(lower, moves[:, n], 0) / jnp.where(exit > 0, exit, 1)
        return moves + into[:, None] * out[None], (into, exit == 0)

    def restore(probs: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, None]:
        n, into, absorbing = xs
        grown = jnp.where(states == n, jnp.sum(probs * into), probs)
        # what never leads back down takes all
        grown = jnp.where(absorbing, (states == n).astype(probs.dtype), grown)
        return grown / jnp.sum(grown), None

    down = jnp.arange(num_states - 1, 0, -1)
    _, (into, absorbing) = lax.scan(censor, transition, down)
    first = (states == 0).astype(transition.dtype)
    probs, _ = lax.scan(restore, first, (down, into, absorbing), reverse=True)
    return jnp.where(_one_closed_set(transition > 0), probs, jnp.nan)


def reachable(possible: Array) -> Array:
    """(..., K, K): whether some number of moves leads from row to column, none included.

    Args:
      possible: (..., K, K) booleans, which moves can be made.
    """
    num_states = possible.shape[-1]
    reach = possible | jnp.broadcast_to(jnp.eye(num_states, dtype=bool), possible.shape)
    for _ in range(math.ceil(math.log2(num_states))):
        reach = jnp.any(reach[..., :, :, None] & reach[..., None, :, :], axis=-2)
    return reach


def _one_closed_set(possible: Array) -> Array:
    """Whether exactly one set of states is never left, from (K, K) possible moves."""
    reach = reachable(possible)
    closed = jnp.all(~reach | reach.T, axis=1)
    return jnp.all(reach | ~(closed[:, None] & closed[None]))


@_stationary.defjvp
def _stationary_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (transition,), (dot,) = primals, tangents
    probs = _stationary(transition)
    eye = jnp.eye(transition.shape[0], dtype=transition.dtype)

    def closed_rows(moves: Array) -> Array:
        off = moves * (1 - eye)
        return off - eye * jnp.sum(off, axis=1, keepdims=True)

    # d pi (I - P) = pi dP; adding pi to every row makes the system regular and d pi sum to zero
    push = numerics.matmul(probs, closed_rows(dot))
    system = jnp.broadcast_to(probs, eye.shape) - closed_rows(transition)
    return probs, numerics.solve(system.T, push)


_compiled = compiled(_stationary)


@compiled
def m_step(counts: Array, initial_counts: Array, transition: Array) -> Array:
    """The transition matrix of a stationary chain from its expected counts.

    The objective, sum_ij counts[i, j] log P[i, j] + sum_k initial_counts[k] log pi[k](P), has no
    maximum in closed form. So a few gradient steps are taken, scaled by the count of each row, from
    the better of the old matrix and the normalised counts. Each step has the best of eight lengths.
    The objective never falls, so the likelihood never falls under EM; a fixed point of EM is one of
    the likelihood.

    Args:
      counts: (K, K) expected moves, or what a prior makes of them; non-negative.
      initial_counts: (K,) expected sequences that begin in each state.
      transition: (K, K) the old matrix.
    Returns:
      (K, K). A zero stays a zero where its count is zero.
    """
    leaving = jnp.sum(counts, axis=1, keepdims=True)
    scale = leaving + jnp.sum(initial_counts)
    lengths = 0.5 ** jnp.arange(8, dtype=counts.dtype)

    def log_start(moves: Array) -> Array:
        return jnp.sum(numerics.xlogy(initial_counts, stationary(moves)))

    def objective(moves: Array) -> Array:
        value = jnp.sum(numerics.xlogy(counts, moves)) + log_start(moves)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def better(new: Array, old: Array) -> Array:
        return jnp.where(objective(new) >= objective(old), new, old)

    def climb(moves: Array, _: None) -> tuple[Array, None]:
        slope = jax.grad(log_start)(moves)
        score = moves * (slope - jnp.sum(moves * slope, axis=1, keepdims=True))
        step = (counts - moves * leaving + score) / jnp.where(scale > 0, scale, 1)
        step = jnp.where(jnp.all(jnp.isfinite(step)), step, 0)
        room = jnp.min(jnp.where(step < 0, moves / jnp.where(step < 0, -step, 1), jnp.inf))
        reach = jnp.minimum(0.9 * room, 1) * lengths
        tried = moves[None] + reach[:, None, None] * step[None]
        tried = tried / jnp.sum(tried, axis=2, keepdims=True)
        best = tried[jnp.argmax(jax.vmap(objective)(tried))]
        return better(best, moves), None

    normalised = numerics.divide(counts, leaving, transition)
    moves, _ = lax.scan(climb, better(normalised, transition), None, length=4)
    return moves
