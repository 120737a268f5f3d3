"""The chain on one GPU: today's programs, forms that could replace them, dynamax's, one line each.

    PYTHONPATH=src python3 benchmarks/gpu_chain.py --out chain.json            at most six minutes
    PYTHONPATH=src .venv/bin/python benchmarks/gpu_chain.py --tiny             here, on a CPU

Rows stand in the order of what they decide, and the file is written anew after each. A wave of rows
is traced one by one, compiled side by side (`--jobs`), then run one by one with nothing beside it.
Errors are those of float32 against float64 in NumPy: `lp` of log p(x), nats; `rel` the same,
relative; `prob` the largest of a probability; `counts` of the expected moves summed, relative;
`joint` how far the path found scores below the best, nats.

A block's message is `p` = p(z_t | x_<t) up to a constant, as the step t finds it, so all steps are
the same: p' = (p lik_t) A. `lanes` are chains or blocks of chains, on the last axis.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import json
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import likelax as lx
from likelax import hmm
from likelax._chains import chain

BEGAN = time.perf_counter()
BEST = lax.Precision.HIGHEST
SIZES = {  # batch, steps, states
    "T1e6 K4": (None, 10**6, 4),
    "T65536 K4": (None, 65536, 4),
    "T1e5 K4": (None, 10**5, 4),
    "T1e5 K16": (None, 10**5, 16),
    "T1e4 K64": (None, 10**4, 64),
    "T1e5 K64": (None, 10**5, 64),
    "B1e4 T1e3 K8": (10**4, 1000, 8),
    "B100 T1e3 K4": (100, 1000, 4),
    "B2500 T100 K2": (2500, 100, 2),
}
TINY = {10**6: 640, 65536: 256, 10**5: 400, 10**4: 200, 1000: 100, 100: 20, 64: 20}
options = argparse.Namespace(tiny=False)


def few(number: int) -> int:
    """A number of rows, or a small one under --tiny."""
    return min(number, 6) if options.tiny else number


def shape(size: str) -> tuple[int | None, int, int]:
    batch, steps, states = SIZES[size]
    if options.tiny:
        return batch and few(batch), TINY[steps], TINY.get(states, states)
    return batch, steps, states


# --- data and the answers in float64 --------------------------------------------------------------


@functools.cache
def data(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(initial, transition, log_lik) of a chain that mixes; log_lik (T, K) or (B, T, K)."""
    batch, steps, states = shape(size)
    rng = np.random.default_rng(0)
    initial = rng.dirichlet(np.ones(states)).astype(np.float32)
    transition = rng.dirichlet(np.ones(states), states).astype(np.float32)
    whole = (steps, states) if batch is None else (batch, steps, states)
    return initial, transition, rng.standard_normal(whole, np.float32)


@functools.cache
def arguments(size: str) -> tuple[jax.Array, ...]:
    """Logs of them on the device."""
    initial, transition, log_lik = data(size)
    return jnp.log(initial), jnp.log(transition), jnp.asarray(log_lik)


def forward64(initial: Any, transition: Any, log_lik: Any, keep: int = 0) -> tuple[Any, Any]:
    """(log p(x) (B,), the first messages (keep, B, K)) of log_lik (B, T, K), step by step."""
    initial, transition = (
        np.float64(a) / np.float64(a).sum(-1, keepdims=True) for a in (initial, transition)
    )
    lik = np.exp(np.moveaxis(np.float64(log_lik), 1, 0))
    message = np.broadcast_to(initial, lik.shape[1:])
    log_prob, kept = np.zeros(lik.shape[1]), np.empty((keep, *lik.shape[1:]))
    for t, here in enumerate(lik):
        if t < keep:
            kept[t] = message
        message = message * here
        if t % 8 == 7 or t == len(lik) - 1:
            scale = message.sum(-1, keepdims=True)
            log_prob += np.log(scale[:, 0])
            message = message / scale
        message = message @ transition
    return log_prob, kept


class Reference(NamedTuple):
    """Of the first rows, and of the first steps where states are asked for."""

    log_prob: Any
    filtered: Any
    marginals: Any


@functools.cache
def reference(size: str) -> Reference:
    """Forward and back in float64; back from a few thousand steps behind the last that is compared."""
    initial, transition, log_lik = data(size)
    log_lik = log_lik[:100] if log_lik.ndim == 3 else log_lik[None]
    keep = min(log_lik.shape[1], 65536 + 4096)
    log_prob, message = forward64(initial, transition, log_lik, keep)
    lik = np.exp(np.moveaxis(np.float64(log_lik[:, :keep]), 1, 0))
    behind, marginals = np.ones(lik.shape[1:]), np.empty_like(lik)
    for t in reversed(range(keep)):
        behind = behind * lik[t]
        marginals[t] = message[t] * behind
        behind = behind @ np.float64(transition).T
        behind /= behind.sum(-1, keepdims=True)

    def unit(x: Any) -> Any:
        return np.moveaxis(x / x.sum(-1, keepdims=True), 0, 1)[:, :65536]

    return Reference(log_prob, unit(message * lik), unit(marginals))


@functools.cache
def best_joint(size: str) -> Any:
    """(B,) log joint of the best path, float64; None where that would take long."""
    initial, transition, log_lik = data(size)
    log_lik = log_lik[:100] if log_lik.ndim == 3 else log_lik[None]
    if log_lik.shape[1] > 131072:
        return None
    moves = np.log(np.float64(transition))
    score = np.log(np.float64(initial)) + np.float64(log_lik[:, 0])
    for t in range(1, log_lik.shape[1]):
        score = (score[:, :, None] + moves).max(1) + log_lik[:, t]
    return score.max(-1)


def joint(size: str, path: Any) -> Any:
    """(B,) log joint of paths, float64."""
    initial, transition, log_lik = data(size)
    log_lik = log_lik if log_lik.ndim == 3 else log_lik[None]
    path = np.asarray(path).reshape(log_lik.shape[0], -1)[:100]
    emitted = np.take_along_axis(log_lik[:100], path[..., None], -1)[..., 0]
    moves = np.log(np.float64(transition))[path[:, :-1], path[:, 1:]]
    first = np.log(np.float64(initial))[path[:, 0]]
    return first + moves.sum(1) + np.float64(emitted).sum(1)


