"""Line 1: the density integrates to one, and is finite with its gradient on held-out data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from likelax.checklist import view
from likelax.checklist.verdict import Line, Numbers, Verdict, line
from likelax.data import DataLike
from likelax.model import SupportsLogProb
from likelax.numerics import as_float, logsumexp

_SCALES = (1.0, 0.1, 0.01, 0.001)  # kernel widths, so that a narrow component is not missed
_FREEDOM = 3.0  # degrees of freedom of the kernels: heavier tails than most models


class Mass(NamedTuple):
    """An estimate of the total probability, with its standard error and its method."""

    value: float
    error: float
    method: str


def check(
    key: Array, model: SupportsLogProb, heldout: DataLike, *, num_draws: int, tolerance: float
) -> Line:
    """Line 1. See `checklist.run`."""
    scores, grads = view.call(_scored, model, heldout)
    held = np.asarray(scores).reshape(-1)
    n = held.size
    if np.isnan(held).any() or np.isposinf(held).any():
        return line(
            1, Verdict.FAIL,
            f"log_prob is NaN or +inf on held-out rows {view.row_names(~(held < np.inf))}.",
            "Declare missing values with Masked, and check the parameters for NaN and zero scales.",
            numbers=Numbers(statistic=float(np.sum(~(held < np.inf))), threshold=0, n=n),
        )  # fmt: skip
    if np.isneginf(held).any():
        return line(
            1, Verdict.FAIL,
            f"The model calls held-out rows {view.row_names(np.isneginf(held))} impossible (-inf).",
            "Fit with a prior (pseudo-counts), or widen the support of the model.",
            numbers=Numbers(statistic=float(np.isneginf(held).sum()), threshold=0, n=n),
        )  # fmt: skip
    bad = _infinite(grads)
    if bad:
        return line(
            1, Verdict.FAIL,
            f"The gradient of log_prob is not finite for {', '.join(bad)}.",
            "Use numerics.safe_log, xlogy and logsumexp where probabilities can be zero.",
            numbers=Numbers(statistic=len(bad), threshold=0, n=n),
        )  # fmt: skip
    if not view.can_sample(model):
        return line(
            1, Verdict.INCONCLUSIVE,
            "log_prob is finite on held-out data, but without `sample` its total mass is unknown.",
            "Give the model a `sample(key, shape)`.", Numbers(n=n),
        )  # fmt: skip
    mass = total_mass(key, model, num_draws=num_draws)
    numbers = Numbers(statistic=mass.value, threshold=tolerance, n=n)
    said = f"Total probability {mass.value:.4f} +- {mass.error:.4f} by {mass.method}."
    if not np.isfinite(mass.value) or mass.error > 0.05:
        return line(
            1, Verdict.INCONCLUSIVE, said + " The error is too large to tell.",
            "Raise num_draws, or check the fields of a product one by one.", numbers=numbers,
        )  # fmt: skip
    # five standard errors: weights have heavier tails than a normal distribution
    if abs(mass.value - 1) > max(tolerance, 5 * mass.error):
        return line(
            1, Verdict.FAIL, said,
            "log_prob lacks its normalising constant, or weights do not sum to one.", numbers,
        )  # fmt: skip
    return line(
        1,
        Verdict.PASS,
        f"{said} All held-out values and gradients are finite (n = {n}).",
        numbers=numbers,
    )


def _scored(model: SupportsLogProb, x: DataLike) -> tuple[Array, Any]:
    """(log p of the rows, gradient of their sum); no gradient for a model that is no pytree."""
    leaves = jax.tree.leaves(model)
    if not leaves or not all(isinstance(leaf, float) or hasattr(leaf, "dtype") for leaf in leaves):
        return view.log_prob(model, x), ()

    def total(model: SupportsLogProb) -> tuple[Array, Array]:
        rows = view.log_prob(model, x)
        return jnp.sum(rows), rows

    grads, rows = jax.grad(total, has_aux=True, allow_int=True)(model)
    return rows, grads


def _infinite(grads: Any) -> list[str]:
    """Names of the parameters whose gradient is not finite."""
    return [
        jax.tree_util.keystr(path)
        for path, grad in jax.tree_util.tree_leaves_with_path(grads)
        if jnp.issubdtype(grad.dtype, jnp.floating) and not np.isfinite(grad).all()
    ]


def total_mass(
    key: Array, model: SupportsLogProb, *, num_draws: int = 16384, num_centers: int = 256
) -> Mass:
    """Sum or integral of exp(log_prob) over all events, by the best method for the event.

    A scalar integer is enumerated, a scalar real integrated by quadrature; anything else by
    importance sampling from kernels around the model's own draws. For a model of sequences
    the events are series of two steps.
    """
    center_key, key = jax.random.split(key)
    shape = (num_centers, 2) if view.is_serial(model) else (num_centers,)
    centers = view.call(view.sample, center_key, model, static=shape)
    leaves = jax.tree.leaves(centers)
    if len(leaves) == 1 and leaves[0].ndim == 1 and np.isfinite(leaves[0]).all():
        scalar = leaves[0]
        rebuild = jax.tree.structure(centers)
        if view.is_whole(scalar):
            return _enumerated(model, scalar, rebuild)
        mass = _integrated(model, scalar, rebuild)
        if mass.error < 1e-3:
            return mass
    return _sampled(key, model, centers, num_draws)


def _enumerated(model: SupportsLogProb, draws: Array, tree: Any) -> Mass:
    low, high = int(np.min(draws)), int(np.max(draws))
    reach = min(10 * (high - low + 10), 50_000)
    first = max(low - reach, -1) if low >= 0 else low - reach
    grid = np.arange(first, high + reach).astype(draws.dtype)
    log_p = view.call(view.log_prob, model, jax.tree.unflatten(tree, [grid]))
    density = np.exp(np.asarray(log_p, np.float64))
    return Mass(float(density.sum()), max(density[0], density[-1]) * reach, "enumeration")


def _integrated(model: SupportsLogProb, draws: Array, tree: Any) -> Mass:
    """Trapezoid rule over nodes far out and, at every scale, around each of the model's draws.

    The draws find peaks that an even grid would step over; the error is the difference to the
    rule on every other node.
    """
    seen = np.asarray(draws, np.float64)
    centre, spread = seen.mean(), seen.std()
    spread = max(spread, 1e-3 * (1 + abs(centre)))
    far = centre + 0.3 * spread * np.sinh(np.linspace(-9.0, 9.0, 4097))
    steps = spread * np.logspace(-5.0, 0.0, 24)
    steps = np.concatenate([-steps, np.zeros(1), steps])
    nodes = np.concatenate([far, (seen[:, None] + steps[None]).reshape(-1)])
    nodes = np.sort(nodes).astype(draws.dtype)
    log_p = view.call(view.log_prob, model, jax.tree.unflatten(tree, [nodes]))
    x, density = np.asarray(nodes, np.float64), np.exp(np.asarray(log_p, np.float64))
    fine, coarse = (float(np.trapezoid(density[::k], x[::k])) for k in (1, 2))
    return Mass(fine, abs(fine - coarse), "quadrature")


def _sampled(key: Array, model: SupportsLogProb, centers: Any, num_draws: int) -> Mass:
    """Mean of p / q over draws from q, a mixture of kernels around the centers."""
    draws, proposal = view.call(_propose, key, centers, static=num_draws)
    log_p = view.call(view.log_prob, model, draws)
    weight = jnp.exp(jnp.where(jnp.isnan(log_p), -jnp.inf, log_p) - proposal)
    mean, error = float(jnp.mean(weight)), float(jnp.std(weight)) / num_draws**0.5
    trust = float(jnp.sum(weight)) ** 2 / float(jnp.sum(weight**2))
    if not trust > 100:
        error = float("inf")
    return Mass(mean, error, f"importance sampling (effective size {trust:.0f})")


def _propose(key: Array, centers: Any, num_draws: int) -> tuple[Any, Array]:
    """Draws from the kernels, and their log density.

    Real coordinates: Student's t of one of four widths. Whole coordinates: half of the time
    the center's value, else a two-sided geometric step from it.
    """
    leaves, tree = jax.tree.flatten(centers)
    whole = [view.is_whole(leaf) for leaf in leaves]
    flat = [as_float(leaf)[0].reshape(leaf.shape[0], -1) for leaf in leaves]
    dims, size = sum(f.shape[1] for f in flat), flat[0].shape[0]
    log_scale = jnp.log(jnp.asarray(_SCALES, flat[0].dtype))
    widths = []
    for f, discrete in zip(flat, whole, strict=True):
        sd = jnp.std(f, axis=0)
        sd = jnp.where(sd > 0, sd, 1)
        widths.append(sd if discrete else sd * size ** (-1 / (dims + 4)))

    pick_key, scale_key, *keys = jax.random.split(key, 2 + len(flat))
    pick = jax.random.randint(pick_key, (num_draws,), 0, size)
    scale = jax.random.randint(scale_key, (num_draws,), 0, len(_SCALES))
    draws = []
    for k, f, width, discrete in zip(keys, flat, widths, whole, strict=True):
        if discrete:
            draws.append(f[pick] + _whole_noise(k, width, (num_draws, f.shape[1])))
        else:
            noise = jax.random.t(k, _FREEDOM, (num_draws, f.shape[1]), f.dtype)
            draws.append(f[pick] + noise * width[None] * jnp.exp(log_scale)[scale][:, None])

    def log_q(x: list[Array]) -> Array:
        fixed, scaled = jnp.zeros(size, x[0].dtype), jnp.zeros((len(_SCALES), size), x[0].dtype)
        for value, f, width, discrete in zip(x, flat, widths, whole, strict=True):
            gap = value[None] - f
            if discrete:
                fixed = fixed + jnp.sum(_whole_log_prob(gap, width[None]), axis=1)
            else:
                z = (gap / width[None])[None] / jnp.exp(log_scale)[:, None, None]
                each = _t_log_prob(z) - jnp.log(width)[None, None] - log_scale[:, None, None]
                scaled = scaled + jnp.sum(each, axis=2)
        return logsumexp(scaled + fixed[None]) - jnp.log(float(size * len(_SCALES)))

    log_density = jax.lax.map(log_q, draws, batch_size=512)
    shaped = [
        d.reshape(num_draws, *leaf.shape[1:]).astype(leaf.dtype)
        for d, leaf in zip(draws, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, shaped), log_density


def _t_log_prob(z: Array) -> Array:
    half = (_FREEDOM + 1) / 2
    constant = gammaln(half) - gammaln(_FREEDOM / 2) - jnp.log(_FREEDOM * jnp.pi) / 2
    return constant - half * jnp.log1p(z**2 / _FREEDOM)


def _ratio(width: Array) -> Array:
    return jnp.maximum(width, 1) / (1 + jnp.maximum(width, 1))


def _whole_noise(key: Array, width: Array, shape: tuple[int, ...]) -> Array:
    """0 half of the time, else the difference of two geometric variables."""
    stay_key, up_key, down_key = jax.random.split(key, 3)
    log_r = jnp.log(_ratio(width))[None]
    up = jnp.floor(jnp.log1p(-jax.random.uniform(up_key, shape, width.dtype)) / log_r)
    down = jnp.floor(jnp.log1p(-jax.random.uniform(down_key, shape, width.dtype)) / log_r)
    return jnp.where(jax.random.bernoulli(stay_key, 0.5, shape), 0, up - down)


def _whole_log_prob(gap: Array, width: Array) -> Array:
    r = _ratio(width)
    spread = jnp.log((1 - r) / (1 + r)) + jnp.abs(gap) * jnp.log(r)
    return jnp.log(0.5 * (gap == 0).astype(gap.dtype) + 0.5 * jnp.exp(spread))
