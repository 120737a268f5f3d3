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
from jax.custom_batching import custom_vmap

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


class Sweep(NamedTuple):
    """One pass: messages p (T, K), their scales s (T,), and the least of all p[1:] and s."""

    message: Array
    scale: Array
    least: Array


class Evidence(NamedTuple):
    """What a certificate is drawn from: the passes, and n (T,) where they meet, if they do."""

    forward: Sweep
    backward: Sweep | None = None
    norm: Array | None = None


def potentials(c: Chain) -> Potentials:
    """Leave the log domain."""

    def split(logs: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
        peak = lax.stop_gradient(jnp.max(logs, axis=axis, keepdims=True, initial=-jnp.inf))
        peak = jnp.where(jnp.isfinite(peak), peak, 0)
        return jnp.exp(logs - peak), jnp.squeeze(peak, axis)

    initial, log_initial = split(c.log_initial, (0,))
    transition, log_transition = split(c.log_transition, (-2, -1))
    lik, log_lik = split(c.log_lik, (1,))
    return Potentials(initial, transition, lik, log_initial, log_transition, log_lik)


def floor(c: Chain) -> float:
    """The smallest probability that an underflow next to it cannot change."""
    info = jnp.finfo(c.log_lik.dtype)
    return float((8 * c.log_initial.size * float(info.tiny) / float(info.eps)) ** 0.5)


def _sweep(start: Array, transition: Array, lik: Array, cut: Array | None) -> Sweep:
    """Scan p[t] = (p[t-1] lik[t-1] / s[t-1]) @ transition, s[t] = sum(p[t] lik[t]).

    Division by s[t-1] is put off until after the product, which does not wait for it.

    Args:
      start: (K, ...) p[0], and p[t] wherever cut[t]. The dots are the axes of a batch, the same
        in all arguments; a fixed transition may have them of size 1.
      transition: (K, K, ...), or (T-1, K, K, ...) whose entry t carries step t to step t+1.
      lik: (T, K, ...).
      cut: (T, ...) booleans or None.
    """
    tiny = jnp.finfo(lik.dtype).tiny
    fixed = transition.ndim == start.ndim + 1

    def move_on(joint: Array, scale: Array, move: Array, cut: Array | None) -> Array:
        into = _vector_matrix(joint, move) * (1 / jnp.maximum(scale, tiny))[None]
        return into if cut is None else jnp.where(cut[None], start, into)

    def step(carry: Any, xs: tuple[Any, ...]) -> tuple[Any, Any]:
        lik, cut, move = xs
        joint, scale = carry
        into = move_on(joint, scale, transition if fixed else move, cut)
        joint = into * lik
        scale = jnp.sum(joint, axis=0)
        return (joint, scale), (into if few else joint, scale)

    few = start.shape[0] <= _FEW
    joint = start * lik[0]
    scale = jnp.sum(joint, axis=0)
    cuts = None if cut is None else cut[1:]
    xs = (lik[1:], cuts, None if fixed else transition)
    _, (each, scales) = lax.scan(step, (joint, scale), xs)
    scales = jnp.append(scale[None], scales, axis=0)
    if few:
        into = each
    else:
        # emitting two vectors a step makes XLA compute the product twice; once more here is one
        # large product
        joints = jnp.append(joint[None], each[:-1], axis=0)[: each.shape[0]]
        axes = (0, 0, None if fixed else 0, None if cut is None else 0)
        into = jax.vmap(move_on, axes)(joints, scales[:-1], transition, cuts)
    least = jnp.minimum(jnp.min(into, axis=(0, 1), initial=1), jnp.min(scales, axis=0))
    return Sweep(jnp.append(start[None], into, axis=0), scales, least)


def _vector_matrix(vector: Array, matrix: Array) -> Array:
    if vector.ndim == 1 and vector.size > _FEW:
        return jnp.matmul(vector, matrix, precision="highest")
    return jnp.sum(vector[:, None] * matrix, axis=0)


_FEW = 8


def _sweep_any(start: Array, transition: Array, lik: Array, *cut: Array) -> Sweep:
    return _sweep(start, transition, lik, cut[0] if cut else None)


_sweep_one = custom_vmap(_sweep_any)


@_sweep_one.def_vmap
def _sweep_batch(axis_size: int, in_batched: list[Any], *args: Array) -> tuple[Sweep, Any]:
    batched = jax.tree.leaves(in_batched)
    if not any(batched):
        out = _sweep_any(*args)
        return out, jax.tree.map(lambda _: False, out)
    if args[0].shape[-1] > _FEW:
        in_axes = tuple(0 if b else None for b in batched)
        out = jax.vmap(_sweep_any, in_axes, axis_size=axis_size)(*args)
    else:
        # with few states a row of a message is too short to vectorise over, a batch is not
        lanes = [
            jnp.moveaxis(a, 0, -1) if b else a[..., None]
            for a, b in zip(args, batched, strict=True)
        ]
        lanes = [
            a if i == 1 else jnp.broadcast_to(a, (*a.shape[:-1], axis_size))
            for i, a in enumerate(lanes)
        ]
        out = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), _sweep_any(*lanes))
    return out, jax.tree.map(lambda _: True, out)