seen_joints: dict[str, Any] = {}


def check(kind: str, size: str, out: Any) -> dict[str, float]:
    """Errors of an answer of one kind."""
    if kind == "viterbi":
        found = joint(size, out)
        best = best_joint(size)
        best = seen_joints.setdefault(size, found) if best is None else best
        return {"joint": float(np.max(np.abs(best - found)))}
    if kind == "gradient":
        total, (_, moves, marginals) = out
        return check("smoother", size, (jnp.log(marginals), moves, total))
    want = reference(size)
    batch, steps, states = shape(size)
    errors, log_prob = {}, np.float64(out if kind == "log_prob" else out[-1]).reshape(-1)
    if log_prob.size == (
        batch or 1
    ):  # else a sum over the rows, whose terms are right where these are
        off = np.abs(log_prob[:100] - want.log_prob)
        errors = {"lp": float(off.max()), "rel": float((off / np.abs(want.log_prob)).max())}
    if kind in ("filter", "smoother"):
        probs = want.filtered if kind == "filter" else want.marginals
        got = np.exp(
            np.asarray(out[0]).reshape(-1, steps, states)[: probs.shape[0], : probs.shape[1]]
        )
        errors["prob"] = float(np.max(np.abs(got - probs)))
    if kind == "smoother":
        moves = (batch or 1) * (steps - 1)
        errors["counts"] = float(abs(np.float64(out[1]).sum() / moves - 1))
    return errors


# --- sums with the error carried ------------------------------------------------------------------


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(a + b rounded, what the rounding lost)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def tree_sum(x: jax.Array) -> jax.Array:
    """Sum over the first axis: the halves added, with what is lost, until one row is left."""
    size = 1 << (x.shape[0] - 1).bit_length()
    x = jnp.pad(x, ((0, size - x.shape[0]), *((0, 0) for _ in x.shape[1:])))
    lost = jnp.zeros_like(x)
    while size > 1:
        size //= 2
        x, error = two_sum(x[:size], x[size:])
        lost = lost[:size] + lost[size:] + error
    return x[0] + lost[0]


def reduce_sum(x: jax.Array) -> jax.Array:
    """The same as one reduction of pairs (sum, lost), in XLA's own tree."""

    def join(a: Any, b: Any) -> Any:
        s, error = two_sum(a[0], b[0])
        return s, a[1] + b[1] + error

    zero = jnp.zeros((), x.dtype)
    total, lost = lax.reduce((x, jnp.zeros_like(x)), (zero, zero), join, (0,))
    return total + lost


def tree_total(c: chain.Chain, increment: jax.Array) -> jax.Array:
    """What `chain.total` returns."""
    (terms,) = chain.blank(c, increment, value=0)
    return tree_sum(terms.reshape(-1, *terms.shape[2:]) if c.num_blocks > 1 else terms)


@contextlib.contextmanager
def with_tree() -> Iterator[None]:
    """The library with `tree_total` for `chain.total`."""
    users = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("likelax.") and getattr(module, "total", None) is chain.total
    ]
    jax.clear_caches()
    with contextlib.ExitStack() as stack:
        for module in users:
            stack.enter_context(mock.patch.object(module, "total", tree_total))
        yield
    jax.clear_caches()


# --- few states: lanes and blocks, (K, ..., N) with lanes last ------------------------------------


def over_states(join: Callable[..., Any], x: jax.Array) -> jax.Array:
    """Reduce the first axis as one expression, which a step's other work can be fused with."""
    return functools.reduce(join, [x[i] for i in range(x.shape[0])])


def vector_matrix(v: jax.Array, matrix: jax.Array, gemm: bool = False) -> jax.Array:
    """(K, N) of v (K, N) and one matrix (K, K)."""
    if gemm:
        return jnp.matmul(matrix.T, v, precision=BEST)
    return functools.reduce(jnp.add, [v[i] * matrix[i][:, None] for i in range(v.shape[0])])


def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix products of (K, K, ...)."""
    return functools.reduce(jnp.add, [a[:, k, None] * b[None, k] for k in range(a.shape[0])])


def best_times(a: jax.Array, b: jax.Array) -> jax.Array:
    """The same for the best path, in logs."""
    return functools.reduce(jnp.maximum, [a[:, k, None] + b[None, k] for k in range(a.shape[0])])


def scaled_times(a: jax.Array, b: jax.Array) -> jax.Array:
    out = times(a, b)
    return out / jnp.max(out, (0, 1))


def in_blocks(log_lik: jax.Array, num_blocks: int) -> jax.Array:
    """(B, T, K) -> (S, K, L B), L blocks of S steps."""
    batch, steps, states = log_lik.shape
    x = log_lik.reshape(batch, num_blocks, steps // num_blocks, states)
    return x.transpose(2, 3, 1, 0).reshape(steps // num_blocks, states, -1)


def in_time(x: jax.Array, num_blocks: int) -> jax.Array:
    """(S, K, L B) -> (B, T, K)."""
    steps, states, _ = x.shape
    x = x.reshape(steps, states, num_blocks, -1).transpose(3, 2, 0, 1)
    return x.reshape(x.shape[0], -1, states)


def linear(initial: Any, transition: Any, log_lik: Any, num_blocks: int) -> tuple[Any, ...]:
    """initial, transition, lik (S, K, N) of peak 1, its peaks (S, N)."""
    log_lik = in_blocks(log_lik, num_blocks)
    peak = over_states(jnp.maximum, jnp.moveaxis(log_lik, 1, 0))
    return jnp.exp(initial), jnp.exp(transition), jnp.exp(log_lik - peak[:, None]), peak


def products(lik: jax.Array, transition: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(K, K, N) the product of each block's matrices, peak 1; (S, N) what it was divided by."""
    states = transition.shape[0]

    def step(m: Any, lik: Any) -> Any:
        m = times(m * lik, transition[:, :, None])
        peak = jnp.max(m, (0, 1))
        return m / peak, peak

    one = lik[0][:, None] * transition[:, :, None]
    m, peaks = lax.scan(step, one, lik[1:])
    return m.reshape(states, states, -1), jnp.append(jnp.ones_like(lik[:1, 0]), peaks, axis=0)


