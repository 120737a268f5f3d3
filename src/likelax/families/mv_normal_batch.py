"""K multivariate normals at once: the E step of their mixture as a few large products.

The vmapped verbs of `MvNormal` cost K products of N x D x D and read the data K times. About
a common centre, in coordinates whitened by the mixture's own covariance, one product serves
all components. That form cancels in float32 where a component is much narrower than the whole,
so every chunk of rows carries a certificate, and a chunk without it takes the exact form.
"""

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax import numerics
from likelax.families.normal import LOG_2PI

if TYPE_CHECKING:
    from likelax.families.mv_normal import MvNormal
from likelax.numerics import chunks
from likelax.statistics import Moments

# Bound in nats on what rounding may do to a log density before the exact form is taken. A bound:
# against float64 the largest of 4000 errors is a tenth of it, their mean a thousandth.
TOLERANCE = 1e-2


class _Frame(NamedTuple):
    """What a chunk needs of the components; z = root^-1 (x - center).

    Attributes:
      center: (D,), root: (D, D) lower, unroot: its inverse: the mixture's mean and covariance.
      mean: (K, D) the components' means as z.
      whiten: (K, D, D) lower: from z to the component's standard coordinates.
      log_norm: (K,) log weight + log density at the mean, nats.
      narrow: squared norm of the largest `whiten`: the amplification of rounding.
    """

    center: Array
    root: Array
    unroot: Array
    mean: Array
    whiten: Array
    log_norm: Array
    narrow: Array


def chunk_rows(num_components: int, num_dims: int) -> int:
    """Rows whose features stay in a processor's cache: 512 to 4096, a power of two; more on
    an accelerator."""
    width = max(num_components, num_dims) * num_dims
    return 2 ** round(math.log2(min(max(600_000 / width, 512), 4096))) * chunks.scale()


def e_step(
    components: "MvNormal", log_weights: Array, x: Array, weights: Array
) -> tuple[Array, Moments, Array]:
    """The E step of a mixture of K multivariate normals, in chunks of rows.

    Args:
      components: `MvNormal` with a leading axis K on loc and scale_tril.
      log_weights: (K,) nats.
      x: (N, D), at least one row.
      weights: (N,).
    Returns:
      (counts (K,), `Moments` with leading axis K, sum_n weights[n] log p(x[n]) in nats).
    """
    num_dims = x.shape[1]
    frame = _frame(components, log_weights)

    def chunk(rows: Array, shares: Array) -> tuple[tuple[Array, Moments], Array]:
        # a row of no weight may hold anything, infinity included
        rows = jnp.where(shares[:, None] == 0, frame.center[None, :], rows)
        z, unsafe = _whitened(frame, rows)
        counts, stats, log_prob = jax.lax.cond(
            unsafe,
            lambda: _exact(components, log_weights, rows, shares),
            lambda: _certified(frame, z, shares),
        )
        return (counts, stats), log_prob

    size = chunk_rows(log_weights.shape[0], num_dims)
    total, log_prob = chunks.sum_rows(chunk, x, weights, size)
    return *total, log_prob


def log_prob(components: "MvNormal", x: Array) -> Array:
    """log p_k(x) of K multivariate normals, in chunks of rows.

    Args:
      components: `MvNormal` with a leading axis K on loc and scale_tril.
      x: (N, D), at least one row.
    Returns:
      (N, K) nats.
    """
    num_components, num_dims = jnp.shape(components.loc)
    frame = _frame(components, _even(num_components, x.dtype))
    log_norm = frame.log_norm + math.log(num_components)

    def chunk(rows: Array) -> Array:
        z, unsafe = _whitened(frame, rows)
        return jax.lax.cond(
            unsafe,
            lambda: jax.vmap(lambda c: c.log_prob(rows), out_axes=-1)(components),
            lambda: (log_norm[:, None] - _quadratic(frame, z)[0] / 2).T,
        )

    return chunks.map_rows(chunk, x, chunk_rows(num_components, num_dims))


