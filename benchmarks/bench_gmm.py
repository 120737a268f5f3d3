"""Gaussian mixtures by EM: the same number of steps from the same start, against peers.

Contenders get the same float32 data, start and number of steps. The check is the mean log
likelihood of the fitted parameters, computed for all of them by one NumPy function in float64.

    python benchmarks/bench_gmm.py           the three rows of the README, some minutes
    python benchmarks/bench_gmm.py --quick   small sizes, seconds
    python benchmarks/bench_gmm.py --ours    without the peers
"""

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timing

from likelax import datasets, fit
from likelax.families import MvNormal
from likelax.mixture import Mixture

STEPS = 10
FULL = [(200_000, 16, 32), (100_000, 50, 10), (1_000_000, 2, 5)]
QUICK = [(10_000, 16, 32), (5_000, 50, 10), (50_000, 2, 5)]


class Problem(NamedTuple):
    """Data (N, D) and the start: weights (K,), means (K, D), variances times the identity."""

    x: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def problem(num_rows: int, num_dims: int, num_components: int) -> Problem:
    """Overlapping blobs with correlated, unequal covariances; the start is wide."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(num_components, num_dims)) * 3
    tilt = rng.normal(size=(num_components, num_dims, num_dims)) / np.sqrt(num_dims)
    roots = np.eye(num_dims) + 0.5 * tilt
    labels = rng.integers(num_components, size=num_rows)
    noise = rng.normal(size=(num_rows, num_dims))
    x = np.empty((num_rows, num_dims))
    for k in range(num_components):
        mine = labels == k
        x[mine] = centers[k] + noise[mine] @ roots[k].T
    means = centers + rng.normal(size=centers.shape)
    weights = np.full(num_components, 1 / num_components)
    # wide enough that no component starts with fewer rows than dimensions, which stops the peers
    covariances = np.broadcast_to(4 * np.eye(num_dims), roots.shape)
    return Problem(*(a.astype(np.float32) for a in (x, weights, means, covariances)))


def likelax(p: Problem) -> Callable[[], Any]:
    components = MvNormal(jnp.asarray(p.means), jnp.sqrt(jnp.asarray(p.covariances)))
    start = Mixture(jnp.asarray(p.weights), components)
    x = jnp.asarray(p.x)

    def work() -> Any:
        found = fit.em(start, x, tol=0.0, max_steps=STEPS)
        tril = found.model.components.scale_tril
        return found.model.weights, found.model.components.loc, tril @ jnp.swapaxes(tril, -1, -2)

    return work


def scikit_learn(p: Problem) -> Callable[[], Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    def work() -> Any:
        model = GaussianMixture(
            len(p.weights),
            weights_init=p.weights / p.weights.sum(),
            means_init=p.means,
            precisions_init=np.linalg.inv(p.covariances),
            tol=0.0,
            reg_covar=0.0,
            max_iter=STEPS,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(p.x)
        return model.weights_, model.means_, model.covariances_

    return work


def gmmx(p: Problem) -> Callable[[], Any]:
    from gmmx import EMFitter, GaussianMixtureModelJax

    start = GaussianMixtureModelJax.from_squeezed(
        *(jnp.asarray(a) for a in (p.means, p.covariances, p.weights))
    )
    x = jnp.asarray(p.x)
    fitter = EMFitter(max_iter=STEPS, tol=-1.0, reg_covar=0.0)

    def work() -> Any:
        model = fitter.fit(x, start).gmm
        return (
            model.weights[0, :, 0, 0],
            model.means[0, :, :, 0],
            model.covariances.values[0],
        )

    return work


def mean_log_likelihood(p: Problem, answer: Any, num_rows: int = 20_000) -> np.ndarray:
    """Mean log density of the first rows under the fitted parameters, NumPy, float64."""
    weights, means, covariances = (np.asarray(a, np.float64) for a in answer)
    x = p.x[:num_rows].astype(np.float64)
    terms = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        tril = np.linalg.cholesky(covariance)
        white = np.linalg.solve(tril, (x - mean).T)
        log_norm = np.sum(np.log(np.diag(tril))) + x.shape[1] * np.log(2 * np.pi) / 2
        terms.append(np.log(weight) - np.sum(white**2, axis=0) / 2 - log_norm)
    return np.mean(np.logaddexp.reduce(terms, axis=0))


def sweep(num_restarts: int, max_size: int) -> None:
    """Every size from 1 to `max_size` from `num_restarts` k-means++ starts, on Old Faithful."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    geyser = datasets.faithful()
    rows = np.stack([geyser.eruption, geyser.waiting], axis=1).astype(np.float32)
    x, sizes, tol = jnp.asarray(rows), jnp.arange(1, max_size + 1), 1e-3

    @jax.jit
    def ours(key: jax.Array) -> jax.Array:
        return fit.sweep(
            key,
            lambda key, size: fit.at_points(key, x, max_size, size),
            x,
            sizes=sizes,
            num_restarts=num_restarts,
            # scikit-learn's is on the mean log likelihood, about -4.2 here
            tol=tol / 4.2,
            max_steps=100,
        ).objective

    def peer() -> list[float]:
        totals = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for size in range(1, max_size + 1):
                model = GaussianMixture(
                    size,
                    n_init=num_restarts,
                    init_params="k-means++",
                    tol=tol,
                    max_iter=100,
                    random_state=0,
                )
                totals.append(model.fit(rows).score(rows) * len(rows))
        return totals

    timing.compare(
        f"Old Faithful, K 1 to {max_size}, {num_restarts} restarts each",
        lambda: ours(jax.random.key(0)),
        {"scikit-learn": peer},
        # from three on the optimum depends on the starts, and theirs has a floor
        check=lambda totals: totals[:2],
        rtol=1e-3,
        repeats=3,
    )


