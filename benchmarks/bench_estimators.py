"""GaussianMixture through the estimator, beside scikit-learn's, from the same starts.

Run: python benchmarks/bench_estimators.py, with --quick for a tenth of the rows.
"""

import warnings

import numpy as np
from sklearn import mixture
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from timing import asked_quick, compare, print_setting

from likelax.interop.sklearn import GaussianMixture


def run(name: str, x: np.ndarray, size: int, **options) -> None:
    options = {"n_components": size, "random_state": 0, **options}
    compare(
        f"GaussianMixture estimator, {name}, N={x.shape[0]} D={x.shape[1]} K={size} {x.dtype}",
        lambda: GaussianMixture(**options).fit(x).means_,
        {"scikit-learn": lambda: mixture.GaussianMixture(**options).fit(x).means_},
        check=lambda means: means,
        rtol=1e-3 if x.dtype == np.float64 else 2e-2,  # steps of float32 differ by their rounding
    )


def main() -> None:
    size = 10_000 if asked_quick(__doc__) else 100_000
    print_setting("scikit-learn")
    warnings.simplefilter("ignore", ConvergenceWarning)
    run("iris, starts of k-means", load_iris().data, 3)
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 3, (10, 8))[rng.integers(0, 10, size)] + rng.normal(size=(size, 8))
    for dtype in (np.float64, np.float32):
        run("starts of k-means", rows.astype(dtype), 10)
        # every number of steps is the same for both: no tolerance
        run(
            "20 steps, random start",
            rows.astype(dtype),
            10,
            init_params="random",
            tol=0.0,
            max_iter=20,
        )


if __name__ == "__main__":
    main()
