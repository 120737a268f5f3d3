"""Diagnostics of dependent draws: ESS, R-hat, and standard errors."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from likelax.monte_carlo.estimate import Estimate
from likelax.numerics import named_floats
from likelax.numerics.checks import checked
from likelax.numerics.tails import beta_quantile


def rhat(draws: ArrayLike) -> Array:
    """Rank-normalised split R-hat, the larger of bulk and tail; near 1 if the chains agree.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (M, N) M chains of N draws, N at least 4. vmap over quantities.
    Returns:
      A scalar. NaN where every draw is the same, or one of them is NaN.
    Raises:
      ValueError: draws of another shape.
    Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), Rank-normalization,
      folding, and localization: an improved R-hat.

    Examples:
      >>> bool(jax.jit(rhat)(jax.random.normal(jax.random.key(0), (4, 500))) < 1.01)
      True
    """
    halves = _split(_chains(draws))
    folded = jnp.abs(halves - jnp.median(halves))
    return jnp.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded)))


def ess_bulk(draws: ArrayLike) -> Array:
    """Effective sample size of M chains for the centre of the distribution, by normal scores.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (M, N) M chains of N draws, N at least 4.
    Returns:
      A scalar: M N if all draws are equal, NaN if one of them is NaN.
    Raises:
      ValueError: draws of another shape.
    Source: Vehtari et al. (2021), as for `rhat`.

    Examples:
      >>> bool(jax.jit(ess_bulk)(jax.random.normal(jax.random.key(0), (4, 500))) > 1500)
      True
    """
    return _ess(_normal_scores(_split(_chains(draws))))


def ess_tail(draws: ArrayLike) -> Array:
    """Effective sample size for the tails: the smaller of those for the 5% and 95% quantiles.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (M, N) M chains of N draws, N at least 4.
    Returns:
      A scalar: M N if all draws are equal, NaN if one of them is NaN.
    Raises:
      ValueError: draws of another shape.
    Source: Vehtari et al. (2021), as for `rhat`.

    Examples:
      >>> bool(jax.jit(ess_tail)(jax.random.normal(jax.random.key(0), (4, 500))) > 1000)
      True
    """
    chains = _chains(draws)
    return jnp.minimum(_ess_quantile(chains, 0.05), _ess_quantile(chains, 0.95))


def chain_mean(draws: ArrayLike) -> Estimate:
    """The mean of M chains of N draws, with a standard error for dependent draws.

    standard_error = sd / sqrt(ess)

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (M, N) M chains of N draws, N at least 4.
    Returns:
      An `Estimate` of scalars.
    Raises:
      ValueError: draws of another shape.
    Source: Vehtari et al. (2021), as for `rhat`.

    Examples:
      >>> print(jax.jit(chain_mean)(jnp.zeros((2, 4))).standard_error)
      0.0
    """
    chains = _chains(draws)
    ess = _ess(_split(chains))
    # about a draw, so that constants have no spread and large values lose no digits
    anchor = chains[0, 0]
    gaps = chains - anchor
    error = jnp.std(gaps, ddof=1) / jnp.sqrt(ess)
    return Estimate(anchor + jnp.mean(gaps), error, ess, jnp.asarray(chains.size))


@checked()
def quantile(draws: ArrayLike, prob: float) -> Estimate:
    """A quantile of M chains of N draws with its Monte Carlo standard error.

    Half the distance between the order statistics that a beta distribution with the
    quantile's effective sample size puts at -1 and +1 standard deviations.

    Float32: within 1e-5 of 1 + its size, and of one rounding of the arguments.

    Args:
      draws: (M, N), N at least 4; independent draws may come as (1, N).
      prob: in (0, 1).
    Raises:
      ValueError: draws of another shape, or prob out of range.
    Source: Vehtari et al. (2021), section 4.4.

    Examples:
      >>> print(quantile(jnp.arange(101.0)[None], 0.5).value)
      50.0
    """
    if not 0 < prob < 1:
        raise ValueError(f"quantile wants prob in (0, 1), got {prob}.")
    chains = _chains(draws)
    ess = _ess_quantile(chains, prob)
    a, b = ess * prob + 1, ess * (1 - prob) + 1
    ordered = jnp.sort(chains.reshape(-1))
    size = ordered.shape[0]
    low = jnp.floor(jnp.maximum(beta_quantile(a, b, 0.1586553) * size - 1, 0))
    high = jnp.ceil(jnp.minimum(beta_quantile(a, b, 0.8413447) * size - 1, size - 1))
    places = (jnp.where(jnp.isnan(ess), 0, end).astype(int) for end in (high, low))
    above, below = (ordered[place] for place in places)
    width = jnp.where(jnp.isnan(ess), jnp.nan, above - below)
    return Estimate(jnp.quantile(ordered, prob), width / 2, ess, jnp.asarray(size))


def _chains(draws: ArrayLike) -> Array:
    (draws,) = named_floats(draws=draws)
    if draws.ndim != 2 or draws.shape[0] < 1 or draws.shape[1] < 4:
        raise ValueError(
            f"draws must be (chains, draws) with at least 4 draws each, got {draws.shape}; "
            "add an axis for a single chain, and vmap over quantities."
        )
    return draws


def _split(chains: Array) -> Array:
    half = chains.shape[1] // 2
    return jnp.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_scores(chains: Array) -> Array:
    """Ranks, ties averaged, through the normal quantile function; NaN where a draw is NaN."""
    flat = chains.reshape(-1)
    ordered = jnp.sort(flat)
    first = jnp.searchsorted(ordered, flat, side="left")
    last = jnp.searchsorted(ordered, flat, side="right")
    rank = (first + last + 1).astype(chains.dtype) / 2
    scores = ndtri((rank - 0.375) / (flat.shape[0] + 0.25)).reshape(chains.shape)
    return jnp.where(jnp.any(jnp.isnan(flat)), jnp.nan, scores)


def _rhat(chains: Array) -> Array:
    num_draws = chains.shape[1]
    chains = chains - chains[0, 0]
    between = num_draws * jnp.var(jnp.mean(chains, axis=1), ddof=1)
    within = jnp.mean(jnp.var(chains - chains[:, :1], axis=1, ddof=1))
    return jnp.sqrt((between / within + num_draws - 1) / num_draws)


def _ess_quantile(chains: Array, prob: float) -> Array:
    below = (chains <= jnp.quantile(chains, prob)).astype(chains.dtype)
    return _ess(_split(jnp.where(jnp.isnan(chains), jnp.nan, below)))


def _ess(chains: Array) -> Array:
    """Geyer's initial monotone sequence over the chains' mean autocovariance."""
    num_chains, num_draws = chains.shape
    total = num_chains * num_draws
    constant = jnp.all(chains == chains[0, 0])
    chains = chains - chains[0, 0]
    covariance = jnp.mean(_autocovariance(chains), axis=0)
    within = covariance[0] * num_draws / (num_draws - 1)
    spread = covariance[0]
    if num_chains > 1:
        spread = spread + jnp.var(jnp.mean(chains, axis=1), ddof=1)
    correlation = 1 - (within - covariance) / jnp.where(constant, 1, spread)
    correlation = correlation.at[0].set(1)
    pairs = correlation[: num_draws // 2 * 2].reshape(-1, 2)
    sums = jnp.sum(pairs, axis=1)
    last = max((num_draws - 3) // 2, 0)
    positive = jnp.cumprod(sums > 0)
    end = jnp.minimum(jnp.sum(positive), last)
    monotone = jax.lax.cummin(sums)
    inside = jnp.arange(sums.shape[0]) < end
    tail = jnp.where((pairs[end, 0] > 0) | (sums[end] >= 0), pairs[end, 0], 0)
    time = -1 + 2 * jnp.sum(jnp.where(inside, monotone, 0)) + tail
    time = jnp.maximum(time, 1 / jnp.log10(jnp.asarray(total, chains.dtype)))
    # comparisons with NaN are false, so NaN has to be set explicitly
    ess = jnp.where(jnp.any(jnp.isnan(chains)), jnp.nan, total / time)
    return jnp.where(constant, total, ess)


def _autocovariance(chains: Array) -> Array:
    """(M, N) at lags 0 to N - 1, each sum divided by N."""
    num_draws = chains.shape[1]
    gaps = chains - chains[:, :1]
    centred = gaps - jnp.mean(gaps, axis=1, keepdims=True)
    length = 2 ** (2 * num_draws - 1).bit_length()
    spectrum = jnp.fft.rfft(centred, n=length, axis=1)
    power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
    return jnp.fft.irfft(power, n=length, axis=1)[:, :num_draws].astype(chains.dtype) / num_draws
