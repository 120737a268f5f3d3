"""The recursions in linear space, rescaled at every step, with a certificate of their exactness.

Probabilities are kept as they are and divided by their sum, so a step costs K^2 multiplications
and no exponential. What is far behind the leader can underflow to zero. That is harmless where the
lost mass could not have shown in the last bit of anything computed from it, and the certificate
holds exactly then.

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
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from likelax.hmm.chain import Chain, Filter, Posterior, active, first, last, total
from likelax.hmm.logspace import pairwise_step
from likelax.numerics import log_normalize, safe_log


class Potentials(NamedTuple):
    """A chain in linear space, each part divided by its largest entry, whose log is in `log_*`.

    initial (K,), transition (K, K) or (T-1, K, K), lik (T, K); log_initial scalar,
    log_transition () or (T-1,), log_lik (T,).
    """

    initial: Array
    transition: Array
    lik: Array
    log_initial: Array
    log_transition: Array
    log_lik: Array


class Forward(NamedTuple):
    """predicted (T, K): p[t, j]; scale (T,): s[t]; increment (T,): log p(x_t | x_<t), nats."""

    predicted: Array
    scale: Array
    increment: Array


def potentials(c: Chain) -> Potentials:
    """Leave the log domain."""

    def split(logs: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
        peak = lax.stop_gradient(jnp.max(logs, axis=axis, keepdims=True))
        peak = jnp.where(jnp.isfinite(peak), peak, 0)
        return jnp.exp(logs - peak), jnp.squeeze(peak, axis)

    initial, log_initial = split(c.log_initial, (0,))
    transition, log_transition = split(c.log_transition, (-2, -1))
    lik, log_lik = split(c.log_lik, (1,))
    return Potentials(initial, transition, lik, log_initial, log_transition, log_lik)


def floor(dtype: Any, num_states: int) -> float:
    """The smallest probability that an underflow next to it cannot change."""
    info = jnp.finfo(dtype)
    return float((8 * num_states * float(info.tiny) / float(info.eps)) ** 0.5)


def sweep(start: Array, transition: Array, lik: Array, cut: Array | None) -> tuple[Array, Array]:
    """Scan p[t] = (p[t-1] lik[t-1] / s[t-1]) @ transition, s[t] = sum(p[t] lik[t]).

    Division by s[t-1] is put off until after the product, which does not wait for it.

    Args:
      start: (K,) p[0], and p[t] wherever cut[t].
      transition: (K, K), or (T-1, K, K) whose entry t carries step t to step t+1.
      lik: (T, K).
      cut: (T,) booleans or None.
    Returns:
      p (T, K), s (T,).
    """
    tiny = jnp.finfo(lik.dtype).tiny
    fixed = transition.ndim == 2

    def step(carry: tuple[Array, Array], xs: tuple[Any, ...]) -> tuple[Any, Any]:
        joint, scale = carry
        lik, cut, move = xs
        into = _vector_matrix(joint, transition if fixed else move)
        into = into * (1 / jnp.maximum(scale, tiny))
        into = into if cut is None else jnp.where(cut, start, into)
        joint = into * lik
        return (joint, jnp.sum(joint)), (into, jnp.sum(joint))

    joint = start * lik[0]
    xs = (lik[1:], None if cut is None else cut[1:], None if fixed else transition)
    _, (into, scale) = lax.scan(step, (joint, jnp.sum(joint)), xs)
    return jnp.append(start[None], into, axis=0), jnp.append(jnp.sum(joint), scale)


def _vector_matrix(vector: Array, matrix: Array) -> Array:
    if vector.shape[0] > 16:
        return vector @ matrix
    return jnp.sum(vector[:, None] * matrix, axis=0)


def forward(c: Chain, q: Potentials) -> tuple[Forward, Array]:
    """The forward pass and whether it is certified."""
    predicted, scale = sweep(q.initial, q.transition, q.lik, c.starts)
    num_steps, begins = c.log_lik.shape[0], first(c)
    moved = jnp.append(jnp.zeros(1, scale.dtype), jnp.broadcast_to(q.log_transition, num_steps - 1))
    shift = q.log_lik + jnp.where(begins, q.log_initial, moved)
    possible = jnp.where(begins[:, None], c.log_initial[None] > -jnp.inf, predicted > 0)
    possible &= c.log_lik > -jnp.inf
    exact = _exact(predicted, scale, q.lik, possible, begins, _transition_kept(c, q))
    exact |= ~active(c.length, num_steps)
    return Forward(predicted, scale, safe_log(scale) + shift), jnp.all(exact)


def backward(c: Chain, q: Potentials) -> tuple[Array, Array]:
    """(T, K) messages b[t] up to a constant for each t, 1 at ends; and whether they are certified.

    b[t] = transition @ (lik[t+1] b[t+1]) / s[t+1] is the forward recursion read from the right.
    """
    ones = jnp.ones_like(q.initial)
    ends, lik = jnp.flip(last(c)), jnp.flip(q.lik, 0)
    transition = jnp.swapaxes(q.transition, -2, -1)
    transition = transition if transition.ndim == 2 else jnp.flip(transition, 0)
    message, scale = sweep(ones, transition, lik, ends)
    possible = (message > 0) & (jnp.flip(c.log_lik, 0) > -jnp.inf)
    exact = _exact(message, scale, lik, possible, ends, _transition_kept(c, q))
    exact |= ~jnp.flip(active(c.length, lik.shape[0]))
    return jnp.flip(message, 0), jnp.all(exact)


def _transition_kept(c: Chain, q: Potentials) -> Array:
    root = float(jnp.finfo(q.lik.dtype).tiny) ** 0.5
    return jnp.all((q.transition >= root) | (c.log_transition == -jnp.inf))


def _exact(
    message: Array, scale: Array, lik: Array, possible: Array, fresh: Array, transition_kept: Array
) -> Array:
    """(T,) the certificate of each step of a pass, in the order of the pass."""
    least = floor(scale.dtype, message.shape[1])
    root = float(jnp.finfo(scale.dtype).tiny) ** 0.5
    scaled = (scale >= least) | ~jnp.any(possible, axis=1)
    kept = jnp.all(~possible | (message * lik >= root), axis=1) & transition_kept
    kept = jnp.append(jnp.ones(1, bool), kept[:-1])
    return scaled & (scale < jnp.inf) & (fresh | kept | jnp.all(message >= least, axis=1))


def log_prob(c: Chain) -> tuple[Array, Array]:
    """Log partition of the chain, and whether it is certified."""
    ahead, ok = forward(c, potentials(c))
    return total(c, ahead.increment), ok


def filtered(c: Chain) -> tuple[Filter, Array]:
    """Predicted and filtered log probabilities, and whether they are certified."""
    q = potentials(c)
    ahead, ok = forward(c, q)
    predicted = _log_predicted(c, q, ahead)
    possible = (ahead.increment > -jnp.inf)[:, None]
    increment = jnp.where(possible, ahead.increment[:, None], 0)
    log_filtered = jnp.where(possible, predicted + c.log_lik - increment, -jnp.inf)
    return Filter(predicted, log_filtered, ahead.increment), ok


def _log_predicted(c: Chain, q: Potentials, ahead: Forward) -> Array:
    moved = jnp.broadcast_to(q.log_transition, c.log_lik.shape[0] - 1)
    moved = jnp.append(jnp.zeros(1, moved.dtype), moved)
    predicted = safe_log(ahead.predicted) + moved[:, None]
    return jnp.where(first(c)[:, None], c.log_initial[None], predicted)


class Meeting(NamedTuple):
    """Where the passes meet, for the posteriors of one and of two steps.

    before (T, K): p(z_t | x_<=t); after (T, K): lik b / n; norm (T,): n; backward (T, K): b.
    """

    before: Array
    after: Array
    norm: Array
    backward: Array


def _meet(c: Chain, q: Potentials) -> tuple[Forward, Meeting, Array]:
    ahead, ahead_ok = forward(c, q)
    behind, behind_ok = backward(c, q)
    after = q.lik * behind
    norm = jnp.sum(ahead.predicted * after, axis=1)
    starts = jnp.where(first(c)[:, None], c.log_initial[None] > -jnp.inf, ahead.predicted > 0)
    possible = jnp.any(starts & (c.log_lik > -jnp.inf) & (behind > 0), axis=1)
    exact = (norm >= floor(norm.dtype, behind.shape[1])) | ~possible
    exact |= ~active(c.length, norm.size)
    before = ahead.predicted * q.lik * _reciprocal(ahead.scale)[:, None]
    meeting = Meeting(before, after * _reciprocal(norm)[:, None], norm, behind)
    return ahead, meeting, ahead_ok & behind_ok & jnp.all(exact)


def _reciprocal(x: Array) -> Array:
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)


def posterior(c: Chain, in_logs: bool) -> tuple[Posterior, Array]:
    """Posterior marginals, summed transition counts and log partition; certified or not."""
    q = potentials(c)
    ahead, meeting, ok = _meet(c, q)
    after = jnp.where(last(c)[:-1, None], 0, meeting.after[1:])
    before = meeting.before[:-1]
    if c.log_transition.ndim == 2:
        counts = q.transition * _sum_of_products(before, after)
    else:
        counts = jnp.sum(before[:, :, None] * q.transition * after[:, None], axis=0)
    if in_logs:
        marginals = _log_predicted(c, q, ahead) + c.log_lik + safe_log(meeting.backward)
        marginals = log_normalize(marginals)[0]
    else:
        marginals = ahead.predicted * meeting.after
    return Posterior(marginals, counts, total(c, ahead.increment)), ok


def _sum_of_products(left: Array, right: Array) -> Array:
    """left.T @ right, summed in blocks so that 1e6 steps in float32 do not swamp the last ones."""
    num_steps, num_states = left.shape
    block = 1024
    if num_steps <= 4 * block:
        return left.T @ right
    pad = ((0, -num_steps % block), (0, 0))
    left, right = (jnp.pad(a, pad).reshape(-1, block, num_states) for a in (left, right))
    return jnp.sum(jnp.einsum("bti,btj->bij", left, right), axis=0)


def pairwise(c: Chain) -> tuple[Array, Array]:
    """(T-1, K, K) log posterior of consecutive states, and whether it is certified."""
    q = potentials(c)
    ahead, meeting, ok = _meet(c, q)
    before = _log_predicted(c, q, ahead) + c.log_lik
    after = c.log_lik + safe_log(meeting.backward)
    moves = None if c.log_transition.ndim == 2 else 0
    step = jax.vmap(pairwise_step, in_axes=(0, moves, 0, 0))
    return step(before[:-1], c.log_transition, after[1:], last(c)[:-1]), ok
