"""Scores of class probabilities and of the probability of an event."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax.numerics import as_array, named_floats, safe_log, xlog1py, xlogy
from likelax.numerics.checks import check_same_shape, check_simplex, check_values


def log_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """Log score of class probabilities: -log probs[label].

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (..., C).
      labels: (...) integers in [0, C); NaN for a traced one outside.
    Returns:
      (...) nats; inf, with zero gradient, if the forecast probability of the outcome was 0.
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Good (1952), Journal of the Royal Statistical Society B 14.

    Examples:
      >>> print(log_score(jnp.array([[0.0, 1.0], [0.5, 0.5]]), jnp.array([1, 0])).round(4))
      [0.     0.6931]
    """
    probs, labels = _probabilities(probs, labels)
    return _at_least_zero(-safe_log(_pick(probs, labels)))


def log_score_from_logits(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Log score of class logits: logsumexp(logits) - logits[label].

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      logits: (..., C), any log scores up to a constant.
      labels: (...) integers in [0, C); NaN for a traced one outside.
    Returns:
      (...) nats.
    Raises:
      ValueError: if the shapes differ, or a label is out of range.
      TypeError: if labels are not integers.
    Source: Good (1952), Journal of the Royal Statistical Society B 14.

    Examples:
      >>> print(log_score_from_logits(jnp.array([[0.0, 1000.0]]), jnp.array([0])))
      [1000.]
    """
    logits, labels = _classes("logits", logits, labels)
    return _at_least_zero(-_pick(jax.nn.log_softmax(logits, axis=-1), labels))


def binary_log_score(probs: ArrayLike, outcome: ArrayLike) -> Array:
    """Log score of an event's probability: -y log p - (1 - y) log(1 - p).

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (...) probability of the event.
      outcome: (...) 0 or 1, or a frequency in between.
    Returns:
      (...) nats.
    Raises:
      ValueError: if the shapes differ, or a probability or outcome is outside [0, 1].
    Source: Good (1952), Journal of the Royal Statistical Society B 14.

    Examples:
      >>> print(binary_log_score(jnp.array([1.0, 0.5]), jnp.array([1, 0])).round(4))
      [0.     0.6931]
    """
    probs, outcome = _paired(probs, outcome)
    return _at_least_zero(-xlogy(outcome, probs) - xlog1py(1 - outcome, -probs))


def brier_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """Brier score of class probabilities: sum_c (probs[c] - [c = label])^2, in [0, 2].

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (..., C).
      labels: (...) integers in [0, C); NaN for a traced one outside.
    Returns:
      (...). For two classes it is twice `binary_brier_score`.
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Brier (1950), Monthly Weather Review 78.

    Examples:
      >>> print(brier_score(jnp.array([[0.25, 0.75]]), jnp.array([1])))
      [0.125]
    """
    probs, labels = _probabilities(probs, labels)
    inside = (labels >= 0) & (labels < probs.shape[-1])
    hot = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    return jnp.where(inside, jnp.sum((probs - hot) ** 2, axis=-1), jnp.nan)


def binary_brier_score(probs: ArrayLike, outcome: ArrayLike) -> Array:
    """Brier score of an event's probability: (p - y)^2, in [0, 1].

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (...) probability of the event.
      outcome: (...) 0 or 1, or a frequency in between.
    Returns:
      (...).
    Raises:
      ValueError: if the shapes differ, or a probability or outcome is outside [0, 1].
    Source: Brier (1950), Monthly Weather Review 78.

    Examples:
      >>> print(binary_brier_score(jnp.array([0.75]), jnp.array([1])))
      [0.0625]
    """
    probs, outcome = _paired(probs, outcome)
    return (probs - outcome) ** 2


