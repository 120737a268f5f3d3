"""Starts of fits, and fits from many starts in one program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, Labelled
from likelax.families import MvNormal
from likelax.fit import lanes, validation
from likelax.fit._em import EM, mle
from likelax.fit.algorithm import Data
from likelax.fit.result import Fit, M, best
from likelax.mixture import Mixture, MixturePrior
from likelax.model import PriorLike
from likelax.numerics.checks import (
    check_finite,
    check_size,
    check_values,
    checked,
    is_concrete,
)


@checked(num_steps=0)
def kmeans(
    key: Array, x: DataLike, num_clusters: int, *, num_steps: int = 10
) -> tuple[Array, Array]:
    """k-means: k-means++ seeds, then Lloyd's steps.

    Args:
      key: random key.
      x: (..., D) finite data.
      num_clusters: K.
      num_steps: Lloyd steps, a fixed number; an empty cluster keeps its centre.
    Returns:
      (labels (...) integers in 0..K-1, centers (K, D)).
    Raises:
      ValueError: if x has no row, or a value that is not finite.
    Source: Arthur & Vassilvitskii (2007), SODA, 1027-1035.

    Examples:
      >>> labels, centers = kmeans(jax.random.key(0), jnp.array([[0.0], [0.1], [9.0]]), 2)
      >>> print(jnp.sort(centers[:, 0]))
      [0.05 9.  ]
    """
    (x,) = numerics.named_floats(x=x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(
            f"fit.kmeans: x must have shape (..., D) with a row at least; got {x.shape}"
        )
    check_finite(x=x)
    return _kmeans(key, x, num_clusters, num_steps)


@functools.partial(jax.jit, static_argnames=("num_clusters", "num_steps"))
def _kmeans(key: Array, x: Array, num_clusters: int, num_steps: int) -> tuple[Array, Array]:
    points = x.reshape(-1, x.shape[-1])
    points = points - jnp.mean(points, axis=0, keepdims=True)

    centers = _seeds(key, points, num_clusters)

    def distances(centers: Array) -> Array:
        gap = points[:, None, :] - centers[None, :, :]
        return jnp.sum(gap * gap, axis=-1)

    def lloyd(centers: Array, _: None) -> tuple[Array, None]:
        member = jax.nn.one_hot(jnp.argmin(distances(centers), axis=1), num_clusters, dtype=x.dtype)
        sums = numerics.matmul(member.T, points)
        return numerics.divide(sums, jnp.sum(member, axis=0)[:, None], centers), None

    centers, _ = jax.lax.scan(lloyd, centers, None, length=num_steps)
    labels = jnp.argmin(distances(centers), axis=1).reshape(x.shape[:-1])
    offset = jnp.mean(x.reshape(-1, x.shape[-1]), axis=0, keepdims=True)
    return labels, centers + offset


def _seeds(key: Array, points: Array, num_clusters: int) -> Array:
    """(K, D) rows of points, each drawn in proportion to its squared distance from those before."""

    def seed(
        carry: tuple[Array, Array, Array], _: None
    ) -> tuple[tuple[Array, Array, Array], Array]:
        nearest, center, key = carry
        key, key_draw = jax.random.split(key)
        gap = points - center[None, :]
        nearest = jnp.minimum(nearest, jnp.sum(gap * gap, axis=-1))
        # fewer distinct points than clusters: the rest are drawn evenly
        spread = jnp.where(jnp.max(nearest) > 0, nearest, 1)
        chosen = points[jax.random.categorical(key_draw, numerics.safe_log(spread))]
        return (nearest, chosen, key), chosen

    key_first, key_rest = jax.random.split(key)
    first = points[jax.random.randint(key_first, (), 0, points.shape[0])]
    far = jnp.full(points.shape[0], jnp.inf, points.dtype)
    _, rest = jax.lax.scan(seed, (far, first, key_rest), length=num_clusters - 1)
    return jnp.concatenate([first[None, :], rest])


@checked()
def at_points(
    key: Array,
    x: DataLike,
    max_components: int,
    size: Array | int | None = None,
    *,
    spread: bool = True,
) -> Mixture:
    """A Gaussian mixture as a start: its means are rows, its covariances that of all data.

    Args:
      key: random key.
      x: (N, D) finite data.
      max_components: K, the length of the arrays.
      size: how many components have weight, the first ones; it may be traced, so that one
        compiled program serves all sizes (`sweep`). None: all K.
      spread: choose the rows by k-means++, far from each other; False: evenly at random.
    Returns:
      `Mixture` of `MvNormal`; weights 1 / size, and 0 beyond. Where the covariance of all data
      is singular, as with a constant column, its diagonal is used instead, with a width of one for
      constant columns.
    Raises:
      ValueError: where x is not (N, D) or not finite, or size is not in 1..max_components.

    Examples:
      >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [8.0, 0.0], [8.0, 1.0]])
      >>> print(at_points(jax.random.key(0), x, 3, 2).weights)
      [0.5 0.5 0. ]
    """
    (x,) = numerics.named_floats(x=x)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"fit.at_points: x must have shape (N, D) with N >= 1; got {x.shape}")
    check_finite(x=x)
    if size is not None:
        check_size("size", size)
        if is_concrete(size) and size > max_components:
            raise ValueError(
                f"fit.at_points: size must be at most max_components, {max_components}; got {size}"
            )
    offset = jnp.mean(x, axis=0, keepdims=True)
    points = x - offset
    size = jnp.asarray(max_components if size is None else size)
    if spread:
        loc = _seeds(key, points, max_components) + offset
    else:
        loc = jax.random.choice(key, x, (max_components,), replace=x.shape[0] < max_components)
    covariance = numerics.matmul(points.T, points) / x.shape[0]
    tril = numerics.cholesky(covariance)
    widths = jnp.sqrt(jnp.diagonal(covariance))
    apart = jnp.diag(jnp.where(widths > 0, widths, 1))
    tril = jnp.where(jnp.all(jnp.isfinite(tril)) & jnp.all(jnp.diagonal(tril) > 0), tril, apart)
    used = jnp.arange(max_components) < size
    weights = jnp.where(used, 1 / size.astype(x.dtype), 0)
    return Mixture(weights, MvNormal(loc, jnp.broadcast_to(tril, (max_components, *tril.shape))))


@checked()
def from_labels(model: M, x: DataLike, labels: Array, prior: PriorLike | None = None) -> M:
    """A mixture or hidden Markov model started from given labels: one M step.

    Args:
      model: gives the structure; a component without labels keeps its parameters.
      x: data, as `fit.em` takes them.
      labels: integers, one per latent variable: (...) for a mixture, (..., T) for an HMM; -1 is
        unknown.
      prior: the model's conjugate prior, or None.
    Returns:
      The model after one M step.
    Raises:
      ValueError: as for `fit.em`.

    Examples:
      >>> from likelax.families import Poisson
      >>> start = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.ones(2)))
      >>> print(from_labels(start, jnp.array([0, 2, 9]), jnp.array([0, 0, 1])).components.rate)
      [1. 9.]
    """
    return mle(model, Labelled(x, labels), prior=prior)


@checked(model=None)
def from_responsibilities(
    model: Mixture, x: DataLike, responsibilities: ArrayLike, prior: MixturePrior | None = None
) -> Mixture:
    """A mixture started from given responsibilities: one M step.

    Args:
      model: gives the structure; a component that no row belongs to keeps its parameters.
      x: data with leading axes (...), plain or `Masked`.
      responsibilities: (..., K) non-negative probabilities, such as those of another model:
        `other.responsibilities(x)`.
      prior: the model's conjugate prior, or None.
    Returns:
      The model after one M step.
    Raises:
      ValueError: where their last axis is not K, one is negative or not finite, or x is empty or holds
        NaN.

    Examples:
      >>> from likelax.families import Poisson
      >>> start = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.ones(2)))
      >>> shares = jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
      >>> print(from_responsibilities(start, jnp.array([0, 3, 9]), shares).components.rate)
      [1. 7.]
    """
    if not isinstance(model, Mixture):
        raise TypeError(f"from_responsibilities: model must be a Mixture, got {model!r}")
    model.check_shapes("from_responsibilities")
    (shares,) = numerics.named_floats(responsibilities=responsibilities)
    if shares.ndim < 2 or shares.shape[-1] != model.num_components:
        raise ValueError(
            f"from_responsibilities: responsibilities must have shape "
            f"(..., {model.num_components}), one for each row and component; got {shares.shape}"
        )
    x, _ = validation.check("from_responsibilities", model, x)
    rows = jax.eval_shape(model.log_prob, x).shape
    if shares.shape[:-1] != rows:
        raise ValueError(
            f"from_responsibilities: x has rows {rows}, so wanted shape "
            f"{(*rows, model.num_components)}; got {shares.shape}"
        )
    check_values(
        "responsibilities", shares, lambda v: (v >= 0) & np.isfinite(v), "finite and not negative"
    )
    return model.m_step(model.complete_statistics(x, shares), prior)


@checked(tol=None, max_steps=None, chunk_size=None, num_restarts=None, weights=None)
def restarts(
    key: Array,
    start: Callable[[Array], M],
    x: DataLike,
    *,
    num_restarts: int,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    keep_all: bool = False,
) -> Fit[M]:
    """Fit from many starts in one vmapped program, and return the best.

    Args:
      key: random key.
      start: a function from a key to the model to start from; it is vmapped.
      x: data, as for `fit.em`.
      num_restarts: R, the number of starts.
      weights, prior, tol, max_steps, chunk_size: as for `fit.em`.
      keep_all: return the fits of all starts, to compare them.
    Returns:
      The `Fit` with the highest objective, as `best` chooses it. With keep_all a `Fit` with a
      leading axis R on every leaf: entry r is from the start of `jax.random.split(key, R)[r]`, and
      `best` of it is the fit that is returned without keep_all.
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
    check_size("fit.restarts: num_restarts", num_restarts)
    models = jax.vmap(start)(jax.random.split(key, num_restarts))
    algorithm = EM(tol, max_steps, chunk_size)
    fits = _from_all("fit.restarts", algorithm, models, Data(x, weights, prior))
    return fits if keep_all else best(fits)


