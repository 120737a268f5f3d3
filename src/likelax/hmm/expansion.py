"""Richer chains as ordinary ones with more states: explicit durations, several chains at once.

Each function gives the potentials that every kernel of `likelax.hmm` takes, and the kernels' exact
zeros keep the expanded chain as sparse as it is. Gradients flow through: the derivative of
`log_partition` by `log_duration`, say, is the expected number of segments of each length.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.numerics.checks import check_size


class Expanded(NamedTuple):
    """Potentials of a chain over composite states, and what the states are made of.

    Attributes:
      log_initial: (S,) nats.
      log_transition: (S, S) nats.
      log_lik: (T, S) nats.
      sizes: composite state s is `np.unravel_index(s, sizes)`.
    """

    log_initial: Array
    log_transition: Array
    log_lik: Array
    sizes: tuple[int, ...]

    def marginal(self, log_marginals: ArrayLike, part: int = 0) -> Array:
        """(T, sizes[part]) log posterior of one part of the state from that of all (T, S), nats.

        Raises:
          ValueError: for log_marginals of another shape, or a part that there is not.
        """
        check_size("part", part, least=0)
        if part >= len(self.sizes):
            raise ValueError(
                f"part must be below {len(self.sizes)}, the number of parts; got {part}"
            )
        (log_marginals,) = numerics.named_floats(log_marginals=log_marginals)
        if log_marginals.ndim != 2 or log_marginals.shape[1] != math.prod(self.sizes):
            raise ValueError(
                f"log_marginals must have shape (T, {math.prod(self.sizes)}), "
                f"got {log_marginals.shape}"
            )
        parts = log_marginals.reshape(-1, *self.sizes)
        others = tuple(1 + i for i in range(len(self.sizes)) if i != part)
        return numerics.logsumexp(parts, axis=others)


def explicit_duration(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_duration: ArrayLike,
    log_lik: ArrayLike,
    *,
    ends: ArrayLike | None = None,
) -> Expanded:
    """A semi-Markov chain: each visit to a state lasts a number of steps of its own distribution.

    A composite state is (state k, steps r that the visit still has, this one included): from r > 1
    the next is (k, r - 1), from r = 1 a new visit (j, d) begins with probability
    transition[k, j] duration[j, d].

    The last visit may go on after the data: if the data have h steps of it, it counts with the
    probability of lasting h steps or more (right censoring). With `ends` True at the last step it ends
    there, and counts with duration[j, h].

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats, state of the first visit, which begins at step 0.
      log_transition: (K, K) nats, from visit to visit; -inf on the diagonal makes visits to one
        state end for good, other values let two visits to it follow each other.
      log_duration: (K, D) nats; entry d - 1 is a visit of d steps.
      log_lik: (T, K) nats.
      ends: (T,) booleans, True at the steps that are known to be the last of a visit, such as the end
        of each sequence. None: nothing is known.
    Returns:
      `Expanded` with sizes (K, D). A kernel over it costs T (K D)^2 operations.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Yu (2010), Hidden semi-Markov models, Artificial Intelligence 174, 215-243.

    Examples:
      >>> from likelax.hmm import viterbi
      >>> swap = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
      >>> always_two = jnp.log(jnp.array([[0.0, 1.0], [0.0, 1.0]]))
      >>> start = jnp.log(jnp.array([1.0, 0.0]))
      >>> chain = explicit_duration(start, swap, always_two, jnp.zeros((5, 2)))
      >>> path, _ = viterbi(*chain[:3])
      >>> print(path // 2)
      [0 0 1 1 0]
    """
    log_initial, log_transition, log_duration, log_lik = numerics.named_floats(
        log_initial=log_initial,
        log_transition=log_transition,
        log_duration=log_duration,
        log_lik=log_lik,
    )
    num_states = log_initial.size
    if (
        log_duration.ndim != 2
        or log_lik.ndim != 2
        or {log_initial.shape, log_duration.shape[:1], log_lik.shape[1:]} != {(num_states,)}
        or log_transition.shape != (num_states, num_states)
    ):
        raise ValueError(
            "explicit_duration: wanted log_initial (K,), log_transition (K, K), log_duration "
            f"(K, D) and log_lik (T, K); got {log_initial.shape}, {log_transition.shape}, "
            f"{log_duration.shape} and {log_lik.shape}"
        )
    if ends is not None:
        ends = numerics.as_booleans("ends", ends)
        if ends.shape != log_lik.shape[:1]:
            raise ValueError(
                f"explicit_duration: ends must have shape (T,) = {log_lik.shape[:1]}, got {ends.shape}"
            )
    longest = log_duration.shape[1]
    size = num_states * longest
    begin = log_initial[:, None] + log_duration
    visit = log_transition[:, :, None] + log_duration[None]
    left = jnp.arange(longest)
    # rows (k, r), columns (j, d); r and d count from 0
    same = jnp.eye(num_states, dtype=bool)[:, None, :, None]
    count_down = same & (left[None, :, None, None] == left[None, None, None, :] + 1)
    over = jnp.broadcast_to(left[None, :, None, None] == 0, count_down.shape)
    moves = jnp.where(over, visit[:, None], jnp.where(count_down, 0, -jnp.inf))
    each = jnp.broadcast_to(log_lik[:, :, None], (*log_lik.shape, longest))
    if ends is not None:
        each = jnp.where(ends[:, None, None] & (left > 0)[None, None], -jnp.inf, each)
    return Expanded(
        begin.reshape(size),
        moves.reshape(size, size).astype(log_lik.dtype),
        each.reshape(-1, size),
        (num_states, longest),
    )


def state_history(
    log_initial: ArrayLike, log_transition: ArrayLike, log_lik: ArrayLike
) -> Expanded:
    """A chain whose observations depend on the state and on the states before it.

    A composite state is (z_t, z_t-1, ..., z_t-H). The first one has the joint probability of z_-H..z_0,
    with z_-H drawn from log_initial.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initial: (K,) nats, of the state H steps before the first one that is seen.
      log_transition: (K, K) nats.
      log_lik: (T, K, ..., K) log p(x_t | z_t, z_t-1, ..., z_t-H), nats, with 1 + H axes of states.
    Returns:
      `Expanded` with sizes (K,) * (1 + H): part h is the state h steps before. A kernel over it costs
      T K^(2 + 2 H) operations.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Hamilton (1989), Econometrica 57, 357-384.

    Examples:
      >>> from likelax.hmm import smoother
      >>> half, swap = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
      >>> fell = jnp.log(jnp.array([[[0.5, 0.1], [0.9, 0.5]]]))  # z_0 = 1 after z_-1 = 0, most likely
      >>> chain = state_history(half, swap, fell)
      >>> print(jnp.exp(chain.marginal(smoother(*chain[:3]).log_marginals)).round(3))
      [[0.1 0.9]]
    """
    log_initial, log_transition, log_lik = numerics.named_floats(
        log_initial=log_initial, log_transition=log_transition, log_lik=log_lik
    )
    num_states, num_parts = log_initial.size, log_lik.ndim - 1
    sizes = (num_states,) * num_parts
    if (
        num_parts < 1
        or log_initial.shape != (num_states,)
        or log_transition.shape != (num_states, num_states)
        or log_lik.shape[1:] != sizes
    ):
        raise ValueError(
            "state_history: wanted log_initial (K,), log_transition (K, K) and log_lik "
            f"(T, K, ..., K); got {log_initial.shape}, {log_transition.shape} and {log_lik.shape}"
        )
    begin = log_initial  # over (z_-H), then over (z_-H+1, z_-H), and so on to (z_0, ..., z_-H)
    for _ in range(num_parts - 1):
        begin = jnp.expand_dims(log_transition.T, tuple(range(2, 1 + begin.ndim))) + begin[None]
    size = num_states**num_parts
    kept = size // num_states
    # (z_t, ..., z_t-H) -> (z_t+1, z_t, ..., z_t-H+1): the last part is forgotten
    states = jnp.arange(size)
    follows = states[:, None] // num_states == states[None] % kept
    moves = log_transition[states // kept][:, states // kept]
    return Expanded(
        begin.reshape(size),
        jnp.where(follows, moves, -jnp.inf),
        log_lik.reshape(-1, size),
        sizes,
    )


def factorial(
    log_initials: Sequence[ArrayLike], log_transitions: Sequence[ArrayLike], log_lik: ArrayLike
) -> Expanded:
    """Several independent chains that are seen through one observation.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      log_initials: M arrays (K_m,), nats.
      log_transitions: M arrays (K_m, K_m), nats.
      log_lik: (T, K_1, ..., K_M) log p(x_t | all states), nats.
    Returns:
      `Expanded` with sizes (K_1, ..., K_M). A kernel over it costs T (K_1 ... K_M)^2 operations.
    Raises:
      ValueError: at trace time, if shapes do not match.
    Source: Ghahramani & Jordan (1997), Machine Learning 29, 245-273.

    Examples:
      >>> from likelax.hmm import smoother
      >>> half, keep = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.eye(2))
      >>> both_on = jnp.log(jnp.array([[[0.0, 0.0], [0.0, 1.0]]]))
      >>> chain = factorial([half, half], [keep, keep], both_on)
      >>> print(jnp.exp(chain.marginal(smoother(*chain[:3]).log_marginals, 1)))
      [[0. 1.]]
    """
    given = {"log_lik": log_lik}
    for name, arrays in (("log_initials", log_initials), ("log_transitions", log_transitions)):
        if not isinstance(arrays, list | tuple):
            raise TypeError(f"{name} must be a list of arrays, got {type(arrays).__name__}")
        given |= {f"{name}[{m}]": a for m, a in enumerate(arrays)}
    log_lik, *parts = numerics.named_floats(**given)
    initials, moves = parts[: len(log_initials)], parts[len(log_initials) :]
    sizes = tuple(log_lik.shape[1:])
    if (
        not sizes
        or [a.shape for a in initials] != [(k,) for k in sizes]
        or [a.shape for a in moves] != [(k, k) for k in sizes]
    ):
        raise ValueError(
            "factorial: wanted log_lik (T, K_1, ..., K_M) with log_initials (K_m,) and "
            f"log_transitions (K_m, K_m); got {log_lik.shape}, {[a.shape for a in initials]} and "
            f"{[a.shape for a in moves]}"
        )

    def both(a: Array, b: Array) -> Array:
        # the log of a Kronecker product
        shape = tuple(i * j for i, j in zip(a.shape, b.shape, strict=True))
        wide = jnp.expand_dims(a, tuple(range(1, 2 * a.ndim, 2)))
        return (wide + jnp.expand_dims(b, tuple(range(0, 2 * b.ndim, 2)))).reshape(shape)

    return Expanded(
        functools.reduce(both, initials),
        functools.reduce(both, moves),
        log_lik.reshape(-1, math.prod(sizes)),
        sizes,
    )