def products_apart(lik: jax.Array, transition: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same with K^2 arrays (N,), so that a step is elementwise from end to end."""
    k = range(transition.shape[0])

    def step(m: Any, lik: Any) -> Any:
        m = [[m[i][h] * lik[h] for h in k] for i in k]
        m = [
            [functools.reduce(jnp.add, [m[i][h] * transition[h, j] for h in k]) for j in k]
            for i in k
        ]
        peak = functools.reduce(jnp.maximum, itertools.chain(*m))
        return [[x * (1 / peak) for x in row] for row in m], peak

    one = [[lik[0, i] * transition[i, j] for j in k] for i in k]
    m, peaks = lax.scan(step, one, lik[1:])
    return jnp.array(m), jnp.append(jnp.ones_like(lik[:1, 0]), peaks, axis=0)


def begin_by_products(
    initial: Any, transition: Any, lik: Any, num_blocks: int, make: Any, back: bool
) -> tuple[Any, Any]:
    """(K, N) messages at the beginnings of the blocks, and at their ends from behind if asked."""
    m, _ = make(lik, transition)
    m = m.reshape(*m.shape[:2], num_blocks, -1)
    before = lax.associative_scan(scaled_times, m, axis=2)
    before = functools.reduce(jnp.add, [initial[i] * before[i] for i in range(initial.size)])
    first = jnp.broadcast_to(initial[:, None, None], before[:, :1].shape)
    before = jnp.concatenate((first, (before / before.sum(0))[:, :-1]), axis=1)
    if not back:
        return before.reshape(initial.size, -1), None
    after = lax.associative_scan(lambda b, a: scaled_times(a, b), m, reverse=True, axis=2)
    after = jnp.concatenate((after.sum(1)[:, 1:], jnp.ones_like(before[:, :1])), axis=1)
    return before.reshape(initial.size, -1), after.reshape(initial.size, -1)


def begin_by_guess(initial: Any, ahead: Any, lik: Any, num_blocks: int) -> Any:
    """(K, N) what each block hands over if all begin from `initial`; right if it comes out again."""
    guess = jnp.broadcast_to(initial[:, None], lik.shape[1:])
    handed, _ = lax.scan(lambda p, lik: (ahead(p, lik), None), guess, lik)
    return hand_over(initial, handed, num_blocks)


def hand_over(initial: Any, handed: Any, num_blocks: int) -> Any:
    """(K, N) what blocks end with, to the next ones; the first begins from `initial`."""
    apart = handed.reshape(initial.size, num_blocks, -1)
    first = jnp.broadcast_to(initial[:, None, None], apart[:, :1].shape)
    return jnp.concatenate((first, apart[:, :-1]), axis=1).reshape(handed.shape)


def engine(
    kind: str,
    num_blocks: int,
    how: str = "products",
    *,
    unroll: int = 1,
    gemm: bool = False,
    together: bool = False,
    counting: str = "sum",
) -> Callable[..., Any]:
    """The filter or the smoother of (B, T, K) in blocks as lanes, T / L steps for each pass.

    Args:
      kind: "filter" -> (log filtered, log p); "smoother" -> (log marginals, counts, log p);
        "log_prob" -> log p of the filter's pass alone.
      num_blocks: L; 1: chains as lanes and nothing else.
      how: blocks begin from "products", from the same in "apart" arrays, or from a "guess", which
        is checked: where it fails the answer is NaN.
      unroll: steps a trip.
      gemm: the step's product by a matrix product.
      together: both passes in one loop.
      counting: the expected moves are summed at once ("sum") or in one more "scan".
    """

    def run(initial: Any, transition: Any, log_lik: Any) -> Any:
        batch, num_steps, _ = log_lik.shape
        initial, transition, lik, peak = linear(initial, transition, log_lik, num_blocks)

        def ahead(p: Any, lik: Any) -> Any:
            p = p * lik
            return vector_matrix(p, transition, gemm) * (1 / over_states(jnp.add, p))

        def behind(b: Any, lik: Any) -> Any:
            b = vector_matrix(b, transition.T, gemm) * lik
            return b * (1 / over_states(jnp.add, b))

        back = kind == "smoother"
        ends = jnp.ones_like(lik[0])
        if num_blocks == 1:
            begin = jnp.broadcast_to(initial[:, None], lik.shape[1:])
        elif how == "guess":
            begin = begin_by_guess(initial, ahead, lik, num_blocks)
            if back:
                ends, _ = lax.scan(lambda b, lik: (behind(b, lik), None), ends, lik, reverse=True)
                ends = ends.reshape(initial.size, num_blocks, -1)
                last = jnp.ones_like(ends[:, :1])
                ends = jnp.concatenate((ends[:, 1:], last), axis=1).reshape(begin.shape)
        else:
            make = products_apart if how == "apart" else products
            begin, after = begin_by_products(initial, transition, lik, num_blocks, make, back)
            ends = after if back else ends
        if back and together:

            def both(state: Any, lik: Any) -> Any:
                return (ahead(state[0], lik[0]), behind(state[1], lik[1])), state

            _, (p, after) = lax.scan(both, (begin, ends), (lik, lik[::-1]), unroll=unroll)
            after = after[::-1]
        else:
            handed, p = lax.scan(lambda p, lik: (ahead(p, lik), p), begin, lik, unroll=unroll)
            if back:
                _, after = lax.scan(
                    lambda b, lik: (behind(b, lik), b), ends, lik, reverse=True, unroll=unroll
                )
        joint = p * lik
        scale = joint.sum(1)
        increment = (jnp.log(scale) + peak).reshape(num_steps, batch)
        log_prob = tree_sum(increment)
        if how == "guess" and num_blocks > 1 and not together:
            off = jnp.abs(hand_over(initial, handed, num_blocks) - begin)
            log_prob = jnp.where(jnp.all(off <= 1e-5 * begin), log_prob, jnp.nan)
        if kind == "log_prob":
            return log_prob
        if kind == "filter":
            return in_time(jnp.log(joint / scale[:, None]), num_blocks), log_prob
        moved = functools.reduce(
            jnp.add, [transition[:, j, None] * after[:, None, j] for j in range(initial.size)]
        )
        meet = joint * moved
        norm = meet.sum(1)
        left = joint / norm[:, None]
        left = left.reshape(*left.shape[:2], num_blocks, -1).at[-1, :, -1].set(0)
        left = lax.optimization_barrier(left.reshape(joint.shape))
        if counting == "scan":
            zero = jnp.zeros((initial.size, *begin.shape))
            counts, _ = lax.scan(
                lambda sums, x: (sums + x[0][:, None] * x[1][None], None), zero, (left, after)
            )
        else:
            # one operand broadcast at a time: with two, XLA's CPU reduction is wrong (jax issue 39103)
            counts = [jnp.sum(left * after[:, j, None], axis=0) for j in range(initial.size)]
            counts = jnp.stack(counts, axis=1)
        counts = counts.reshape(*counts.shape[:2], num_blocks, batch).sum(2) * transition[..., None]
        marginals = jnp.log(meet / norm[:, None])
        return in_time(marginals, num_blocks), jnp.moveaxis(counts, -1, 0), log_prob

    return run


def tree_log_prob(num_blocks: int) -> Callable[..., Any]:
    """log p alone: the product of each block, then of pairs of blocks until one is left."""

    def run(initial: Any, transition: Any, log_lik: Any) -> Any:
        batch, num_steps, _ = log_lik.shape
        initial, transition, lik, peak = linear(initial, transition, log_lik, num_blocks)
        m, scales = products(lik, transition)
        m = m.reshape(*m.shape[:2], num_blocks, batch)
        logs = [(jnp.log(scales) + peak).reshape(num_steps, batch)]
        while (size := m.shape[2]) > 1:
            odd, m = m[:, :, size - size % 2 :], m[:, :, : size - size % 2]
            m = times(m[:, :, ::2], m[:, :, 1::2])
            peak = jnp.max(m, (0, 1))
            logs.append(jnp.log(peak))
            m = jnp.concatenate((m / peak, odd), axis=2)
        last = jnp.log(jnp.einsum("i,ijb->b", initial, m[:, :, 0], precision=BEST))
        return tree_sum(jnp.concatenate((*logs, last[None])))

    return run


def pick(table: jax.Array, at: jax.Array) -> jax.Array:
    """table[at] for a first axis of few entries, without a gather."""
    out = jnp.broadcast_to(table[0], at.shape)
    for i in range(1, table.shape[0]):
        out = jnp.where(at == i, table[i], out)
    return out


def viterbi(num_blocks: int) -> Callable[..., Any]:
    """(B, T) best paths: T / L steps of products, of scores, and back through the pointers.

    A pass over the scores also carries, for each state, where its best path entered the block, so
    that the states between the blocks are known before the steps go back.
    """

    def run(initial: Any, transition: Any, log_lik: Any) -> Any:
        batch, states = log_lik.shape[0], initial.size
        log_lik = in_blocks(log_lik, num_blocks)
        num_steps, _, lanes = log_lik.shape
        all_states = jnp.arange(states, dtype=jnp.int8)[:, None]

        def rescaled(m: Any) -> Any:
            return m - jnp.max(m, (0, 1))

        begin = jnp.broadcast_to(initial[:, None], (states, lanes))
        if num_blocks > 1:

            def product(m: Any, lik: Any) -> Any:
                return rescaled(best_times(m + lik, transition[:, :, None])), None

            one = log_lik[0][:, None] + transition[:, :, None]
            m, _ = lax.scan(product, one, log_lik[1:])
            m = m.reshape(states, states, num_blocks, batch)
            m = lax.associative_scan(lambda a, b: rescaled(best_times(a, b)), m, axis=2)
            m = jnp.max(initial[:, None, None, None] + m, axis=0)
            begin = hand_over(initial, m.reshape(states, -1), num_blocks)
        final = jnp.repeat(jnp.arange(num_blocks) == num_blocks - 1, batch)

        def step(state: Any, xs: Any) -> Any:
            score, origin = state
            lik, stop = xs
            score = score + lik
            # nothing follows the last step, so it moves to every state alike
            moves = jnp.where(stop & final, 0, transition[:, :, None])
            top, best = score[0] + moves[0], jnp.zeros((states, lanes), jnp.int8)
            came = jnp.broadcast_to(origin[0], best.shape)
            for i in range(1, states):
                other = score[i] + moves[i]
                better = other > top
                top = jnp.where(better, other, top)
                best = jnp.where(better, jnp.int8(i), best)
                came = jnp.where(better, origin[i], came)
            return (top - jnp.max(top, 0), came), best

        stops = jnp.arange(num_steps) == num_steps - 1
        entered = jnp.broadcast_to(all_states, (states, lanes))
        (_, came), best = lax.scan(step, (begin, entered), (log_lik, stops))
        # the state each block is left for: that of the last is any one, since all have one origin
        maps = came.reshape(states, num_blocks, batch)

        def follow(later: Any, one: Any) -> Any:
            # without the barrier a round does all rounds before it again for every state
            return lax.optimization_barrier(pick(one, later))

        maps = lax.associative_scan(follow, maps, reverse=True, axis=1)[0]
        left_for = jnp.concatenate((maps[1:], jnp.zeros_like(maps[:1]))).reshape(-1)

        def back(state: Any, best: Any) -> Any:
            state = pick(best, state)
            return state, state

        _, path = lax.scan(back, left_for, best, reverse=True)
        return in_time(path[:, None], num_blocks)[..., 0].astype(jnp.int32)

    return run


# --- leading axes: prefix products, many states, dynamax ------------------------------------------


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=BEST)


def prefix_filter(product: Callable[..., Any]) -> Callable[..., Any]:
    """The filter of (T, K) by `lax.associative_scan` of (T, K, K) matrices of peak 1."""

    def join(a: Any, b: Any) -> Any:
        m = product(a, b)
        return m / jnp.max(m, (-1, -2), keepdims=True)

    def run(initial: Any, transition: Any, log_lik: Any) -> Any:
        initial, transition = jnp.exp(initial), jnp.exp(transition)
        peak = jnp.max(log_lik, axis=1)
        lik = jnp.exp(log_lik - peak[:, None])
        m = lax.associative_scan(join, lik[:, :, None] * transition)
        p = jnp.einsum("i,tij->tj", initial, m, precision=BEST)
        p = jnp.append(initial[None], p[:-1] / p[:-1].sum(1, keepdims=True), axis=0)
        return wide_answer(p, lik, peak)

    return run


def wide_answer(p: Any, lik: Any, peak: Any) -> Any:
    """(log filtered, log p) of messages (T, K)."""
    joint = p * lik
    scale = joint.sum(1)
    return jnp.log(joint / scale[:, None]), tree_sum(jnp.log(scale) + peak)


def broadcast_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix products of (..., K, K) without a matrix product."""
    return functools.reduce(
        jnp.add, [a[..., :, k, None] * b[..., k, None, :] for k in range(a.shape[-1])]
    )


def wide_filter(num_blocks: int, how: str = "products") -> Callable[..., Any]:
    """The filter of (T, K) with many states, steps by matrix products; L = 1: a plain scan.

    A block's product by one matrix is a single one of (L K, K) and (K, K).
    """

    def run(initial: Any, transition: Any, log_lik: Any) -> Any:
        states = initial.size
        initial, transition = jnp.exp(initial), jnp.exp(transition)
        peak = jnp.max(log_lik, axis=1)
        flat = jnp.exp(log_lik - peak[:, None])
        lik = flat.reshape(num_blocks, -1, states).swapaxes(0, 1)

        def ahead(p: Any, lik: Any) -> Any:
            p = p * lik
            return matmul(p, transition) / p.sum(1, keepdims=True)

        def handed(p: Any) -> Any:
            return jnp.append(initial[None], p[:-1], axis=0)

        begin = jnp.broadcast_to(initial, (num_blocks, states))
        if how == "guess":
            begin = handed(lax.scan(lambda p, lik: (ahead(p, lik), None), begin, lik)[0])
        elif num_blocks > 1:

            def product(m: Any, lik: Any) -> Any:
                m = matmul((m * lik[:, None]).reshape(-1, states), transition)
                m = m.reshape(num_blocks, states, states)
                return m / jnp.max(m, (1, 2), keepdims=True), None

            def join(a: Any, b: Any) -> Any:
                m = matmul(a, b)
                return m / jnp.max(m, (1, 2), keepdims=True)

            m, _ = lax.scan(product, lik[0][:, :, None] * transition, lik[1:])
            m = jnp.einsum("i,lij->lj", initial, lax.associative_scan(join, m), precision=BEST)
            begin = handed(m / m.sum(1, keepdims=True))
        last, p = lax.scan(lambda p, lik: (ahead(p, lik), p), begin, lik)
        log_filtered, log_prob = wide_answer(p.swapaxes(0, 1).reshape(-1, states), flat, peak)
        if how == "guess":
            same = jnp.all(jnp.abs(handed(last) - begin) <= 1e-5 * begin)
            log_prob = jnp.where(same, log_prob, jnp.nan)
        return log_filtered, log_prob

    return run


def dynamax_parallel_filter(initial: Any, transition: Any, log_lik: Any) -> Any:
    """dynamax's `parallel_inference.hmm_filter`, from memory: (log filtered, log p)."""

    def condition_on(matrix: Any, log_lik: Any) -> Any:
        top = log_lik.max(-1)
        matrix = matrix * jnp.exp(log_lik - top)
        norm = matrix.sum(-1)
        return matrix / norm[..., None], jnp.log(norm) + top

    @jax.vmap
    def join(a: Any, b: Any) -> Any:
        matrix, log_norm = condition_on(a[0], b[1])
        return matrix @ b[0], a[1] + log_norm

    initial, transition = jnp.exp(initial), jnp.exp(transition)
    first, first_log = condition_on(initial, log_lik[0])
    rest, rest_log = jax.vmap(condition_on, (None, 0))(transition, log_lik[1:])
    square = jnp.ones_like(transition)
    matrices = jnp.concatenate((first[None, None] * square[None], rest))
    logs = jnp.concatenate((first_log * jnp.ones((1, initial.size)), rest_log))
    matrices, logs = lax.associative_scan(join, (matrices, logs))
    return jnp.log(matrices[:, 0]), logs[-1, 0]


# --- fits -----------------------------------------------------------------------------------------


def poisson_hmms(number: int, steps: int, states: int) -> tuple[lx.HMM, jax.Array]:
    """A model to start from and counts (number, steps) of chains that stay."""
    rng = np.random.default_rng(1)
    rates = np.linspace(2, 12, states)
    stays = 0.9 * np.eye(states) + 0.1 / states
    state = rng.integers(states, size=number)
    x = np.empty((number, steps), np.int32)
    for t in range(steps):
        x[:, t] = rng.poisson(rates[state])
        state = (stays[state].cumsum(1) > rng.random((number, 1))).argmax(1)
    start = jnp.asarray(rates * np.linspace(0.8, 1.1, states), jnp.float32)
    move = jnp.asarray(0.7 * np.eye(states) + 0.3 / states, jnp.float32)
    return lx.HMM(jnp.full(states, 1 / states), move, lx.Poisson(start)), jnp.asarray(x)


def hmm64(model: Any, x: Any) -> float:
    """Log p of all counts under a fitted Poisson HMM, float64."""
    x, rates = np.asarray(x), np.float64(model.emissions.rate)
    log_factorial = np.array([math.lgamma(n + 1) for n in range(x.max() + 1)])
    log_lik = x[..., None] * np.log(rates) - rates - log_factorial[x][..., None]
    return float(forward64(model.initial, model.transition, log_lik)[0].sum())


def blobs(rows: int, width: int, components: int) -> tuple[lx.Mixture, jax.Array]:
    """A mixture to start from and points of blobs that overlap."""
    rng = np.random.default_rng(2)
    centres = 2 * rng.standard_normal((components, width), np.float32)
    x = centres[rng.integers(components, size=rows)] + rng.standard_normal(
        (rows, width), np.float32
    )
    scale = jnp.broadcast_to(1.5 * jnp.eye(width), (components, width, width))
    normals = lx.MvNormal(jnp.asarray(centres + 0.5), scale)
    return lx.Mixture(jnp.full(components, 1 / components), normals), jnp.asarray(x)


def mixture64(model: Any, x: Any) -> float:
    """Log p of all points under a fitted mixture, float64."""
    x, logs = np.float64(x), []
    parts = zip(model.weights, model.components.loc, model.components.scale_tril, strict=True)
    for weight, loc, tril in parts:
        tril = np.float64(tril)
        z = (x - np.float64(loc)) @ np.linalg.inv(tril).T
        log_det = np.log(np.diag(tril)).sum() + len(tril) / 2 * math.log(2 * math.pi)
        logs.append(np.log(np.float64(weight)) - (z * z).sum(1) / 2 - log_det)
    return float(np.logaddexp.reduce(logs).sum())


def em(steps: int) -> Callable[..., Any]:
    return lambda model, x: lx.fit.em(model, x, max_steps=steps, tol=0.0)


def check_fit(truth: Callable[..., float], x: Any, fit: Any) -> dict[str, float]:
    """The objective reported against that of the model returned; and whether it never fell."""
    want = truth(fit.model, x)
    curve = np.asarray(fit.objectives)
    return {
        "rel": abs(float(fit.objective) / want - 1),
        "rise": float(curve[-1] - curve[0]),
        "fell": float(np.minimum(np.diff(curve), 0).min() / abs(want)),
    }


# --- rows -----------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A program at a size; `make` gives (function, arguments, check of its answer)."""

    program: str
    size: str
    make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Callable[[Any], dict]]]
    tree: bool = False
    extra: Callable[[float], dict] = lambda seconds: {}