def sweep(start: Array, transition: Array, lik: Array, cut: Array | None) -> Sweep:
    """`_sweep` of one sequence, which maps a batch in the layout that suits its size."""
    return _sweep_one(start, transition, lik, *(() if cut is None else (cut,)))


def _forward(c: Chain, q: Potentials) -> Sweep:
    return sweep(q.initial, q.transition, q.lik, c.starts)


def _backward(c: Chain, q: Potentials) -> Sweep:
    """Messages b (T, K) up to a constant for each t, in the order of the pass: last step first.

    b[t] = transition @ (lik[t+1] b[t+1]) / s[t+1], 1 at ends: the forward recursion read from the
    right.
    """
    transition = jnp.swapaxes(q.transition, -2, -1)
    transition = transition if transition.ndim == 2 else jnp.flip(transition, 0)
    alone = c.starts is None and c.length is None
    ends = None if alone else jnp.flip(last(c))
    return sweep(jnp.ones_like(q.initial), transition, jnp.flip(q.lik, 0), ends)


def careful(evidence: Evidence, c: Chain) -> Array:
    """The certificate of the module's docstring: is everything drawn from the evidence exact?"""
    q = potentials(c)
    can = c.log_lik > -jnp.inf
    ahead, behind, norm = evidence
    reached = jnp.where(first(c)[:, None], c.log_initial[None] > -jnp.inf, ahead.message > 0)
    exact = _steps_kept(c, q, ahead, q.lik, reached & can, first(c))
    if behind is not None and norm is not None:
        leaves = behind.message > 0
        back = _steps_kept(
            c, q, behind, jnp.flip(q.lik, 0), leaves & jnp.flip(can, 0), jnp.flip(last(c))
        )
        possible = jnp.any(reached & can & jnp.flip(leaves, 0), axis=1)
        exact &= jnp.flip(back) & ((norm >= floor(c)) | ~possible)
    return jnp.all(exact | ~active(c.length, can.shape[0]))


def _steps_kept(
    c: Chain, q: Potentials, run: Sweep, lik: Array, possible: Array, fresh: Array
) -> Array:
    """(T,) conditions 1 and 2 at each step of a pass, in the order of the pass."""
    root = float(jnp.finfo(lik.dtype).tiny) ** 0.5
    scaled = (run.scale >= floor(c)) | ~jnp.any(possible, axis=1)
    kept = jnp.all(~possible | (run.message * lik >= root), axis=1)
    kept &= jnp.all((q.transition >= root) | (c.log_transition == -jnp.inf))
    kept = jnp.append(jnp.ones(1, bool), kept[:-1])
    kept |= jnp.all(run.message >= floor(c), axis=1)
    return scaled & (run.scale < jnp.inf) & (fresh | kept)


def _increment(c: Chain, q: Potentials, ahead: Sweep) -> Array:
    """(T,) log p(x_t | x_<t), nats."""
    moved = jnp.broadcast_to(q.log_transition, c.log_lik.shape[0] - 1)
    moved = jnp.append(jnp.zeros(1, moved.dtype), moved)
    return safe_log(ahead.scale) + q.log_lik + jnp.where(first(c), q.log_initial, moved)


