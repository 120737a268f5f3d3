"""Calibration, scoring and leave-one-out against peers, on the same data to the same answer.

    python benchmarks/bench_calibration.py           a minute or two
    python benchmarks/bench_calibration.py --quick   small sizes, seconds

relplot and scoringrules take part where they are installed.
"""

import argparse
import importlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from netcal.metrics import ECE
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from likelax import calibration, predictive, scoring

NUM_BINS = 15


def optional(name: str) -> Any:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


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
    relplot = optional("relplot")
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
    """Isotonic regression against scikit-learn's compiled loop."""
    confidence, outcome = forecasts(size)
    c, y = jnp.asarray(confidence), jnp.asarray(outcome)
    ours = jax.jit(lambda c, y: calibration.fit_isotonic(c, y).values)
    peer = IsotonicRegression()
    peers = {"scikit-learn": lambda: np.sort(peer.fit_transform(confidence, outcome))}
    timing.compare(f"isotonic, {size} rows", lambda: ours(c, y), peers, check=np.asarray, rtol=1e-3)


def bench_crps(members: int, size: int) -> None:
    """Fair ensemble CRPS."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(members, size)).astype(np.float32)
    x = rng.normal(size=size).astype(np.float32)
    d, seen = jnp.asarray(draws), jnp.asarray(x)
    ours = jax.jit(scoring.crps_ensemble)
    rules = optional("scoringrules")
    peers = {}
    if rules is not None:
        peers["scoringrules"] = lambda: rules.crps_ensemble(
            x, draws, m_axis=0, estimator="fair", backend="numpy"
        )
    name = f"CRPS, {members} members, {size} forecasts"
    timing.compare(name, lambda: ours(d, seen), peers, check=np.asarray, rtol=1e-3)


def bench_loo(num_draws: int, size: int) -> None:
    """PSIS-LOO of an array of log likelihoods."""
    import arviz

    rng = np.random.default_rng(0)
    log_lik = -((rng.normal(size=(num_draws, size)) * 0.3 + rng.normal(size=(1, size))) ** 2) / 2
    array = jnp.asarray(log_lik, jnp.float32)
    ours = jax.jit(lambda a: predictive.loo(a).value)
    data = arviz.from_dict(
        posterior={"m": np.zeros((1, num_draws))}, log_likelihood={"x": log_lik[None]}
    )
    peers = {"arviz": lambda: float(arviz.loo(data, reff=1.0).elpd_loo)}
    name = f"PSIS-LOO, {num_draws} draws x {size} rows"
    timing.compare(name, lambda: ours(array), peers, check=float, rtol=1e-4, repeats=3)


def main() -> None:
    """Run all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    timing.print_setting("scikit-learn", "netcal", "arviz", "relplot", "scoringrules")
    million = 20_000 if quick else 1_000_000
    bench_ece(million)
    bench_smooth(10_000)
    bench_smooth(million)
    bench_bootstrap(2_000 if quick else 10_000, 1000)
    bench_isotonic(10_000)
    bench_crps(100, 1_000 if quick else 20_000)
    bench_loo(400 if quick else 4000, 100 if quick else 2000)


if __name__ == "__main__":
    main()