def ranked_probability_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """RPS of ordered classes: sum_c (P(class <= c) - [label <= c])^2.

    Unlike the Brier score it charges less for a near miss. It is the CRPS of the integers.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (..., C), classes in order.
      labels: (...) integers in [0, C); NaN for a traced one outside.
    Returns:
      (...), in [0, C - 1].
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Epstein (1969), Journal of Applied Meteorology 8.

    Examples:
      >>> print(ranked_probability_score(jnp.array([[1.0, 0.0, 0.0]]), jnp.array([2])))
      [2.]
    """
    probs, labels = _probabilities(probs, labels)
    inside = (labels >= 0) & (labels < probs.shape[-1])
    cumulative = jnp.cumsum(probs, axis=-1)[..., :-1]
    classes = jnp.arange(probs.shape[-1] - 1, dtype=labels.dtype)
    reached = labels[..., None] <= classes.reshape((1,) * labels.ndim + (-1,))
    score = jnp.sum((cumulative - reached.astype(probs.dtype)) ** 2, axis=-1)
    return jnp.where(inside, score, jnp.nan)


def ranked_log_score(probs: ArrayLike, labels: ArrayLike) -> Array:
    """Log score of each event "class <= c" of ordered classes, added up.

    -sum_c log P(class <= c) where label <= c, and log P(class > c) where not

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      probs: (..., C), classes in order.
      labels: (...) integers in [0, C); NaN for a traced one outside.
    Returns:
      (...) nats; inf where an event that came was called impossible, with a finite gradient.
    Raises:
      ValueError: if the shapes differ, a label is out of range, or a row does not sum to one.
      TypeError: if labels are not integers.
    Source: Tödter, Ahrens (2012), Monthly Weather Review 140.

    Examples:
      >>> print(ranked_log_score(jnp.array([[0.5, 0.25, 0.25]]), jnp.array([2])))  # log 2 + log 4
      [2.0794]
    """
    probs, labels = _probabilities(probs, labels)
    inside = (labels >= 0) & (labels < probs.shape[-1])
    below = jnp.cumsum(probs, axis=-1)[..., :-1]
    above = jnp.cumsum(probs[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    classes = jnp.arange(probs.shape[-1] - 1, dtype=labels.dtype)
    reached = labels[..., None] <= classes.reshape((1,) * labels.ndim + (-1,))
    score = -jnp.sum(safe_log(jnp.where(reached, below, above)), axis=-1)
    return jnp.where(inside, _at_least_zero(score), jnp.nan)


def _at_least_zero(score: Array) -> Array:
    # 1 plus one rounding is a probability too; the sum turns -0 into 0
    return jnp.where(score < 0, 0, score) + 0.0


def _probabilities(probs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    probs, labels = _classes("probs", probs, labels)
    check_simplex("probs", probs)
    return probs, labels


def _classes(name: str, values: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    (values,) = named_floats(**{name: values})
    labels = as_array("labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them first")
    if values.ndim < 1 or values.shape[-1] < 1 or labels.shape != values.shape[:-1]:
        raise ValueError(
            f"{name} must have shape (..., C) and labels (...), got {values.shape} and "
            f"{labels.shape}"
        )
    classes = values.shape[-1]
    check_values("labels", labels, lambda v: (v >= 0) & (v < classes), f"in 0..{classes - 1}")
    return values, labels


def _pick(values: Array, labels: Array) -> Array:
    """values[..., label]; NaN for a label that is no class."""
    inside = (labels >= 0) & (labels < values.shape[-1])
    at = jnp.where(inside, labels, 0)
    picked = jnp.take_along_axis(values, at[..., None], axis=-1)[..., 0]
    return jnp.where(inside, picked, jnp.nan)


def _paired(probs: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:
    probs, outcome = named_floats(probs=probs, outcome=outcome)
    check_same_shape(probs=probs, outcome=outcome)
    # a probability of one may be a rounding above it
    most = 1 + 4 * float(jnp.finfo(probs.dtype).eps)
    for name, value in (("probs", probs), ("outcome", outcome)):
        check_values(name, value, lambda v: ~((v < 0) | (v > most)), "between 0 and 1")
    return probs, outcome
