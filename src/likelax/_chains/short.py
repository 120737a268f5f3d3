"""One short chain of few states, in as few kernels as XLA allows on a CPU.

A loop whose body reads and writes less than a kilobyte is one kernel there, and a step of it takes
20 to 30 nanoseconds; every kernel outside of it takes a share of the first call. So the steps are as plain
as they can be: probabilities divided by their sum, without masks, and with one certificate, a look at
the K x K transitions and the initial distribution.

**The certificate.** With m = sqrt(floor) as in the plain certificate of `scaled`, each of these numbers
is in m..e; its proof holds here but for a factor e. A predicted probability p[t, j] is a mean of
transitions, p[t, j] >= m, and so s[t] = sum_j p[t, j] lik[t, j] >= m. The messages back are divided by
the same s, so that sum_j p lik b / s is 1: a mean of the b is 1 and any two of them differ by a factor
e / m at most, so p b >= m m / e. What underflow takes from a sum is at most K tiny e^2 / m^3 of it, far
below a rounding. A step that no state allows makes everything NaN, and what is NaN is not certified.

`gradient` needs no certificate: it is in logs.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from likelax._chains.chain import (
    FEW,
    VERY_FEW,
    Chain,
    Filter,
    Posterior,
    centred,
    finite,
    fixed,
    total,
)
from likelax._chains.products import sum_of_exp
from likelax._chains.scaled import floor, sum_of_moves
from likelax.numerics import Compensated, add_compensated

# steps from which both ends of a chain as lanes of one loop pay
_LONG = 1024


def serves(c: Chain) -> bool:
    """Whether this form knows such chains: few states, nothing that varies or is cut."""
    whole = c.starts is None and c.length is None
    return whole and fixed(c) and c.log_initial.shape[0] <= FEW


def _start(c: Chain) -> tuple[Array, Array, Array]:
    """(initial (K,), transition (K, K), the certificate)."""
    least = 0.5 * math.log(floor(c))
    logs = c.log_initial, c.log_transition
    within = [jnp.all((x >= least) & (x <= 1)) for x in logs]
    return jnp.exp(logs[0]), jnp.exp(logs[1]), within[0] & within[1]


def _step(message: Array, log_lik: Array, moves: Array) -> tuple[Array, Array, Array, Array]:
    """(message to the next step, lik / s, log s, log lik / s) of a step, from (K, ...) each."""
    peak = jnp.max(log_lik, axis=0)
    log_lik = log_lik - peak[None]
    lik = jnp.exp(log_lik)
    joint = message * lik
    scale = jnp.sum(joint, axis=0)
    moved = functools.reduce(jnp.add, [joint[i][None] * moves[i] for i in range(len(joint))])
    share = (1 / scale)[None]
    log_scale = jnp.log(scale)
    return moved * share, lik * share, log_scale + peak, log_lik - log_scale[None]


def _forward(c: Chain, keep: Callable[..., Any]) -> tuple[Any, Array, Array, Array]:
    """(What is kept of each step, log p(x), whether it is certified, transition (K, K)).

    Args:
      c: the chain.
      keep: (message, lik / s, log s, log lik / s) of a step -> what to keep.
    """
    initial, transition, certified = _start(c)

    def step(carry: tuple[Array, Compensated], log_lik: Array) -> tuple[Any, Any]:
        message, whole = carry
        moved, weight, increment, log_weight = _step(message, log_lik, transition)
        kept = keep(message, weight, increment, log_weight)
        return (moved, add_compensated(whole, increment)), kept

    (_, whole), kept = lax.scan(step, (initial, _nothing(initial[0])), c.log_lik)
    log_prob = whole.total + whole.error
    return kept, log_prob, certified & ~jnp.isnan(log_prob), transition


def _nothing(like: Array) -> Compensated:
    return Compensated(jnp.zeros_like(like), jnp.zeros_like(like))


def log_prob(c: Chain) -> tuple[Array, Array]:
    """(log p(x), whether it is certified)."""
    num_steps, num_states = c.log_lik.shape
    if num_states <= VERY_FEW and num_steps >= _LONG:
        out = _from_both_ends(c)
        return out, _start(c)[2] & ~jnp.isnan(out)
    return _forward(c, lambda *step: None)[1:3]


def _from_both_ends(c: Chain) -> Array:
    """log p(x) in T / 2 steps, p(x) = sum_j p(x_0..x_n-1, z_n = j) p(x_n..x_T-1 | z_n = j)."""
    num_steps = c.log_lik.shape[0]
    begin, moves = (jnp.exp(logs) for logs in _both_ends(c))

    def step(n: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        message, _, whole = carry
        here = jnp.stack([_row(c, n), _row(c, num_steps - 1 - n)], axis=1)
        moved, weight, increment, _ = _step(message, here, moves)
        return moved, message * weight, add_compensated(whole, increment)

    n = num_steps // 2
    moved, share, whole = lax.fori_loop(0, n, step, (begin, begin, _nothing(begin[0])))
    out = jnp.sum(whole.total) + jnp.sum(whole.error)
    if num_steps % 2 == 0:
        return out + jnp.log(jnp.sum(moved[:, 0] * share[:, 1]))
    peak = jnp.max(c.log_lik[n])
    return out + peak + jnp.log(jnp.sum(moved[:, 0] * jnp.exp(c.log_lik[n] - peak) * moved[:, 1]))


def _both_ends(c: Chain) -> tuple[Array, Array]:
    """Logs of the messages to the first and the last step (K, 2), and of the moves from there."""
    begin = jnp.stack([c.log_initial, jnp.zeros_like(c.log_initial)], axis=1)
    return begin, jnp.stack([c.log_transition, c.log_transition.T], axis=2)


def _row(c: Chain, n: Any) -> Array:
    return lax.dynamic_index_in_dim(c.log_lik, n, 0, False, allow_negative_indices=False)


def gradient(c: Chain) -> Posterior:
    """Marginals, counts and log p(x), right for any potentials: in logs, in two small loops.

    The first runs from both ends at once. Its messages ahead[t] and behind[t] are log p(x_0..x_t, z_t)
    less the shifts so far, and log p(x_t+1.. | z_t) less some constant; the second joins them.
    """
    num_steps, num_states = c.log_lik.shape
    begin, moves = _both_ends(c)
    c, peaks = centred(c)

    def put(x: Array, value: Array, n: Any) -> Array:
        return lax.dynamic_update_index_in_dim(x, value, n, 0, allow_negative_indices=False)

    def go(n: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        message, ahead, behind, shifts = carry
        mirrored = num_steps - 1 - n
        joint = message + jnp.stack([_row(c, n), _row(c, mirrored)], axis=1)
        moved = sum_of_exp([joint[k][None] + moves[k] for k in range(num_states)])
        shift = finite(jnp.max(moved, axis=0))
        ahead, behind = put(ahead, joint[:, 0], n), put(behind, message[:, 1], mirrored)
        return moved - shift[None], ahead, behind, put(shifts, shift[0], n)

    def join(carry: tuple[Any, ...], here: tuple[Array, ...]) -> tuple[Any, Any]:
        before, passed, _, whole = carry
        ahead, behind, log_lik, shift, peak = here
        both = ahead + behind
        nats = sum_of_exp([both[k] for k in range(num_states)])
        after = log_lik + behind - (finite(nats) + passed)
        pairs = jnp.exp(before[:, None] + c.log_transition + after[None])
        carry = ahead, shift, nats, add_compensated(add_compensated(whole, passed), peak)
        return carry, (jnp.exp(both - finite(nats)), pairs)

    zeros = jnp.zeros_like(c.log_lik)
    carry = (begin, zeros, zeros, zeros[:, 0])
    _, ahead, behind, shifts = lax.fori_loop(0, num_steps, go, carry)
    zero = zeros[0, 0]
    none = jnp.full_like(c.log_initial, -jnp.inf), zero, zero, _nothing(zero)
    every = (ahead, behind, c.log_lik, shifts, peaks)
    (*_, nats, whole), (marginals, pairs) = lax.scan(join, none, every)
    return Posterior(marginals, total(c, pairs), whole.total + whole.error + nats)


def filtered(c: Chain) -> tuple[Filter, Array]:
    """(forward posteriors, whether they are certified)."""

    def keep(message: Array, _: Array, increment: Array, log_weight: Array) -> tuple[Array, ...]:
        predicted = jnp.log(message)
        return predicted, predicted + log_weight, increment

    (predicted, filtered, increment), log_prob, certified, _ = _forward(c, keep)
    return Filter(predicted, filtered, increment, log_prob), certified


def posterior(c: Chain, in_logs: bool) -> tuple[Posterior, Array]:
    """(marginals, counts and log p(x), whether they are certified)."""

    def keep(message: Array, weight: Array, _: Array, log_weight: Array) -> tuple[Any, ...]:
        return message, weight, log_weight if in_logs else None

    (message, weight, log_weight), log_prob, certified, transition = _forward(c, keep)

    def back(behind: Array, here: tuple[Array, Array]) -> tuple[Array, Any]:
        message, weight = here
        after = weight * behind
        scale = (1 / jnp.sum(message * after))[None]
        earlier = jnp.sum(transition * after[None], axis=1)
        kept = message * (behind if in_logs else after)
        return earlier, (kept * scale, after * scale)

    every = message, weight
    _, (kept, after) = lax.scan(back, jnp.ones_like(c.log_initial), every, reverse=True)
    marginals = jnp.log(kept) + log_weight if in_logs else kept
    counts = transition * sum_of_moves(message * weight, after)
    return Posterior(marginals, counts, log_prob), certified
