"""Calibration against peers, on the same data to the same answer.

    python benchmarks/bench_calibration.py           a minute or two
    python benchmarks/bench_calibration.py --quick   small sizes, seconds

relplot takes part where it is installed.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import timing
from netcal.metrics import ECE
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from likelax import calibration

NUM_BINS = 15


def forecasts(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Over-confident forecasts and what came true, float32."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(2, 1, size).astype(np.float32)
    return confidence, (rng.uniform(size=size) < confidence**1.3).astype(np.float32)


def bench_ece(size: int) -> None:
    """ECE of 15 equal bins; scikit-learn gives the curve alone, so its counts are added."""
    confidence, outcome = forecasts(size)
    c, y = jnp.asarray(confidence), jnp.asarray(outcome)
    ours = jax.jit(lambda c, y: calibration.ece(calibration.bin_statistics(c, y)))
    whole = outcome.astype(int)
    edges = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(edges, confidence), minlength=NUM_BINS)
    share = counts[counts > 0] / size

    def curve() -> float:
        accuracy, mean = calibration_curve(outcome, confidence, n_bins=NUM_BINS)
        return float(share @ np.abs(accuracy - mean))

    peers = {
        "scikit-learn curve": curve,
        "netcal": lambda: ECE(NUM_BINS).measure(confidence, whole),
    }
    timing.compare(f"ECE, {size} rows", lambda: ours(c, y), peers, check=float, rtol=1e-4)


def bench_smooth(size: int) -> None:
    """Smooth ECE; forecasts of exactly 0 and 1 are absent here, since relplot is wrong on them."""
    confidence, outcome = forecasts(size)
    c, y = jnp.asarray(confidence), jnp.asarray(outcome)
    ours = jax.jit(calibration.smooth_ece)
    relplot = timing.optional("relplot")
    peers = {} if relplot is None else {"relplot": lambda: relplot.smECE(confidence, outcome)}
    timing.compare(f"smooth ECE, {size} rows", lambda: ours(c, y), peers, check=float, rtol=1e-2)


def bench_bootstrap(size: int, resamples: int) -> None:
    """All resamples of the ECE; the loop over rows drawn anew does a fiftieth and is scaled."""
    c, y = (jnp.asarray(a) for a in forecasts(size))
    key = jax.random.key(0)

    @jax.jit
    def ours(key: jax.Array, c: jax.Array, y: jax.Array) -> jax.Array:
        bins = calibration.bootstrap_bins(key, c, y, num_resamples=resamples)
        return jax.vmap(calibration.ece)(bins)

    timing.compare(
        f"ECE bootstrap, {size} rows, {resamples} resamples", lambda: ours(key, c, y), {}
    )


def bench_isotonic(size: int) -> None:
    """Isotonic regression against scikit-learn's compiled loop.

    It gets float64: in float32 scikit-learn joins inputs that are less than 1e-6 apart.
    """
    confidence, outcome = forecasts(size)
    c, y = jnp.asarray(confidence), jnp.asarray(outcome)
    ours = jax.jit(lambda c, y: calibration.fit_isotonic(c, y).values)
    peer = IsotonicRegression()
    wide = confidence.astype(float), outcome.astype(float)
    peers = {"scikit-learn": lambda: np.sort(peer.fit_transform(*wide))}
    timing.compare(f"isotonic, {size} rows", lambda: ours(c, y), peers, check=np.asarray, rtol=1e-3)


def main() -> None:
    """Run all rows."""
    quick = timing.asked_quick(__doc__)
    warnings.simplefilter("ignore")
    timing.print_setting("scikit-learn", "netcal", "relplot")
    million = 20_000 if quick else 1_000_000
    bench_ece(million)
    bench_smooth(10_000)
    bench_smooth(million)
    bench_bootstrap(2_000 if quick else 10_000, 1000)
    bench_isotonic(10_000)


if __name__ == "__main__":
    main()
