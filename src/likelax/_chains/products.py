"""The recursions in the log domain with few steps one after the other, for accelerators.

A loop on an accelerator costs about ten microseconds a trip, whatever its body computes, so the chain is
cut into blocks of a few steps that run side by side, as lanes:

  1. the transitions of each block are multiplied, step by step, into a (K, K) matrix;
  2. log2 B rounds make the products of all blocks ahead of each one, and these applied to the initial
     distribution are the messages that the blocks begin from (Hillis & Steele, 1986);
  3. the blocks run from these, as the chain would.

A smoother reads the chain from both ends: the backward pass is the forward pass of the mirrored
chain, and both run as lanes of one loop. A batch of thousands of chains fills an accelerator by itself, and
is not cut.

Products are sums of exponentials, shifted to a peak of 0, so nothing underflows and zeros are exact. In
float32 an entry of a product is right to the rounding of its distance from the peak. With more than 16
states the products of step 1 and 2 are matrix products of exponentials instead. What these lose by
underflow is noticed: each block, run step by step in logs, must hand over the message that the
next one began from, up to rounding. Where one does not, the products are made again, in logs.

What is returned is computed from the messages once more, all steps at once: no rounding
accumulates over the steps of a chain.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from likelax._chains import blocks
from likelax._chains.best_path import best_predecessors
from likelax._chains.chain import (
    FEW,
    FEW_LANES,
    Chain,
    Filter,
    Posterior,
    before_moves,
    block_axis,
    centred,
    ends,
    finite,
    first,
    fixed,
    last,
    later,
    log_pairs,
    moves_in,
    moves_out,
    total,
)
from likelax._chains.recursion import near
from likelax.numerics import log_normalize, logsumexp

# steps of a block; a block with more states costs more to multiply
_STEPS, _STEPS_MANY_STATES = 8, 16
# lanes that fill an accelerator; numbers in the products of all blocks, half a gigabyte of float32
_LANES, _NUMBERS = 2**16, 2**27
# fewer blocks than this are no gain; nor are blocks where there is room for few beside a batch, since
# a step of a product costs K times a step of a message
_LEAST_BLOCKS = 4
# matrices of a product that are multiplied one after the other
_JOINED = 8

# parts of a sum over many states: of one for each step, and of those of products
_PARTS, _PARTS_OF_PRODUCTS = 4, 8

Contraction = Callable[[Array, Array], Array]


def cut(c: Chain, steps: int | None = None) -> Chain:
    """The chain in as many blocks as pay: of so many steps, within the bounds on lanes and memory."""
    num_steps, num_states, *lanes = c.log_lik.shape
    if steps is None:
        steps = _STEPS if num_states <= FEW_LANES else _STEPS_MANY_STATES
    num_lanes = lanes[0] if lanes else 1
    room = min(_LANES // num_lanes, _NUMBERS // (num_states**2 * num_lanes))
    num_blocks = min(num_steps // steps, room)
    pays = num_blocks >= _LEAST_BLOCKS and room >= 2 * num_states
    return blocks.cut_into(c, num_blocks if pays else 1)


# --- contractions: (I, K, ...) and (K, J, ...) to (I, J, ...) over k ------------------------------


def log_sums(a: Array, b: Array) -> Array:
    """log sum_k exp(a[i, k] + b[k, j])."""
    if a.shape[1] <= FEW:
        return sum_of_exp(_terms(a, b))
    if a.shape[0] == 1:
        return logsumexp(a[:, :, None] + b[None], axis=1)
    return _log_sums_each(a, b[None], _PARTS_OF_PRODUCTS)


def _log_sums_each(a: Array, b: Array, num_parts: int) -> Array:
    """(I, J, ...) log sum_k exp(a[i, k] + b[i, k, j]) of a (I, K, ...) and b (1 or I, K, J, ...)."""
    num_states = a.shape[1]
    if num_states <= FEW_LANES:
        return logsumexp(a[:, :, None] + b, axis=1)

    # in a few parts: over one reduction of all, XLA's compiler for GPUs takes minutes
    def parts(x: Array, value: float) -> Array:
        pad = [(0, -num_states % num_parts if n == 1 else 0) for n in range(x.ndim)]
        x = jnp.pad(x, pad, constant_values=value)
        return jnp.moveaxis(x.reshape(x.shape[0], num_parts, -1, *x.shape[2:]), 1, 0)

    def add(logs: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        terms = [part[0][:, k, None] + part[1][:, k] for k in range(part[0].shape[1])]
        return sum_of_exp([logs, *terms]), None

    shape = jnp.broadcast_shapes(a[:, :1].shape, b[:, 0].shape)
    begin = jnp.full(shape, -jnp.inf, a.dtype)
    return lax.scan(add, begin, (parts(a, -jnp.inf), parts(b, 0.0)))[0]


def sum_of_exp(terms: list[Array]) -> Array:
    """log sum_k exp(terms[k]), written out, so that it is one kernel."""
    peak = lax.stop_gradient(functools.reduce(jnp.maximum, terms))
    shift = finite(peak)
    shares = functools.reduce(jnp.add, [jnp.exp(t - shift) for t in terms])
    # the sum is at least 1 unless every term is zero, and then the peak makes the result -inf
    return jnp.log(jnp.maximum(shares, 0.5)) + peak


def _best(a: Array, b: Array) -> Array:
    """max_k a[i, k] + b[k, j]."""
    if a.shape[1] > FEW:
        return jnp.max(a[:, :, None] + b[None], axis=1)
    return functools.reduce(jnp.maximum, _terms(a, b))


def _terms(a: Array, b: Array) -> list[Array]:
    # written out, so that a step is one kernel: a reduction would be a kernel of its own
    def one(x: Array, k: int, axis: int) -> Array:
        return lax.slice_in_dim(x, k, k + 1, axis=axis)

    return [one(a, k, 1) + one(b, k, 0) for k in range(a.shape[1])]


def _dots(a: Array, b: Array) -> Array:
    """As `log_sums` by a matrix product, where nothing that matters underflows."""
    rows, columns = (finite(jnp.max(x, axis=1 - n, keepdims=True)) for n, x in enumerate((a, b)))
    product = jnp.einsum(
        "ik...,kj...->ij...", jnp.exp(a - rows), jnp.exp(b - columns), precision="highest"
    )
    return jnp.log(product) + rows + columns


def _identity(log_lik: Array, lanes: tuple[int, ...]) -> Array:
    """(K, K, lanes) the log of the identity, for likelihoods (S, K, ...)."""
    square = jnp.log(jnp.eye(log_lik.shape[1], dtype=log_lik.dtype))
    square = square.reshape(*square.shape, *(1,) * len(lanes))
    return jnp.broadcast_to(square, (*square.shape[:2], *lanes))


def _shifted(m: Array) -> Array:
    """(I, K, ...) with a peak of 0."""
    return m - finite(lax.stop_gradient(jnp.max(m, axis=(0, 1), keepdims=True)))


# --- messages -------------------------------------------------------------------------------------


class _Lanes(NamedTuple):
    """What messages are computed from; D counts directions, the dots are blocks and lanes.

    begin (K, D, ...) the first message, and that of every step at which cut (S, D, ...) holds;
    lik (S, K, D, ...); moves out of the steps, (1 or S, K, K, D, ...); several: whether there is more
    than one sequence.
    """

    begin: Array
    cut: Array | None
    lik: Array
    moves: Array
    num_blocks: int
    several: bool


def _lanes(c: Chain, both_ways: bool) -> _Lanes:
    """The chain, and its mirror image beside it if asked."""
    begin, lik, moves = [c.log_initial], [c.log_lik], [moves_out(c)]
    cut = [] if c.starts is None else [c.starts]
    if both_ways:
        begin.append(jnp.zeros_like(c.log_initial))
        end = ends(c)
        if end is not None:
            end = _mirrored(c, end)
            cut = [jnp.zeros_like(end) if c.starts is None else c.starts, end]
        lik.append(_mirrored(c, c.log_lik))
        back = moves_in(c) if fixed(c) else _mirrored(c, moves_in(c))
        moves.append(jnp.swapaxes(back, 1, 2))
    return _Lanes(
        jnp.stack(begin, axis=1),
        jnp.stack(cut, axis=1) if cut else None,
        jnp.stack(lik, axis=2),
        jnp.stack(moves, axis=3),
        c.num_blocks,
        c.starts is not None,
    )


def _mirrored(c: Chain, x: Array) -> Array:
    """(S, ...) with the last step of the chain first."""
    return jnp.flip(x, 0 if c.num_blocks == 1 else (0, block_axis(c, x)))


def _walk(p: _Lanes, begin: Array, contract: Contraction, keep: bool) -> tuple[Array, Any]:
    """(message behind the last step, messages to the steps (S, K, D, ...) if kept).

    Args:
      p: the lanes.
      begin: (I, K, D, ...) the message to the first step; I is K for products, else 1.
      contract: how a message leaves a step.
      keep: whether messages are kept; I must be 1.
    """

    def step(message: Array, here: tuple[Any, ...]) -> tuple[Array, Any]:
        lik, cut, move = here
        move = p.moves[0] if move is None else move
        if cut is not None:
            message = jnp.where(cut[None, None], p.begin[None], message)
        after = _shifted(contract(message + lik[None], move))
        return after, message[0] if keep else None

    one_move = len(p.moves) < len(p.lik)
    return lax.scan(step, begin, (p.lik, p.cut, None if one_move else p.moves))


def _beginnings(p: _Lanes, contract: Contraction) -> Array:
    """(1, K, D, B, ...) the messages to the first steps of the blocks, by products."""
    identity = _identity(p.lik, p.lik.shape[2:])
    each, _ = _walk(p, identity, contract, keep=False)
    cut = jnp.any(p.cut, axis=0)[None, None] if p.several and p.cut is not None else None
    before = _prefixes(each, identity, cut, 3, lambda a, b: _shifted(contract(a, b)))
    start = jnp.broadcast_to(p.begin[None], (1, *p.lik.shape[1:]))
    return _hand_over(p, _shifted(contract(start, before)))


def _hand_over(p: _Lanes, message: Array) -> Array:
    """(1, K, D, B, ...) the message behind each block given to the next; the first has its own."""
    start = jnp.broadcast_to(_shifted(p.begin[None]), message[:, :, :, :1].shape)
    return jnp.concatenate([start, message[:, :, :, :-1]], axis=3)


def _prefixes(
    each: Array,
    identity: Array,
    cut: Array | None,
    axis: int,
    join: Callable[[Array, Array], Array],
) -> Array:
    """The products of all that comes before along an axis and of each itself, in log2 rounds.

    Args:
      each: what is multiplied.
      identity: of the same shape, what changes nothing.
      cut: booleans with as many axes, where a sequence begins within one of them. Its products do not
        depend on what comes before, even if that is impossible. None: there is none.
      axis: along which they are multiplied.
      join: (earlier ones, later ones) -> their products.
    """
    size = each.shape[axis]

    def double(n: Array, state: tuple[Array, Array | None]) -> tuple[Array, Array | None]:
        begin = size - lax.shift_left(jnp.ones_like(n), n)

        def earlier(identity: Array, x: Array) -> Array:
            both = jnp.concatenate([identity, x], axis)
            return lax.dynamic_slice_in_dim(both, begin, size, axis)

        products, cut = state
        joined = join(earlier(identity, products), products)
        if cut is None:
            return joined, None
        return jnp.where(cut, products, joined), cut | earlier(jnp.zeros_like(cut), cut)

    return lax.fori_loop(0, (size - 1).bit_length(), double, (each, cut))[0]


def _messages(c: Chain, both_ways: bool) -> tuple[Array, Array]:
    """(S, K, ...) forward and backward messages, up to a constant for each step."""
    p = _lanes(c, both_ways)

    def from_products(contract: Contraction) -> tuple[Array, Array, Array]:
        begun = _beginnings(p, contract)
        handed, messages = _walk(p, begun, log_sums, keep=True)
        return begun, _hand_over(p, handed), messages

    if c.num_blocks == 1:
        begin = jnp.broadcast_to(p.begin[None], (1, *p.lik.shape[1:]))
        _, messages = _walk(p, begin, log_sums, keep=True)
    elif c.log_initial.shape[0] <= FEW_LANES:
        *_, messages = from_products(log_sums)
    else:
        begun, handed, quick = from_products(_dots)
        right = near(handed, begun, 64)
        messages = lax.cond(right, lambda: quick, lambda: from_products(log_sums)[2])
    behind = _mirrored(c, messages[:, :, 1]) if both_ways else messages[:, :, 0]
    return messages[:, :, 0], behind


def product(whole: Chain, moved: Array) -> Array:
    """(K, K) log p(x, z_last = j | z_first = i) up to a constant: every step of a chain, multiplied.

    Args:
      whole: a chain without starts and with a fixed transition.
      moved: (T,) booleans: whether the chain moves into the step; elsewhere its state stays.
    """
    c, _ = centred(cut(whole))
    moved = moved if c.num_blocks == 1 else blocks.split(moved, c.num_blocks, 1)
    num_states = c.log_initial.shape[0]

    def step(message: Array, here: tuple[Array, Array]) -> tuple[Array, None]:
        moved, lik = here
        after = log_sums(message, c.log_transition)
        return _shifted(jnp.where(moved[None, None], after, message) + lik[None]), None

    def join(message: Array, ahead: Array) -> tuple[Array, None]:
        return _shifted(log_sums(message, ahead)), None

    found, _ = lax.scan(step, _identity(c.log_lik, c.log_lik.shape[2:]), (moved, c.log_lik))
    # eight neighbours become one, until one is left
    while found.ndim > 2:
        missing = -found.shape[2] % _JOINED
        found = jnp.concatenate([found, _identity(c.log_lik, (missing,))], axis=2)
        each = jnp.moveaxis(found.reshape(num_states, num_states, -1, _JOINED), 3, 0)
        found, _ = lax.scan(join, _identity(c.log_lik, each.shape[3:]), each)
        found = found[:, :, 0] if found.shape[2] == 1 else found
    return found


# --- answers --------------------------------------------------------------------------------------


def _filter(c: Chain, peaks: Array, message: Array) -> Filter:
    """The forward posteriors of a centred chain, from messages that are right up to constants."""
    filtered = log_normalize(message + c.log_lik, axis=1)[0]
    moved = _log_sums_each(later(c, filtered, -1), moves_in(c), _PARTS)
    predicted = jnp.where(first(c)[:, None], c.log_initial[None], moved)
    filtered, increment = log_normalize(predicted + c.log_lik, axis=1)
    increment = increment + peaks
    return Filter(predicted, filtered, increment, total(c, increment))


def _transition_counts(c: Chain, run: Filter, behind: Array) -> Array:
    """(K, K) expected moves.

    log p(z_t-1 = i, z_t = j | x) is before[t, i] + transition[i, j] + ahead[t, j].
    """
    before, ahead = before_moves(c, run.filtered), c.log_lik + behind
    ahead = ahead - finite(logsumexp(run.predicted + ahead, axis=1, keepdims=True))
    num_states, moves = before.shape[1], moves_in(c)
    if num_states <= FEW_LANES:
        # a column at a time: XLA's sums on a CPU are wrong where both operands are broadcast
        columns = [
            jnp.sum(jnp.exp(before + (moves[:, :, j] + ahead[:, None, j])), axis=0)
            for j in range(num_states)
        ]
        counts = jnp.stack(columns, axis=1)
    else:

        def add(counts: Array, here: tuple[Any, ...]) -> tuple[Array, None]:
            before, ahead, move = here
            move = moves[0] if move is None else move
            return counts + jnp.exp(before[:, None] + move + ahead[None]), None

        zero = jnp.zeros((num_states, num_states, *before.shape[2:]), before.dtype)
        counts, _ = lax.scan(add, zero, (before, ahead, None if fixed(c) else moves))
    return counts if c.num_blocks == 1 else jnp.sum(counts, axis=2)


def log_prob(whole: Chain) -> Array:
    """Scalar, nats: log p(x)."""
    c, peaks = centred(cut(whole))
    return _filter(c, peaks, _messages(c, both_ways=False)[0]).log_prob


def filtered(whole: Chain) -> Filter:
    """Forward posteriors."""
    c, peaks = centred(cut(whole))
    run = _filter(c, peaks, _messages(c, both_ways=False)[0])
    steps = [blocks.join(c, x, whole) for x in run[:3]]
    return Filter(steps[0], steps[1], steps[2], run.log_prob)


def posterior(whole: Chain, in_logs: bool) -> Posterior:
    """Marginals, summed transition counts and log p(x)."""
    c, peaks = centred(cut(whole))
    message, behind = _messages(c, both_ways=True)
    run = _filter(c, peaks, message)
    marginals = log_normalize(run.filtered + behind, axis=1)[0]
    marginals = blocks.join(c, marginals if in_logs else jnp.exp(marginals), whole)
    counts = _transition_counts(c, run, behind)
    return Posterior(marginals, counts, run.log_prob)


def pairwise(whole: Chain) -> Array:
    """(T-1, K, K) nats: log posterior of consecutive states."""
    c, _ = centred(cut(whole))
    message, behind = _messages(c, both_ways=True)
    return blocks.join(c, log_pairs(c, message + c.log_lik, c.log_lik + behind), whole)[1:]


def best_path(whole: Chain) -> tuple[Array, Array]:
    """(path (T,) int32, -1 where there is none; its score, nats)."""
    c = cut(whole, _STEPS)
    p = _lanes(c, both_ways=False)
    begin = jnp.broadcast_to(p.begin[None], (1, *p.lik.shape[1:]))
    if c.num_blocks > 1:
        begin = _beginnings(p, _best)
    message = _walk(p, begin, _best, keep=True)[1][:, :, 0]
    scores = message + c.log_lik
    scores = scores - finite(jnp.max(scores, axis=1, keepdims=True))
    into = jnp.max(later(c, scores, -1)[:, :, None] + moves_in(c), axis=1)
    into = jnp.where(first(c)[:, None], c.log_initial[None], into)
    gain = jnp.max(into + c.log_lik, axis=1)
    return blocks.join(c, _choices(c, scores), whole), total(c, gain)


def _choices(c: Chain, scores: Array) -> Array:
    """(S, ...) the best path from its last state back.

    A block is followed back from each state that its successor may begin in: these maps, composed,
    say which of them it is.
    """
    before, alone = best_predecessors(c, scores)
    num_states = scores.shape[1]
    num_ends = num_states if c.num_blocks > 1 else 1
    every = jnp.arange(num_ends, dtype=before.dtype).reshape(-1, *(1,) * (alone.ndim - 1))
    every = jnp.broadcast_to(every, (num_ends, *alone.shape[1:]))

    def step(after: Array, here: tuple[Array, ...]) -> tuple[Array, Array]:
        before, alone, end = here
        state = jnp.where(end, alone, _pick(before, after))
        return state, state

    maps, states = lax.scan(step, every, (before, alone, last(c)), reverse=True)
    if c.num_blocks == 1:
        return states[:, 0].astype(jnp.int32)
    end = None if c.starts is None else ends(c)
    cut = None if end is None else jnp.flip(jnp.any(end, axis=0)[None], 1)
    behind = _prefixes(jnp.flip(maps, 1), every, cut, 1, lambda after, one: _pick(one, after))
    # the last block ends where the chain does, so all its entries are one
    behind = jnp.flip(behind, 1)[0]
    ahead = jnp.concatenate([behind[1:], jnp.zeros_like(behind[:1])])
    states = jnp.moveaxis(states, 1, 0)
    path = _pick(states, jnp.broadcast_to(ahead, (1, *states.shape[1:])))[0]
    if end is not None:
        # up to the last end within a block nothing depends on the next one
        path = jnp.where(lax.cummax(end.astype(path.dtype), reverse=True) > 0, states[0], path)
    return path.astype(jnp.int32)


def _pick(table: Array, at: Array) -> Array:
    """(E, ...) table[at] of a table (K, ...); -1 where at is -1."""
    if table.shape[0] > FEW_LANES:
        return jnp.where(at < 0, -1, jnp.take_along_axis(table, jnp.maximum(at, 0), axis=0))
    # a gather would not run along lanes
    out = jnp.full_like(at, -1)
    for k in range(table.shape[0]):
        out = jnp.where(at == k, table[k], out)
    return out