def _log_predicted(c: Chain, q: Potentials, ahead: Sweep) -> Array:
    moved = jnp.broadcast_to(q.log_transition, c.log_lik.shape[0] - 1)
    moved = jnp.append(jnp.zeros(1, moved.dtype), moved)
    predicted = safe_log(ahead.message) + moved[:, None]
    return jnp.where(first(c)[:, None], c.log_initial[None], predicted)


def log_prob(c: Chain) -> tuple[Array, Array, Evidence]:
    """Log partition; whether all its steps are plainly large enough; the evidence if not."""
    q = potentials(c)
    ahead = _forward(c, q)
    return total(c, _increment(c, q, ahead)), ahead.least >= floor(c), Evidence(ahead)


def filtered(c: Chain) -> tuple[Filter, Array, Evidence]:
    """Predicted and filtered log probabilities, and the same about their certificate."""
    q = potentials(c)
    ahead = _forward(c, q)
    predicted, increment = _log_predicted(c, q, ahead), _increment(c, q, ahead)
    possible = (increment > -jnp.inf)[:, None]
    shift = jnp.where(possible, increment[:, None], 0)
    log_filtered = jnp.where(possible, predicted + c.log_lik - shift, -jnp.inf)
    return Filter(predicted, log_filtered, increment), ahead.least >= floor(c), Evidence(ahead)


class Meeting(NamedTuple):
    """Where the passes meet, for the posteriors of one and of two steps.

    before (T, K): p(z_t | x_<=t); after (T, K): lik b / n; backward (T, K): b.
    """

    before: Array
    after: Array
    backward: Array


def _meet(c: Chain, q: Potentials) -> tuple[Meeting, Array, Evidence]:
    ahead, behind = _forward(c, q), _backward(c, q)
    message = jnp.flip(behind.message, 0)
    after = q.lik * message
    norm = jnp.sum(ahead.message * after, axis=1)
    before = ahead.message * q.lik * _reciprocal(ahead.scale)[:, None]
    least = jnp.minimum(jnp.minimum(ahead.least, behind.least), jnp.min(norm))
    meeting = Meeting(before, after * _reciprocal(norm)[:, None], message)
    return meeting, least >= floor(c), Evidence(ahead, behind, norm)


def _reciprocal(x: Array) -> Array:
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)


def posterior(c: Chain, in_logs: bool) -> tuple[Posterior, Array, Evidence]:
    """Posterior marginals, summed transition counts and log partition, and so on."""
    q = potentials(c)
    meeting, plain, evidence = _meet(c, q)
    ahead = evidence.forward
    after, before = jnp.where(last(c)[:-1, None], 0, meeting.after[1:]), meeting.before[:-1]
    if c.log_transition.ndim == 2:
        counts = q.transition * _sum_of_products(before, after)
    else:
        counts = jnp.sum(before[:, :, None] * q.transition * after[:, None], axis=0)
    if in_logs:
        marginals = _log_predicted(c, q, ahead) + c.log_lik + safe_log(meeting.backward)
        marginals = log_normalize(marginals)[0]
    else:
        marginals = ahead.message * meeting.after
    return Posterior(marginals, counts, total(c, _increment(c, q, ahead))), plain, evidence


def _sum_of_products(left: Array, right: Array) -> Array:
    """left.T @ right, summed in blocks so that 1e6 steps in float32 do not swamp the last ones."""
    num_steps, num_states = left.shape
    block = 1024
    if num_steps <= 4 * block:
        return jnp.matmul(left.T, right, precision="highest")
    pad = ((0, -num_steps % block), (0, 0))
    left, right = (jnp.pad(a, pad).reshape(-1, block, num_states) for a in (left, right))
    return jnp.sum(jnp.einsum("bti,btj->bij", left, right, precision="highest"), axis=0)


def pairwise(c: Chain) -> tuple[Array, Array, Evidence]:
    """(T-1, K, K) log posterior of consecutive states, and so on."""
    q = potentials(c)
    meeting, plain, evidence = _meet(c, q)
    before = _log_predicted(c, q, evidence.forward) + c.log_lik
    after = c.log_lik + safe_log(meeting.backward)
    moves = None if c.log_transition.ndim == 2 else 0
    step = jax.vmap(pairwise_step, in_axes=(0, moves, 0, 0))
    return step(before[:-1], c.log_transition, after[1:], last(c)[:-1]), plain, evidence
