"""Data as a hidden Markov node sees them: unwrapped, with the likelihood of every state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.data import DataLike, Series, rule_out, take_labels, take_series
from likelax.numerics.checks import check_values


class Observed(NamedTuple):
    """One or many sequences, unwrapped.

    Attributes:
      values: (..., T, *event).
      log_lik: (..., T, K) nats; -inf at states that a label rules out.
      series: lengths (...,), starts (..., T) and inputs (..., T, D), each or None.
    """

    values: Any
    log_lik: Array
    series: Series

    @property
    def num_steps(self) -> Array:
        """(...,) integers: the steps of each sequence that are no padding."""
        *batch, num_steps, _ = self.log_lik.shape
        lengths = self.series.lengths
        return jnp.full(batch, num_steps) if lengths is None else jnp.clip(lengths, 0, num_steps)


def observe(x: DataLike, emission_log_prob: Callable[[Any], Array]) -> Observed:
    """Unwrap x, check the shapes of what was said about it, and evaluate the emissions.

    Args:
      x: as `data.convert` returns them, of lengths that `check_lengths` let pass.
      emission_log_prob: values (..., T, *event) -> (..., T, K), nats.
    Raises:
      ValueError: for a single observation, or lengths, starts, labels or inputs of a wrong shape.
    """
    x, labels = take_labels(x)
    x, series = take_series(x)
    if series.lengths is not None:
        x = _blank_padding(x, series.lengths.astype(int))
    log_lik = emission_log_prob(x)
    if log_lik.ndim < 2:
        raise ValueError("HMM: x must be a sequence (..., T, *event); got a single observation")
    if log_lik.shape[-2] == 0:
        raise ValueError("HMM: x must have at least one step; got none")
    steps = log_lik.shape[:-1]
    for name, given, wanted in (
        ("Sequences: lengths", series.lengths, steps[:-1]),
        ("Sequences: starts", series.starts, steps),
        ("Driven: inputs", None if series.inputs is None else series.inputs[..., 0], steps),
    ):
        if given is not None and given.shape != wanted:
            raise ValueError(f"{name} must have shape {wanted}; got {given.shape}")
    return Observed(x, rule_out(log_lik, labels), series)


def over_batch(function: Callable[..., Any], batch: tuple[int, ...], *args: Any) -> Any:
    """function vmapped over all axes of `batch`, which lead every argument that is not None."""
    if not batch:
        return function(*args)
    flat = jax.tree.map(lambda a: jnp.reshape(a, (-1, *jnp.shape(a)[len(batch) :])), args)
    return jax.tree.map(lambda a: a.reshape(*batch, *a.shape[1:]), jax.vmap(function)(*flat))


def check_lengths(lengths: Array, x: DataLike) -> None:
    """Raise for lengths that are no integers, or known and outside 0..T."""
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be integers, got {lengths.dtype}")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    short = [shape for shape in shapes if len(shape) <= lengths.ndim]
    if short:
        raise ValueError(
            f"lengths of shape {lengths.shape} want values with one axis more, got {short[0]}"
        )
    num_steps = min(shape[lengths.ndim] for shape in shapes)
    check_values(
        "lengths", lengths, lambda v: (v >= 0) & (v <= num_steps), f"in 0..T = 0..{num_steps}"
    )


def _blank_padding(values: Any, lengths: Array) -> Any:
    """Put 1, or 0.5 among floats, at every padded step, so that what stands there is never read.

    No density has a pole at 0.5, as that of a beta has at 1. Where 0.5 is impossible, as a count, the
    gradient is zero.
    """

    def blank(leaf: Array) -> Array:
        num_steps = leaf.shape[lengths.ndim]
        steps = jnp.broadcast_to(jnp.arange(num_steps), (*lengths.shape, num_steps))
        real = steps < lengths[..., None]
        real = real.reshape(real.shape + (1,) * (leaf.ndim - real.ndim))
        filler = 0.5 if jnp.issubdtype(leaf.dtype, jnp.floating) else 1
        return jnp.where(real, leaf, jnp.asarray(filler, leaf.dtype))

    return jax.tree.map(blank, values)
