"""The recursions on probabilities, rescaled at every step, with a certificate that they are exact.

A step divides the probabilities by their sum. So it costs K^2 multiplications, and no exponential as
in the log domain. A probability that is much smaller than the largest one can underflow to zero. That
does no harm if it would not have changed the last bit of any result. The certificate says whether
that is so.

All functions here also take many chains as lanes (`Chain`). The few states of one chain are too short
to vectorise over; a batch of chains is not.

**The certificate.** Let tiny be the smallest normal number and eps the spacing at 1, and

  floor = sqrt(8 K tiny / eps)   about 4e-15 sqrt(K) in float32, 1e-145 in float64.

With transitions and likelihoods scaled to a largest entry of 1, p[t, j] the predicted probability
of state j and s[t] = sum_j p[t, j] lik[t, j], a forward pass is certified if at every step that
counts

  1. s[t] >= floor, or no state at all is both predicted and able to produce x_t; and
  2. p[t, j] >= floor for all j, or nothing was lost on the way from t-1 to t: each product
     p[t-1, i] lik[t-1, i] that is not a structural zero is >= sqrt(tiny), and so is each
     transition that is not a structural zero.

Proof. Underflow loses at most tiny from each of K products and from each transition, so p[t, j]
loses at most 2 K tiny / s[t-1] <= 2 K tiny / floor. By 2 either p[t, j] >= floor, and this is at
most eps / 4 of it, or nothing was lost, and p[t, j] has only rounding error; zero then is a
structural zero. Sums of positive terms never cancel, so by induction every p[t, j] has a relative
error of O(t K eps), as in the log domain, and every sum, logarithm and product of them likewise.
The backward pass is the same recursion read from the right. Its messages b and the forward ones
meet in n[t] = sum_j p[t, j] lik[t, j] b[t, j]; a posterior is certified if both passes are and
n[t] >= floor wherever some state has all three factors positive. The log posteriors add logs of p
and b to the log likelihoods given, so none is lost however far behind it is.

**The plain certificate.** If every transition and every entry of the initial distribution is at
least m = sqrt(floor), about 6e-8 in float32, all of this holds whatever the data: a predicted
probability is a mean of transitions, p[t, j] >= m; some state that x_t allows has likelihood 1, so
s[t] >= m, unless no state allows it; b[t, j] >= m for the same reasons, so n[t] >= m m = floor.
So chains that mix are certified by a look at K K numbers, and others by a look at every step.

**In blocks** (`blocks.cut`) the message that a block begins from is that of the block before it to a
relative 32 eps in every state, zeros being the same zeros. By induction over B blocks that adds 32 B
eps to the relative error of p[t, j], fewer than the T K eps of the steps.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax._chains import blocks
from likelax._chains.chain import (
    FEW,
    Chain,
    Filter,
    Posterior,
    active,
    ends,
    finite,
    first,
    fixed,
    last,
    later,
    log_pairs,
    total,
)
from likelax._chains.recursion import over_states, run
from likelax.numerics import matmul, safe_log


class Potentials(NamedTuple):
    """The exponentials of a chain's potentials. Each is divided by its largest entry; `log_*` is its log.

    initial (K,), transition (K, K) or (T-1, K, K), lik (T, K); log_initial scalar,
    log_transition () or (T-1,), log_lik (T,).
    """

    initial: Array
    transition: Array
    lik: Array
    log_initial: Array
    log_transition: Array
    log_lik: Array


class Passes(NamedTuple):
    """What a certificate is drawn from, in the order of time.

    Messages p (T, K) and their scales s (T,); messages back b (T, K) and n (T,), if they are there.
    """

    message: Array
    scale: Array
    behind: Array | None = None
    norm: Array | None = None


def potentials(c: Chain) -> Potentials:
    """The exponentials of the potentials of a chain."""

    def split(logs: Array, peak: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
        peak = lax.stop_gradient(jnp.where(jnp.isfinite(peak), peak, 0))
        return jnp.exp(logs - jnp.expand_dims(peak, axis)), peak

    def top(logs: Array, axis: tuple[int, ...]) -> Array:
        return jnp.max(logs, axis=axis, initial=-jnp.inf)

    initial, log_initial = split(c.log_initial, top(c.log_initial, (0,)), (0,))
    square = (0, 1) if fixed(c) else (1, 2)
    transition, log_transition = split(c.log_transition, top(c.log_transition, square), square)
    lik, log_lik = split(c.log_lik, over_states(jnp.maximum, jnp.max, c.log_lik), (1,))
    lanes = jnp.broadcast_shapes(
        *(a.shape[a.ndim - log_initial.ndim :] for a in jax.tree.leaves(c))
    )
    initial = jnp.broadcast_to(initial, (initial.shape[0], *lanes))
    log_initial = jnp.broadcast_to(log_initial, lanes)
    return Potentials(initial, transition, lik, log_initial, log_transition, log_lik)


def floor(c: Chain) -> float:
    """The smallest probability that an underflow next to it cannot change."""
    info = jnp.finfo(c.log_lik.dtype)
    return float((8 * c.log_initial.shape[0] * float(info.tiny) / float(info.eps)) ** 0.5)


def _plain(c: Chain, q: Potentials, *scales: Array) -> Array:
    """(...) the plain certificate of each chain."""
    least = floor(c) ** 0.5
    axes = tuple(range(q.transition.ndim - q.initial.ndim + 1))
    ok = jnp.all(q.transition >= least, axis=axes) & jnp.all(q.initial >= least, axis=0)
    for scale in scales:
        ok &= jnp.all(scale < jnp.inf, axis=0)
    return ok if c.num_blocks == 1 else jnp.all(ok, axis=0)


def _total(x: Array) -> Array:
    """(T, ...) sums over the states of (T, K, ...)."""
    if x.ndim == 2 and x.shape[1] > FEW:
        # XLA would fuse a sum into all that reads it, and do it again for every state there
        return matmul(x, jnp.ones_like(x[0]))
    return over_states(jnp.add, jnp.sum, x)


@dataclass(frozen=True)
class _Scaled:
    """p[t] = (p[t-1] lik[t-1] / s[t-1]) @ transition, s[t] = sum(p[t] lik[t]), kept: p or s.

    The division by s[t-1] comes after the product, so that the product need not wait for it.

    Attributes:
      begin: (K, ...) the first p, and p[t] wherever cut[t]. The dots are the axes of blocks and
        lanes, the same in all arrays; a fixed transition may have them of size 1.
      known: lik (T, K, ...); cut (T, ...) booleans, or None.
      transition: (K, K, ...), or (T-1, K, K, ...) in moves.
      reverse: begin at the last step and move back: t-1 above is then t+1.
      messages: whether p is kept; else s.
      blocks: whether there is an axis of blocks.
    """

    begin: Array
    known: tuple[Array, Array | None]
    transition: Array
    moves: Array | None
    reverse: bool
    messages: bool
    blocks: bool

    def arrive(self, message: Array, here: tuple[Array, Array | None]) -> Array:
        _, cut = here
        if cut is None:
            return message
        # the same for all blocks
        fresh = self.begin[:, :1] if self.blocks else self.begin
        return jnp.where(cut[None], fresh, message)

    def enter(self, message: Array, here: tuple[Array, Array | None]) -> tuple[Array, Array]:
        joint = message * here[0]
        return joint, jnp.sum(joint, axis=0)

    def leave(self, state: tuple[Array, Array], move: Array | None) -> Array:
        joint, scale = state
        into = _vector_matrix(joint, self.transition if move is None else move)
        return into * (1 / jnp.maximum(scale, jnp.finfo(joint.dtype).tiny))[None]

    def keep(self, message: Array, state: tuple[Array, Array]) -> Array:
        # one of them: with two XLA computes the product twice
        return message if self.messages else state[1]

    def agree(self, handed: Array, begun: Array) -> Array:
        return jnp.all(jnp.abs(handed - begun) <= 32 * jnp.finfo(handed.dtype).eps * handed)


def _vector_matrix(vector: Array, matrix: Array) -> Array:
    """(K, ...) sum_i vector[i] matrix[i], in the form that XLA runs fastest on a CPU."""
    size, *lanes = vector.shape
    if not lanes:
        if size > FEW:
            return matmul(vector, matrix)
        return jnp.sum(vector[:, None] * matrix, axis=0)
    if size > FEW and set(matrix.shape[2:]) == {1}:
        return jnp.tensordot(matrix.reshape(size, size).T, vector, 1, precision="highest")
    return functools.reduce(jnp.add, [vector[i][None] * matrix[i] for i in range(size)])


def _passage(c: Chain, q: Potentials, reverse: bool, messages: bool = True) -> _Scaled:
    """The pass over (T, K, ...) messages, or (T, ...) scales.

    The messages back are b[t] = transition @ (lik[t+1] b[t+1]) / s[t+1], 1 at ends: the forward
    recursion read from the right.
    """
    cut, transition = ends(c) if reverse else c.starts, q.transition
    if reverse:
        transition = jnp.swapaxes(transition, *((0, 1) if fixed(c) else (1, 2)))
    begin = jnp.ones_like(q.initial) if reverse else q.initial
    moves = None if fixed(c) else transition
    return _Scaled(begin, (q.lik, cut), transition, moves, reverse, messages, c.num_blocks > 1)


def _pass(c: Chain, p: _Scaled) -> Array:
    return blocks.settled(c, p, lambda begin: run(p, begin))


def _ahead(c: Chain, q: Potentials) -> Passes:
    message = _pass(c, _passage(c, q, reverse=False))
    return Passes(message, _total(message * q.lik))


def _and_back(c: Chain, q: Potentials, ahead: Passes) -> tuple[Array, Array]:
    behind = _pass(c, _passage(c, q, reverse=True))
    return behind, _total(ahead.message * q.lik * behind)


def careful(evidence: Passes | None, c: Chain, both_ways: bool = False) -> Array:
    """(...) the certificate of each chain: is everything drawn from the passes exact?"""
    c = blocks.cut(c)
    q = potentials(c)
    can = c.log_lik > -jnp.inf
    ahead = _ahead(c, q) if evidence is None else evidence
    reached = jnp.where(first(c)[:, None], c.log_initial[None] > -jnp.inf, ahead.message > 0)
    exact = _steps_kept(c, q, ahead, reached & can, first(c), 1)
    if both_ways or ahead.behind is not None:
        behind, norm = ahead.behind, ahead.norm
        if behind is None or norm is None:
            behind, norm = _and_back(c, q, ahead)
        leaves, back = behind > 0, Passes(behind, _total(behind * q.lik))
        exact &= _steps_kept(c, q, back, leaves & can, last(c), -1)
        possible = jnp.any(reached & can & leaves, axis=1)
        exact &= (norm >= floor(c)) | ~possible
    exact = jnp.all(exact | ~active(c), axis=0)
    return exact if c.num_blocks == 1 else jnp.all(exact, axis=0)


def _steps_kept(
    c: Chain, q: Potentials, run: Passes, possible: Array, fresh: Array, ahead: int
) -> Array:
    """(T,) conditions 1 and 2 at each step of a pass, which goes ahead (1) or back (-1)."""
    root = float(jnp.finfo(q.lik.dtype).tiny) ** 0.5
    scaled = (run.scale >= floor(c)) | ~jnp.any(possible, axis=1)
    kept = jnp.all(~possible | (run.message * q.lik >= root), axis=1)
    moved = (q.transition >= root) | (c.log_transition == -jnp.inf)
    kept &= jnp.all(moved, axis=tuple(range(moved.ndim - q.initial.ndim + 1)))[None]
    # of the step before; the first step of a pass is fresh, whatever comes round to it here
    kept = later(c, kept, -ahead) | jnp.all(run.message >= floor(c), axis=1)
    return scaled & (run.scale < jnp.inf) & (fresh | kept)


def _unit(c: Chain, q: Potentials) -> Array:
    """(T,) logs that messages are divided by on the way to each step, nats."""
    moved = q.log_transition[None]
    if not fixed(c):
        moved = jnp.concatenate([jnp.zeros_like(moved[0, :1]), moved[0]])
    return jnp.where(first(c), q.log_initial[None], moved)


def _increment(c: Chain, q: Potentials, scale: Array) -> Array:
    """(T,) log p(x_t | x_<t), nats."""
    return safe_log(scale) + q.log_lik + _unit(c, q)


def _log_message(c: Chain, q: Potentials, message: Array) -> Array:
    """(T, K) log of the forward messages; a start may be too rare for linear space."""
    start = c.log_initial - q.log_initial[None]
    return jnp.where(first(c)[:, None], start[None], safe_log(message))


class Draft(NamedTuple):
    """An answer that is still to be certified.

    Attributes:
      finish: () -> the answer, in the order of time. Only that is left to be done: XLA would not
        vectorise a logarithm that it fuses with the change of order.
      plain: (...) the plain certificate of each chain.
      evidence: what the full one is drawn from; what is missing is computed again.
      both_ways: whether the answer depends on the backward pass too.
    """

    finish: Callable[[], Any]
    plain: Array
    evidence: Passes | None
    both_ways: bool = False


def log_prob(whole: Chain) -> Draft:
    """Scalar, nats: log p(x)."""
    c = blocks.cut(whole)
    q = potentials(c)
    scale = _pass(c, _passage(c, q, reverse=False, messages=False))
    log_prob = total(c, _increment(c, q, scale))
    return Draft(lambda: log_prob, _plain(c, q, scale), None)


def filtered(whole: Chain) -> Draft:
    """`Filter`: predicted and filtered log probabilities, and increments."""
    c = blocks.cut(whole)
    q = potentials(c)
    ahead = _ahead(c, q)
    message, log_scale = _log_message(c, q, ahead.message), safe_log(ahead.scale)[:, None]
    predicted, increment = message + _unit(c, q)[:, None], _increment(c, q, ahead.scale)
    # what all states have in common would take digits
    log_filtered = message + (c.log_lik - q.log_lik[:, None]) - finite(log_scale)
    log_filtered = jnp.where(log_scale > -jnp.inf, log_filtered, -jnp.inf)
    log_prob = total(c, increment)

    def finish() -> Filter:
        steps = [blocks.join(c, x, whole) for x in (predicted, log_filtered, increment)]
        return Filter(steps[0], steps[1], steps[2], log_prob)

    return Draft(finish, _plain(c, q, ahead.scale), ahead)


def _reciprocal(x: Array) -> Array:
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)


def posterior(whole: Chain, in_logs: bool) -> Draft:
    """`Posterior`: marginals, summed transition counts and log p(x)."""
    c = blocks.cut(whole)
    q = potentials(c)
    evidence = ahead = _ahead(c, q)
    if q.initial.ndim > 1 and fixed(c):
        marginals, counts, plain = _smooth(c, q, ahead, in_logs)
    else:
        behind, norm = _and_back(c, q, ahead)
        marginals = behind * _reciprocal(norm)[:, None]
        counts = _transition_counts(c, q, ahead, q.lik * marginals)
        marginals = marginals if in_logs else ahead.message * (q.lik * marginals)
        plain = jnp.all(norm < jnp.inf, axis=0)
        evidence = Passes(*ahead[:2], behind, norm)
    if in_logs:
        # no factor is lost however far behind it is, since the likelihood enters as a log
        logs = _log_message(c, q, ahead.message) + (c.log_lik - q.log_lik[:, None])
        marginals = logs + safe_log(marginals)
    log_prob = total(c, _increment(c, q, ahead.scale))

    def finish() -> Posterior:
        return Posterior(blocks.join(c, marginals, whole), counts, log_prob)

    return Draft(finish, plain & _plain(c, q, ahead.scale), evidence, both_ways=True)


def _smooth(c: Chain, q: Potentials, ahead: Passes, in_logs: bool) -> tuple[Array, Array, Array]:
    """Lanes back in one loop: marginals, or b / n if in logs; counts (K, K); whether all is finite."""
    p = _passage(c, q, reverse=True)
    tiny = jnp.finfo(p.begin.dtype).tiny

    def step(carry: tuple[Any, ...], here: tuple[Any, ...]) -> tuple[Any, Array]:
        behind, after, counts, finite = carry
        message, lik, cut = here
        before = message * lik
        before = before * (1 / jnp.maximum(jnp.sum(before, axis=0), tiny))[None]
        if cut is not None:
            before = jnp.where(cut[None], 0, before)
        counts = counts + before[:, None] * after[None]
        behind = p.arrive(behind, (lik, cut))
        state = p.enter(behind, (lik, cut))
        norm = jnp.sum(message * state[0], axis=0)
        scale = _reciprocal(norm)[None]
        after = state[0] * scale
        carry = p.leave(state, None), after, counts, finite & (norm < jnp.inf)
        return carry, behind * scale if in_logs else message * after

    def go(begin: Array) -> tuple[Array, Any]:
        zero = jnp.zeros((len(begin), *begin.shape), begin.dtype)
        carry = begin, jnp.zeros_like(begin), zero, jnp.ones(begin.shape[1:], bool)
        every = ahead.message, *p.known
        (handed, *sums), behind = lax.scan(step, carry, every, reverse=True)
        return handed, (*sums, behind)

    after, counts, finite, behind = blocks.settled(c, p, go)
    if c.num_blocks == 1:
        return behind, q.transition * counts, finite
    # the moves from block to block
    before = ahead.message[-1] * q.lik[-1] * _reciprocal(ahead.scale[-1])[None]
    before = jnp.where(last(c)[-1][None], 0, before)
    counts = counts + before[:, None] * jnp.roll(after, -1, axis=1)[None]
    return behind, q.transition[:, :, 0] * jnp.sum(counts, axis=2), jnp.all(finite, axis=0)


def _transition_counts(c: Chain, q: Potentials, ahead: Passes, after: Array) -> Array:
    """(K, K) expected moves, from lik b / n (T, K)."""
    before = ahead.message * q.lik * _reciprocal(ahead.scale)[:, None]
    if c.starts is not None or c.length is not None:
        before = jnp.where(last(c)[:, None], 0, before)
    if not fixed(c):
        return jnp.sum(before[:-1, :, None] * q.transition * after[1:, None], axis=0)
    return q.transition * sum_of_moves(before, after)


def sum_of_moves(before: Array, after: Array) -> Array:
    """(K, K) sum_t before[t] after[t+1]: 1e6 steps in float32 do not swamp the last ones."""
    num_steps, num_states = before.shape
    # shifted by what computes it; to leave out a step of each would copy both
    left, right = lax.pad(before, jnp.zeros((), before.dtype), [(1, -1, 0), (0, 0, 0)]), after
    block = 1024
    if num_steps <= 4 * block:
        return matmul(left.T, right)
    pad = ((0, -num_steps % block), (0, 0))
    left, right = (jnp.pad(a, pad).reshape(-1, block, num_states) for a in (left, right))
    return jnp.sum(jnp.einsum("bti,btj->bij", left, right, precision="highest"), axis=0)


def pairwise(whole: Chain) -> Draft:
    """(T-1, K, K) log posterior of consecutive states, nats."""
    c = blocks.cut(whole)
    q = potentials(c)
    ahead = _ahead(c, q)
    behind, norm = _and_back(c, q, ahead)
    log_lik = c.log_lik - q.log_lik[:, None]
    before = _log_message(c, q, ahead.message) + log_lik
    pairs = log_pairs(c, before, log_lik + safe_log(behind))
    plain = _plain(c, q, ahead.scale, norm)
    evidence = Passes(*ahead[:2], behind, norm)
    return Draft(lambda: blocks.join(c, pairs, whole)[1:], plain, evidence, both_ways=True)
