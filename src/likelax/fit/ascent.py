"""The loop beneath the gradient fits: windows of blocks of steps, all on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from likelax.fit.result import Fit, Status
from likelax.numerics import any_in_batch, as_float
from likelax.parameters import to_vector

# XLA compiles a short loop over small arrays into native code, and a long one step by step: on a
# CPU that is the difference between 1 and 4 microseconds. Blocks also bound the memory of noise.
BLOCK = 50
NOISE_AT_ONCE = 2**18


class _Ascent(NamedTuple):
    """What every step changes. `kept` is the best iterate, or for noise the sum of a window's."""

    reals: Array
    optimizer: Any
    step: Array
    finite: Array
    kept: Array
    best_value: Array


class _Lane(NamedTuple):
    """What every window changes, one for each fit of a vmapped batch."""

    ascent: _Ascent
    best: Array
    best_value: Array
    best_error: Array
    stalled: Array


@partial(jax.jit, static_argnames=("objective", "optimizer", "max_steps", "window"))
def run(
    key: Array | None,
    start: Any,
    data: Any,
    objective: Any,
    optimizer: optax.GradientTransformation,
    max_steps: int,
    tol: float,
    window: int,
) -> Fit:
    """Raise objective(noise, model, data); without a key the noise is None and the value exact.

    The noise of a step is `objective.draw(key, start)`, drawn for a block of steps at once.
    """
    if max_steps < 1 or window < 1:
        raise ValueError(f"max_steps and window must be at least 1, got {max_steps} and {window}.")
    moving, rebuild = to_vector(start)
    noisy = key is not None

    def loss(reals: Array, noise: Any) -> Array:
        value = objective(noise, rebuild(reals), data)
        if jnp.shape(value) != ():
            raise ValueError(
                f"the objective must return a scalar, got shape {jnp.shape(value)}; sum its terms."
            )
        return -as_float(value)[0]

    def step(now: _Ascent, noise: Any) -> tuple[_Ascent, Array]:
        value, grad = jax.value_and_grad(loss)(now.reals, noise)
        value = -value
        running = now.finite & (now.step < max_steps)
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
        # optax relies on implicit promotion, which the caller may have forbidden
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = optimizer.update(grad, now.optimizer, now.reals)
            moved = optax.apply_updates(now.reals, updates)
        taken = running & good
        if noisy:
            kept, best_value = jnp.where(taken, now.kept + now.reals, now.kept), now.best_value
        else:
            better = taken & (value > now.best_value)
            kept = jnp.where(better, now.reals, now.kept)
            best_value = jnp.where(better, value, now.best_value)
        # after a failure the iterates are not looked at again, so they need no guard
        count = jnp.where(taken, now.step + 1, now.step)
        finite = now.finite & (good | ~running)
        return _Ascent(moved, optimizer_state, count, finite, kept, best_value), value

    def draw(step_key: Array) -> Any:
        return objective.draw(step_key, start)

    def one_block(state: tuple[_Ascent, Array | None], _: None) -> Any:
        now, block_key = state
        noise = None
        if block_key is not None:
            now_key, block_key = jax.random.split(block_key)
            noise = jax.vmap(draw)(jax.random.split(now_key, block))
        after, values = jax.lax.scan(step, now, noise, length=block)
        return (after, block_key), values

    def one_window(state: tuple[Array, Array | None, _Lane, Array]) -> Any:
        done, now_key, lane, trace = state
        (after, now_key), values = jax.lax.scan(
            one_block, (lane.ascent, now_key), None, length=window // block
        )
        values = values.reshape(window)
        trace = jax.lax.dynamic_update_slice(trace, values, (done * window,))
        look = _look_at_noise if noisy else _look
        # the trace needs no guard either: what lies past num_steps is not shown
        moved = look(lane, after, values, tol)
        active = _active(lane, max_steps)
        lane = jax.tree.map(partial(jnp.where, active), moved, lane)
        return done + 1, now_key, lane, trace

    window = min(window, max_steps)
    num_windows = -(-max_steps // window)
    block = _block_length(window, jax.eval_shape(draw, key) if noisy else None)
    dtype = jax.eval_shape(lambda k: loss(moving, draw(k) if noisy else None), key).dtype
    lowest = jnp.asarray(-jnp.inf, dtype)
    ascent = _Ascent(
        reals=moving,
        optimizer=optimizer.init(moving),
        step=jnp.zeros((), int),
        finite=jnp.asarray(True),
        kept=jnp.zeros_like(moving) if noisy else moving,
        best_value=lowest,
    )
    lane = _Lane(
        ascent=ascent,
        best=moving,
        best_value=lowest,
        best_error=jnp.zeros((), dtype),
        stalled=jnp.asarray(False),
    )
    trace = jnp.full(num_windows * window + 1, jnp.nan, dtype)
    _, _, lane, trace = jax.lax.while_loop(
        # were the condition each lane's own, all that the loop carries would differ between lanes,
        # and noise that they share would be drawn once for each of them
        lambda state: any_in_batch(_active(state[2], max_steps)),
        one_window,
        (jnp.zeros((), int), key, lane, trace),
    )
    num_steps, finite = lane.ascent.step, lane.ascent.finite
    ended = jnp.where(lane.stalled, int(Status.CONVERGED), int(Status.MAX_STEPS))
    failed = jnp.where(num_steps == 0, int(Status.NON_FINITE), int(Status.COLLAPSED))
    status = jnp.where(finite, ended, failed).astype(int)
    value = jnp.where(num_steps == 0, trace[0], lane.best_value)
    trace = jnp.where(jnp.arange(max_steps + 1) < num_steps, trace[: max_steps + 1], value)
    return Fit(rebuild(lane.best), trace, num_steps, status)


def _look(before: _Lane, after: _Ascent, values: Array, tol: float) -> _Lane:
    small = after.best_value - before.best_value <= tol * (1 + jnp.abs(after.best_value))
    return before._replace(
        ascent=after, best=after.kept, best_value=after.best_value, stalled=small
    )


def _look_at_noise(before: _Lane, after: _Ascent, values: Array, tol: float) -> _Lane:
    steps, window = after.step - before.ascent.step, values.shape[0]
    count = steps.astype(values.dtype)
    taken = jnp.arange(window) < steps
    mean = jnp.sum(jnp.where(taken, values, 0)) / count
    squares = jnp.sum(jnp.where(taken, (values - mean) ** 2, 0))
    error = jnp.sqrt(squares / (count - 1) / count)
    noise = jnp.sqrt(error**2 + before.best_error**2)
    first, complete = jnp.isneginf(before.best_value), steps == window
    better = (first | complete) & (steps > 0) & (mean > before.best_value)
    best = jnp.where(better, after.kept / count.astype(after.kept.dtype), before.best)
    best_value = jnp.where(better, mean, before.best_value)
    best_error = jnp.where(better, error, before.best_error)
    small = (tol >= 0) & ~first & complete & (mean - before.best_value <= tol * noise)
    after = after._replace(kept=jnp.zeros_like(after.kept))
    return _Lane(after, best, best_value, best_error, small)


def _active(lane: _Lane, max_steps: int) -> Array:
    return lane.ascent.finite & ~lane.stalled & (lane.ascent.step < max_steps)


def _block_length(window: int, noise: Any) -> int:
    """Steps in a block: a divisor of the window, and few enough to hold their noise."""
    size = sum(leaf.size for leaf in jax.tree.leaves(noise))
    most = min(BLOCK, max(1, NOISE_AT_ONCE // max(1, size)))
    longest = max(d for d in range(1, most + 1) if window % d == 0)
    # a window without good divisors runs as one block
    return window if longest < most / 8 and window * size <= NOISE_AT_ONCE else longest