def accelerated() -> bool | None:
    """`parallel` for the form that a GPU takes: None on a GPU, which asks the dispatch."""
    return None if jax.default_backend() == "gpu" else True


def today(name: str, size: str, tree: bool = False) -> Row:
    """The public function, over a batch by `vmap`."""
    batch = SIZES[size][0]

    def make() -> Any:
        function = hmm.log_partition if name == "gradient" else getattr(hmm, name)
        one = functools.partial(function, parallel=accelerated())
        each = one if batch is None else jax.vmap(one, (None, None, 0))
        shrink = {
            "log_partition": lambda out: out,
            "filter": lambda out: (out.log_filtered, out.log_prob),
            "smoother": lambda out: (out.log_marginals, out.transition_counts, out.log_prob),
            "viterbi": lambda out: out[0],
        }

        def gradient(*args: Any) -> Any:
            return jax.value_and_grad(lambda *a: jnp.sum(each(*a)), (0, 1, 2))(*args)

        def plain(*args: Any) -> Any:
            return shrink[name](each(*args))

        kind = {"log_partition": "log_prob"}.get(name, name)
        run = gradient if name == "gradient" else plain
        return run, arguments(size), functools.partial(check, kind, size)

    return Row(f"today {name}" + " + tree sum" * tree, size, make, tree)