@checked(tol=None, max_steps=None, chunk_size=None, num_restarts=None, weights=None)
def sweep(
    key: Array,
    start: Callable[[Array, Array], M],
    x: DataLike,
    *,
    sizes: Any,
    num_restarts: int,
    weights: ArrayLike | None = None,
    prior: PriorLike | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    chunk_size: int | None = None,
    keep_all: bool = False,
) -> Fit[M]:
    """Fits of several sizes, each from many starts, in one program; the best start of each size.

    Args:
      key: random key.
      start: from (key, size) to the model to start from. All sizes share one shape: a mixture
        gives weight zero to the components beyond `size`, as `at_points` does, and EM keeps it.
      x: data, as for `fit.em`.
      sizes: (S,) integers.
      num_restarts: R, starts for each size.
      weights, prior, tol, max_steps, chunk_size: as for `fit.em`.
      keep_all: return the fits of all starts.
    Returns:
      `Fit` with a leading axis S, or with keep_all leading axes (S, R). Compare them by `bic`, or on
      held-out data.
    Raises:
      ValueError: as for `restarts`.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> x = np.concatenate([rng.normal(-4, 1, (30, 2)), rng.normal(4, 1, (30, 2))])
      >>> x = x.astype(np.float32)
      >>> start = lambda key, size: at_points(key, x, 3, size)
      >>> fits = sweep(jax.random.key(0), start, x, sizes=[1, 2], num_restarts=2, max_steps=20)
      >>> print(jnp.argmax(fits.objective))
      1
    """
    check_size("fit.sweep: num_restarts", num_restarts)
    sizes = numerics.as_array("sizes", sizes)
    if sizes.ndim != 1 or not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise ValueError(
            f"fit.sweep: sizes must be integers of shape (S,); got {sizes.dtype} of {sizes.shape}"
        )
    check_values("fit.sweep: sizes", sizes, lambda v: v >= 1, "at least 1")
    shape = sizes.shape[0], num_restarts
    keys = jax.random.split(key, shape[0] * shape[1])
    models = jax.vmap(start)(keys, jnp.repeat(sizes, num_restarts))
    algorithm = EM(tol, max_steps, chunk_size)
    fits = _from_all("fit.sweep", algorithm, models, Data(x, weights, prior))
    fits = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), fits)
    return fits if keep_all else jax.vmap(best)(fits)


def _from_all(name: str, algorithm: EM, models: M, data: Data) -> Fit[M]:
    """The fits from all starts, stacked, to the same data."""
    x, weights = validation.check(name, models, data.x, data.weights, stacked=True)
    algorithm.check(name)
    return lanes.run(algorithm, models, Data(x, weights, data.prior), lanes.COMMON)