def statistics(components: "MvNormal", x: Array, shares: Array) -> Moments:
    """Moments of K multivariate normals from shares of rows, in chunks of rows.

    Args:
      components: `MvNormal` with a leading axis K on loc and scale_tril.
      x: (N, D), at least one row.
      shares: (N, K) non-negative.
    Returns:
      `Moments` with leading axis K.
    """
    num_components, num_dims = jnp.shape(components.loc)
    frame = _frame(components, _even(num_components, x.dtype))

    def chunk(rows: Array, shares: Array) -> tuple[Moments, Array]:
        unused = jnp.all(shares == 0, axis=1)
        rows = jnp.where(unused[:, None], frame.center[None, :], rows)
        z, unsafe = _whitened(frame, rows)
        each = jax.vmap(lambda c, share: c._statistics(rows, share), in_axes=(0, -1))
        stats = jax.lax.cond(
            unsafe,
            lambda: each(components, shares),
            lambda: _moments(frame, shares.T, _quadratic(frame, z)[1]),
        )
        return stats, jnp.zeros((), z.dtype)

    return chunks.sum_rows(chunk, x, shares, chunk_rows(num_components, num_dims))[0]


def _even(num_components: int, dtype: Any) -> Array:
    return jnp.full(num_components, -math.log(num_components), dtype)


def _whitened(frame: _Frame, rows: Array) -> tuple[Array, Array]:
    """(z (D, n), whether the form in raw moments would lose digits)."""
    z = numerics.matmul(frame.unroot, (rows - frame.center[None, :]).T)
    amplified = jnp.finfo(z.dtype).eps * frame.narrow * jnp.max(jnp.sum(z * z, axis=0))
    # one branch for all members of a vmapped batch: `cond` stays a branch, not both and a choice
    return z, numerics.any_in_batch(jax.lax.stop_gradient(~(amplified <= TOLERANCE)))


def _quadratic(frame: _Frame, z: Array) -> tuple[Array, Any]:
    """Squared distances (K, n) and the map from shares (K, n) to (first, second moments)."""
    num_components, num_dims = frame.mean.shape
    form = _by_features if num_components >= num_dims else _by_blocks
    return form(frame, z)


def _frame(components: "MvNormal", log_weights: Array) -> _Frame:
    loc, tril, log_weights = numerics.as_float(components.loc, components.scale_tril, log_weights)
    tril = jnp.tril(tril)
    num_dims = loc.shape[-1]
    weights = jnp.exp(log_weights)
    center = numerics.matmul(weights, loc)
    gap = loc - center[None, :]
    # L_k L_k^T and the means' scatter, as one product: [sqrt(w_k) L_k ..., sqrt(w) gap]
    half = jnp.sqrt(weights)
    wide = jnp.concatenate(
        [
            jnp.moveaxis(half[:, None, None] * tril, 0, 1).reshape(num_dims, -1),
            (half[:, None] * gap).T,
        ],
        axis=1,
    )
    root = numerics.cholesky(numerics.matmul(wide, wide.T))
    unroot = numerics.inverse_lower(root)
    whiten = jnp.tril(jax.vmap(numerics.solve_lower, in_axes=(0, None))(tril, root))
    log_det = jnp.sum(jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)
    return _Frame(
        center,
        root,
        unroot,
        numerics.matmul(gap, unroot.T),
        whiten,
        log_weights - log_det - num_dims * LOG_2PI / 2,
        jnp.max(jnp.sum(whiten**2, axis=(-2, -1))),
    )


def _certified(frame: _Frame, z: Array, weights: Array) -> tuple[Array, Moments, Array]:
    """One chunk z (D, n), through raw second moments about the common centre."""
    square, second = _quadratic(frame, z)
    joint = frame.log_norm[:, None] - square / 2
    peak = jnp.max(joint, axis=0)
    share = jnp.exp(joint - peak[None, :])
    total = jnp.sum(share, axis=0)
    share = share * (weights / total)[None, :]
    log_prob = jnp.sum(weights * (peak + jnp.log(total)))
    stats = _moments(frame, share, second)
    return stats.weight, stats, log_prob


def _moments(frame: _Frame, share: Array, second: Any) -> Moments:
    """Moments in the coordinates of x, from shares (K, n) of the rows z."""
    counts = jnp.sum(share, axis=1)
    mean, scatter = second(share)
    mean = numerics.divide(mean, counts[:, None], frame.mean)
    scatter = scatter - counts[:, None, None] * mean[:, :, None] * mean[:, None, :]
    back = numerics.matmul(numerics.matmul(frame.root, scatter), frame.root.T)
    mean = frame.center[None, :] + numerics.matmul(mean, frame.root.T)
    return Moments(counts, mean, back)