def proto(kind: str, name: str, size: str, run: Callable[..., Any], batched: bool = True) -> Row:
    """A prototype; those that take a batch see a single chain as one of one."""
    batch = SIZES[size][0]

    def make() -> Any:
        function = run
        if batched and batch is None:

            def function(initial: Any, transition: Any, log_lik: Any) -> Any:
                return run(initial, transition, log_lik[None])

        elif not batched and batch is not None:
            function = jax.vmap(run, (None, None, 0))
        return function, arguments(size), functools.partial(check, kind, size)

    return Row(f"{kind}: {name}", size, make)


def blocks_of(size: str, at_most: int) -> int:
    """The largest number of equal blocks up to a limit, which --tiny shrinks."""
    if options.tiny:
        at_most = max(2, at_most * shape(size)[1] // SIZES[size][1])
    return max(n for n in range(1, at_most + 1) if shape(size)[1] % n == 0)


def lanes(kind: str, size: str, at_most: int, how: str = "products", **settings: Any) -> Row:
    """A row of `engine`."""
    count = blocks_of(size, at_most) if at_most > 1 else 1
    words = " ".join([how] * (count > 1) + [f"{k} {v}" for k, v in settings.items()])
    name = f"blocks L{count} {words}" if count > 1 else f"lanes {words}".rstrip()
    return proto(kind, name, size, engine(kind, count, how, **settings))


def fit_rows() -> list[Row]:
    def row(name: str, size: str, start: Any, run: Any, truth: Any) -> Row:
        def make() -> Any:
            model, x = start()
            return run, (model, x), functools.partial(truth, x)

        return Row(name, size, make)

    def batch(number: int, steps: int, states: int) -> Any:
        return lambda: poisson_hmms(few(number), TINY[steps] if options.tiny else steps, states)

    def points(number: int, width: int, components: int) -> Any:
        return lambda: blobs(TINY[number] if options.tiny else number, width, components)

    def many(model: Any, x: Any) -> Any:
        return jax.vmap(em(20), (None, 0))(model, x)

    def check_many(x: Any, fits: Any) -> dict[str, float]:
        return check_fit(hmm64, x[:1], jax.tree.map(lambda a: a[0], fits))

    def e_step(model: Any, x: Any) -> Any:
        return model, model.e_step(x)

    def check_e_step(x: Any, out: Any) -> dict[str, float]:
        model, (_, log_prob) = out
        return {"rel": abs(float(log_prob) / hmm64(model, x) - 1)}

    of_hmm = functools.partial(check_fit, hmm64)
    of_mixture = functools.partial(check_fit, mixture64)
    return [
        row("em 10 steps, Poisson HMM", "B2500 T100 K2", batch(2500, 100, 2), em(10), of_hmm),
        row("em 10 steps, GMM", "N1e5 D50 K10", points(10**5, 50, 10), em(10), of_mixture),
        row("em 10 steps, GMM", "N1e6 D2 K5", points(10**6, 2, 5), em(10), of_mixture),
        row(
            "vmap of em, 20 steps, Poisson HMM", "500 T100 K2", batch(500, 100, 2), many, check_many
        ),
        row("e_step, Poisson HMM", "B2500 T100 K2", batch(2500, 100, 2), e_step, check_e_step),
        row("em 10 steps, Poisson HMM", "B100 T1e3 K4", batch(100, 1000, 4), em(10), of_hmm),
    ]


def floor_rows() -> list[Row]:
    """What the machine can do: bytes a second, and the price of a step."""
    trips, words = (100, 2**16) if options.tiny else (10_000, 2**28)

    def nothing(_: Any) -> dict:
        return {}

    def loop(step: Callable[[Any], Any], unroll: int = 1) -> Callable[..., Any]:
        return lambda m: lax.scan(lambda m, _: (step(m), None), m, length=trips, unroll=unroll)[0]

    def one(m: Any) -> Any:
        return m * 0.999 + 0.001

    def rescaled(m: Any) -> Any:
        return one(m) / jnp.max(m, 0)

    def gemm(m: Any) -> Any:
        return jnp.matmul(m, m[:64] / 64, precision=BEST)

    def steps(name: str, run: Any, wide: tuple[int, ...]) -> Row:
        return Row(
            f"floor: {trips} steps, {name}",
            "x".join(map(str, wide)),
            lambda: (run, (jnp.full(wide, 0.5),), nothing),
            extra=lambda seconds: {"us_a_step": 1e6 * seconds / trips},
        )

    return [
        Row(
            "floor: copy",
            f"{4 * words / 1e6:.0f} MB",
            lambda: (lambda x: x * 2, (jnp.ones(words),), nothing),
            extra=lambda seconds: {"gb_s": 8e-9 * words / seconds},
        ),
        steps("elementwise", loop(one), (16, 4096)),
        steps("elementwise, unroll 8", loop(one, 8), (16, 4096)),
        steps("and a maximum", loop(rescaled), (16, 4096)),
        steps("matrix product", loop(gemm), (1024, 64)),
    ]


def sum_rows() -> list[Row]:
    """The sum of T increments, its error in nats beside `math.fsum`."""
    size = "T1e6 K4"
    number = shape(size)[1]
    terms = -np.exp(np.random.default_rng(3).normal(0, 3, number)).astype(np.float32)
    c = chain.Chain(jnp.zeros(1), jnp.zeros((1, 1)), jnp.zeros((number, 1)), None, None)
    forms = {
        "chain.total": functools.partial(chain.total, c),
        "two-sum tree": tree_sum,
        "two-sum lax.reduce": reduce_sum,
        "jnp.sum": jnp.sum,
    }

    def make(run: Any) -> Any:
        return run, (jnp.asarray(terms),), lambda out: {"lp": abs(float(out) - math.fsum(terms))}

    return [
        Row(f"sum: {name}", f"T{number}", functools.partial(make, f)) for name, f in forms.items()
    ]


def all_rows() -> list[Row]:
    """In the order of what they decide."""
    long, short, wide, wider = "T1e6 K4", "T65536 K4", "T1e4 K64", "T1e5 K64"
    many, some, small = "B1e4 T1e3 K8", "B100 T1e3 K4", "B2500 T100 K2"
    dynamax = functools.partial(proto, "filter", "dynamax parallel")

    def tree(size: str, at_most: int) -> Row:
        count = blocks_of(size, at_most)
        return proto("log_prob", f"tree of blocks L{count}", size, tree_log_prob(count))

    def paths(size: str, at_most: int) -> Row:
        count = blocks_of(size, at_most) if at_most > 1 else 1
        return proto("viterbi", f"blocks L{count}" if count > 1 else "lanes", size, viterbi(count))

    def many_states(size: str, at_most: int, how: str = "products") -> Row:
        count = blocks_of(size, at_most) if at_most > 1 else 1
        name = f"gemm blocks L{count} {how}" if count > 1 else "plain scan"
        return proto("filter", name, size, wide_filter(count, how), False)

    def prefixes(size: str, product: Callable[..., Any], name: str) -> Row:
        return proto("filter", f"associative_scan, {name}", size, prefix_filter(product), False)

    return [
        *floor_rows(),
        today("log_partition", long),
        today("smoother", long),
        today("viterbi", long),
        today("log_partition", long, tree=True),
        today("smoother", long, tree=True),
        lanes("filter", long, 4096),
        lanes("filter", long, 16384),
        lanes("filter", long, 65536),
        lanes("filter", long, 16384, "apart"),
        lanes("filter", long, 16384, "guess"),
        prefixes(long, broadcast_product, "(T, K, K)"),
        lanes("filter", long, 10**6),
        dynamax(long, dynamax_parallel_filter, False),
        tree(long, 10**6),
        tree(long, 65536),
        lanes("smoother", long, 16384),
        lanes("smoother", long, 65536),
        paths(long, 16384),
        *sum_rows(),
        today("log_partition", many),
        today("smoother", many),
        lanes("log_prob", many, 1),
        lanes("log_prob", many, 1, gemm=True),
        lanes("log_prob", many, 1, unroll=4),
        lanes("smoother", many, 1),
        lanes("smoother", many, 1, together=True),
        lanes("smoother", many, 1, counting="scan"),
        today("log_partition", wide),
        today("smoother", wide),
        many_states(wide, 1),
        many_states(wide, 100),
        many_states(wide, 400),
        many_states(wide, 100, "guess"),
        prefixes(wide, matmul, "matmul"),
        dynamax(wide, dynamax_parallel_filter, False),
        many_states(wider, 512),
        many_states(wider, 2048),
        many_states(wider, 512, "guess"),
        prefixes(wider, matmul, "matmul"),
        dynamax(wider, dynamax_parallel_filter, False),
        *fit_rows()[:4],
        today("smoother", small),
        lanes("smoother", small, 1),
        lanes("smoother", small, 5),
        lanes("smoother", small, 25),
        today("smoother", some),
        lanes("smoother", some, 1),
        lanes("smoother", some, 10),
        lanes("smoother", some, 40),
        dynamax(some, dynamax_parallel_filter, False),
        today("gradient", long),
        today("viterbi", long, tree=True),
        today("log_partition", "T1e5 K16"),
        today("smoother", "T1e5 K16"),
        lanes("filter", "T1e5 K16", 4096),
        many_states("T1e5 K16", 4096),
        lanes("filter", "T1e5 K16", 4096, "guess"),
        tree("T1e5 K16", 4096),
        dynamax("T1e5 K16", dynamax_parallel_filter, False),
        today("log_partition", "T1e5 K4"),
        today("smoother", "T1e5 K4"),
        lanes("smoother", "T1e5 K4", 4096),
        paths("T1e5 K4", 4096),
        today("viterbi", many),
        paths(many, 1),
        today("viterbi", wide),
        lanes("filter", short, 1),
        lanes("filter", short, 1, unroll=8),
        lanes("filter", short, 2048),
        lanes("filter", short, 4096),
        prefixes(short, broadcast_product, "(T, K, K)"),
        *fit_rows()[4:],
        today("log_partition", small),
        today("log_partition", some),
        lanes("log_prob", some, 1),
        today("gradient", many),
        today("gradient", some),
        today("gradient", small),
        today("viterbi", some),
        paths(some, 1),
        paths(some, 40),
        today("viterbi", small),
        today("viterbi", "T1e5 K4"),
        today("viterbi", "T1e5 K16"),
        today("gradient", "T1e5 K4"),
        today("gradient", "T1e5 K16"),
        today("gradient", wide),
        lanes("filter", long, 1024),
        lanes("filter", long, 4096, "guess"),
        lanes("filter", long, 256),
        lanes("smoother", long, 16384, "guess"),
        dynamax(many, dynamax_parallel_filter, False),
        many_states(wider, 128),
        today("log_partition", wider),
        many_states(wider, 1),
    ]


# --- running --------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """A traced row, and the seconds that took."""

    row: Row
    lowered: Any
    args: tuple[Any, ...]
    check: Callable[[Any], dict]
    trace_s: float


def trace(row: Row) -> Ready:
    function, args, check_answer = row.make()
    with with_tree() if row.tree else contextlib.nullcontext():
        begun = time.perf_counter()
        lowered = jax.jit(function).lower(*args)
    return Ready(row, lowered, args, check_answer, time.perf_counter() - begun)


def compiled(ready: Ready) -> tuple[Any, float]:
    begun = time.perf_counter()
    done = ready.lowered.compile()
    return done, time.perf_counter() - begun


def timed(work: Any, args: tuple[Any, ...]) -> tuple[Any, float]:
    begun = time.perf_counter()
    out = jax.block_until_ready(work(*args))
    return out, time.perf_counter() - begun


def measure(ready: Ready, work: Any, compile_s: float) -> dict[str, Any]:
    """Ten runs, or as many as a second holds, after the first."""
    out, first_run = timed(work, ready.args)
    errors = ready.check(out)
    del out
    times: list[float] = []
    while len(times) < 10 and (not times or sum(times) < 1):
        times.append(timed(work, ready.args)[1])
    median = statistics.median(times)
    memory = work.memory_analysis()
    return {
        "first_s": ready.trace_s + compile_s + first_run,
        "trace_s": ready.trace_s,
        "compile_s": compile_s,
        "median_ms": 1e3 * median,
        "best_ms": 1e3 * min(times),
        "runs": len(times),
        "temp_mb": getattr(memory, "temp_size_in_bytes", 0) / 1e6,
        "in_out_mb": sum(
            getattr(memory, f"{what}_size_in_bytes", 0) / 1e6 for what in ("argument", "output")
        ),
        "errors": errors,
        **ready.row.extra(median),
    }


def show(row: Row, result: dict[str, Any]) -> None:
    head = f"{row.program:52} {row.size:14}"
    if "error" in result:
        print(f"{head} FAILED {result['error'][:300]}", flush=True)
        return
    notes = {**result["errors"], **{k: result[k] for k in ("us_a_step", "gb_s") if k in result}}
    words = "  ".join(f"{k} {v:.2g}" for k, v in notes.items())
    print(
        f"{head} first {result['first_s']:6.2f} s  median {result['median_ms']:10.3f} ms  "
        f"temp {result['temp_mb']:8.0f} MB  {words}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", default="gpu_chain.json", help="file to write")
    parser.add_argument(
        "--budget", type=float, default=330, help="seconds after which no row begins"
    )
    parser.add_argument("--only", default="", help="regular expression on 'program size'")
    parser.add_argument("--skip", help="a file of this script's, whose rows are not measured again")
    parser.add_argument("--jobs", type=int, help="rows compiled at once; 1 for first calls alone")
    parser.add_argument("--tiny", action="store_true", help="small sizes")
    parser.add_argument("--list", action="store_true", help="print the rows")
    parser.parse_args(namespace=options)
    rows = [r for r in all_rows() if re.search(options.only, f"{r.program} {r.size}")]
    if options.skip:
        with open(options.skip) as file:
            done = {(r["program"], r["size"]) for r in json.load(file)["rows"] if "error" not in r}
        rows = [r for r in rows if (r.program, r.size) not in done]
    if options.list:
        print(*(f"{r.program:52} {r.size}" for r in rows), f"{len(rows)} rows", sep="\n")
        return
    jobs = options.jobs or max(1, min(6, (os.cpu_count() or 1) // 2))
    setting = {
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jobs": jobs,
        "tiny": options.tiny,
    }
    print(setting, flush=True)
    results: list[dict[str, Any]] = []
    waiting = list(rows)

    def spent() -> float:
        return time.perf_counter() - BEGAN

    def keep(row: Row, work: Callable[[], dict[str, Any]]) -> None:
        try:
            result = work()
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"[:2000]}
        waiting.remove(row)
        show(row, result)
        results.append({"program": row.program, "size": row.size, **result, "at_s": spent()})
        left = [f"{r.program} {r.size}" for r in waiting]
        with open(options.out + ".new", "w") as file:
            json.dump({"setting": setting, "rows": results, "not_run": left}, file, indent=1)
        os.replace(options.out + ".new", options.out)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for at in range(0, len(rows), jobs):
            if spent() > options.budget:
                break
            run_wave(rows[at : at + jobs], pool, keep, lambda: spent() > options.budget)
    print(f"{len(results)} rows in {spent():.0f} s; {len(waiting)} not run", flush=True)


def run_wave(wave: Any, pool: Any, keep: Any, late: Callable[[], bool]) -> None:
    """Trace, compile and run some rows."""
    traced = []
    for row in wave:
        try:
            traced.append(trace(row))
        except Exception as error:
            keep(row, functools.partial(fail, error))
    futures = [(ready, pool.submit(compiled, ready)) for ready in traced]
    concurrent.futures.wait([future for _, future in futures])
    for ready, future in futures:
        if not late():
            keep(ready.row, lambda ready=ready, future=future: measure(ready, *future.result()))


def fail(error: Exception) -> dict[str, Any]:
    raise error


if __name__ == "__main__":
    main()
