"""Where fits start, and many of them at once: the best is chosen on the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.data import Labelled, Sequences
from likelax.fit import doors
from likelax.fit.em import em, mle
from likelax.fit.result import Fit, best


def kmeans(key: Array, x: Any, num_clusters: int, *, num_steps: int = 10) -> tuple[Array, Array]:
    """k-means: k-means++ seeds, then Lloyd's steps.

    Args:
      key: random key.
      x: (..., D) finite data; (...,) is taken as D = 1 by the caller adding an axis.
      num_clusters: K.
      num_steps: Lloyd steps, a fixed number; an empty cluster keeps its centre.
    Returns:
      (labels (...) integers in 0..K-1, centers (K, D)).
    Source: Arthur & Vassilvitskii (2007), SODA, 1027-1035.

    Examples:
      >>> labels, centers = kmeans(jax.random.key(0), jnp.array([[0.0], [0.1], [9.0]]), 2)
      >>> print(jnp.sort(centers[:, 0]))
      [0.05 9.  ]
    """
    (x,) = numerics.as_float(x)
    points = x.reshape(-1, x.shape[-1])
    points = points - jnp.mean(points, axis=0, keepdims=True)

    def distances(centers: Array) -> Array:
        gap = points[:, None, :] - centers[None, :, :]
        return jnp.sum(gap * gap, axis=-1)

    def seed(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        nearest, center = carry
        nearest = jnp.minimum(nearest, distances(center[None, :])[:, 0])
        chosen = points[jax.random.categorical(key, numerics.safe_log(nearest))]
        return (nearest, chosen), chosen

    keys = jax.random.split(key, num_clusters)
    first = points[jax.random.randint(keys[0], (), 0, points.shape[0])]
    far = jnp.full(points.shape[0], jnp.inf, points.dtype)
    _, rest = jax.lax.scan(seed, (far, first), keys[1:])
    centers = jnp.concatenate([first[None, :], rest])

    def lloyd(centers: Array, _: None) -> tuple[Array, None]:
        member = jax.nn.one_hot(jnp.argmin(distances(centers), axis=1), num_clusters, dtype=x.dtype)
        sums = jnp.matmul(member.T, points, precision="highest")
        return numerics.divide(sums, jnp.sum(member, axis=0)[:, None], centers), None

    centers, _ = jax.lax.scan(lloyd, centers, None, length=num_steps)
    labels = jnp.argmin(distances(centers), axis=1).reshape(x.shape[:-1])
    offset = jnp.mean(x.reshape(-1, x.shape[-1]), axis=0, keepdims=True)
    return labels, centers + offset


def from_labels(model: Any, x: Any, labels: Array, prior: Any = None) -> Any:
    """A mixture or hidden Markov model started from given labels: one M step.

    Args:
      model: gives the structure; a component without labels keeps its parameters.
      x: data, as `fit.em` takes them.
      labels: integers, one per latent variable; -1 is unknown.
      prior: the model's conjugate prior, or None.
    Returns:
      The model after one M step.
    """
    if isinstance(x, Sequences):
        return mle(model, Sequences(Labelled(x.values, labels), x.lengths, x.starts), prior=prior)
    return mle(model, Labelled(x, labels), prior=prior)


def restarts(
    key: Array,
    start: Callable[[Array], Any],
    x: Any,
    *,
    num_restarts: int,
    weights: Any = None,
    prior: Any = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
) -> Fit:
    """Fit from many starts in one vmapped program, and keep the best.

    Args:
      key: random key.
      start: a function from a key to the model to start from; it is vmapped.
      x: data, as for `fit.em`.
      num_restarts: how many starts.
      weights, prior, tol, max_steps, chunk_size: as for `fit.em`.
    Returns:
      The `Fit` with the highest objective.
    Raises:
      ValueError: as for `fit.em`, or for fewer than one restart.

    Examples:
      >>> from likelax.families import Normal
      >>> from likelax.mixture import Mixture
      >>> x = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])
      >>> def start(key):
      ...     loc = jax.random.choice(key, x, (2,), replace=False)
      ...     return Mixture(jnp.array([0.5, 0.5]), Normal(loc, jnp.ones(2)))
      >>> fit = restarts(jax.random.key(0), start, x, num_restarts=4)
      >>> print(jnp.sort(fit.model.components.loc))
      [-2.  2.]
    """
    if num_restarts < 1:
        raise ValueError(f"fit.restarts: num_restarts must be at least 1; got {num_restarts}")
    models = jax.vmap(start)(jax.random.split(key, num_restarts))
    doors.check("fit.restarts", models, x, weights)
    options = {"tol": tol, "max_steps": max_steps, "chunk_size": chunk_size}
    run = functools.partial(em, x=x, weights=weights, prior=prior, **options)
    return best(jax.vmap(run)(models))