def _by_features(frame: _Frame, z: Array) -> tuple[Array, Any]:
    """Squared distances (K, n) and the map from shares to (first, second moments).

    The products z_i z_j, i <= j, then z and 1 are features that all components share.
    """
    num_dims = z.shape[0]
    rows = [z[i:] * z[i : i + 1] for i in range(num_dims)]
    features = jnp.concatenate([*rows, z, jnp.ones_like(z[:1])])
    first, second = jnp.triu_indices(num_dims)
    precision = numerics.matmul(jnp.swapaxes(frame.whiten, -1, -2), frame.whiten)
    once = jnp.where(first == second, 1, 2).astype(z.dtype)
    linear = jnp.sum(precision * frame.mean[:, None, :], axis=-1)
    constant = jnp.sum(linear * frame.mean, axis=-1)
    rows = [precision[:, first, second] * once[None, :], -2 * linear, constant[:, None]]
    square = numerics.matmul(jnp.concatenate(rows, axis=1), features)

    def moments(share: Array) -> tuple[Array, Array]:
        sums = numerics.matmul(share, features.T)
        packed = sums[:, : first.shape[0]]
        upper = jnp.zeros(precision.shape, z.dtype).at[:, first, second].set(packed)
        return sums[:, first.shape[0] : -1], upper.at[:, second, first].set(packed)

    return square, moments


def _cuts(num_dims: int) -> list[int]:
    """Edges of the column blocks of a triangle. More than two cost more than they save.

    Examples:
      >>> _cuts(1), _cuts(50)
      ([0, 1], [0, 25, 50])
    """
    return [0, (num_dims + 1) // 2, num_dims] if num_dims > 1 else [0, num_dims]


def _by_blocks(frame: _Frame, z: Array) -> tuple[Array, Any]:
    """The same through one product for all whiteners, with most of their zeros left out."""
    num_components, num_dims, _ = frame.whiten.shape
    num_rows = z.shape[1]
    rows = z.T
    cuts = list(itertools.pairwise(_cuts(num_dims)))
    shift = jnp.sum(frame.whiten * frame.mean[:, None, :], axis=-1)

    def part(low: int, high: int) -> Array:
        block = frame.whiten[:, low:high, :high]
        white = numerics.matmul(rows[:, :high], jnp.moveaxis(block, 2, 0).reshape(high, -1))
        white = white - shift[:, low:high].reshape(1, -1)
        return jnp.sum(jnp.square(white).reshape(num_rows, num_components, high - low), axis=-1)

    square = functools.reduce(jnp.add, [part(*cut) for cut in cuts])

    def moments(share: Array) -> tuple[Array, Array]:
        def columns(low: int, high: int) -> Array:
            scaled = share.T[:, :, None] * rows[:, None, low:high]
            product = numerics.matmul(z[low:], scaled.reshape(num_rows, -1))
            product = jnp.moveaxis(product.reshape(num_dims - low, num_components, -1), 1, 0)
            return jnp.pad(product, ((0, 0), (low, 0), (0, 0)))

        lower = jnp.tril(jnp.concatenate([columns(*cut) for cut in cuts], axis=2))
        return numerics.matmul(share, rows), lower + jnp.swapaxes(jnp.tril(lower, -1), -1, -2)

    return square.T, moments


def _exact(
    components: "MvNormal", log_weights: Array, x: Array, weights: Array
) -> tuple[Array, Moments, Array]:
    """One chunk through the components' own verbs."""
    log_lik = jax.vmap(lambda c: c.log_prob(x), out_axes=-1)(components)
    joint = log_lik + jnp.broadcast_to(log_weights, log_lik.shape)
    log_resp, log_total = numerics.log_normalize(joint)
    shares = numerics.weighted(weights[:, None], jnp.exp(log_resp))
    stats = jax.vmap(lambda c, share: c._statistics(x, share), in_axes=(0, -1))(components, shares)
    return jnp.sum(shares, axis=0), stats, numerics.weighted_sum(weights, log_total)