def acceleration() -> None:
    """Steps and time of EM and of SQUAREM to one tolerance on overlapping clusters."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (2500, 2)), rng.normal(1.5, 1, (7500, 2))])
    with jax.enable_x64(True):
        start = fit.at_points(jax.random.key(0), x, 2)
        print("\nTwo clusters 2.1 widths apart, N10000 D2, float64, tol 1e-11")
        for name, method in (("EM", fit.em), ("SQUAREM", fit.squarem)):
            method(start, x, tol=1e-11, max_steps=5000)
            began = time.perf_counter()
            found = jax.block_until_ready(method(start, x, tol=1e-11, max_steps=5000))
            spent = 1e3 * (time.perf_counter() - began)
            total, steps = float(found.objective), int(found.num_steps)
            print(f"  {name:<10} {steps:6d} steps   {spent:10.1f} ms   log likelihood {total:.6f}")


def main() -> None:
    """Run the rows asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    parser.add_argument("--only", choices=["rows", "sweep", "acceleration"], help="one part")
    parser.add_argument("--row", type=int, help="one row only, from 0")
    options = parser.parse_args()
    timing.print_setting("scikit-learn", "gmmx")
    rates = timing.limits()
    product, exp, memory = rates["matrix_gflops"], rates["exp_g"], rates["memory_gb"]
    print(
        f"float32: matrix product {product:.0f} GFLOP/s, exp {exp:.1f} G/s, memory {memory:.0f} GB/s"
    )
    if options.only in (None, "acceleration"):
        acceleration()
    if options.only in (None, "sweep"):
        sweep(*((4, 3) if options.quick else (32, 10)))
    if options.only in ("acceleration", "sweep"):
        return
    rows = QUICK if options.quick else FULL
    for num_rows, num_dims, num_components in rows if options.row is None else [rows[options.row]]:
        p = problem(num_rows, num_dims, num_components)
        peers = {} if options.ours else {"scikit-learn": scikit_learn(p), "gmmx": gmmx(p)}
        name = f"GMM full, {STEPS} steps, N{num_rows} D{num_dims} K{num_components}"
        check = functools.partial(mean_log_likelihood, p)
        ours = timing.compare(name, likelax(p), peers, check=check, repeats=5)[0]
        # an E and an M step by their definition: K products of N x D x D each, 2 flops a term
        needed = (2 * STEPS + 1) * 2 * num_rows * num_components * num_dims**2 / 1e9
        floor = (STEPS + 1) * (num_rows * num_components / exp / 1e9 + 4 * p.x.size / memory / 1e9)
        print(
            f"  {needed / ours.median_ms * 1e3 / product:.0%} of the matrix-product rate "
            f"({needed:.0f} GFLOP by definition); {ours.median_ms / 1e3 / floor:.1f}x one pass of "
            "exp and memory a step"
        )


if __name__ == "__main__":
    main()
