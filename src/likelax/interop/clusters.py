"""Clusters of k-means, where fits of the estimators start."""

import functools
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import ThreadpoolController

FEW_NUMBERS = 2**16


def are_few(x: np.ndarray, size: int) -> bool:
    """Whether a fit to x with `size` components takes less time than the compilation of its program.

    Args:
      x: (N, D).
      size: K.

    Examples:
      >>> are_few(np.zeros((150, 4)), 3), are_few(np.zeros((100_000, 8)), 10)
      (True, False)
    """
    return bool(x.size * size <= FEW_NUMBERS)


def clusters(
    x: np.ndarray, size: int, random_state: Any, *, num_starts: int = 1, weights: Any = None
) -> KMeans:
    """A fitted `KMeans`, by one thread where there are few data.

    Args:
      x: (N, D).
      size: the number of clusters.
      random_state: as in scikit-learn.
      num_starts: of which the best is kept.
      weights: (N,), or None.

    Examples:
      >>> found = clusters(np.array([[0.0], [1.0], [8.0], [9.0]]), 2, 0)
      >>> print(np.sort(found.cluster_centers_[:, 0]))
      [0.5 8.5]
    """
    means = KMeans(n_clusters=size, n_init=num_starts, random_state=random_state)
    if not are_few(x, size):
        return means.fit(x, sample_weight=weights)
    # The threads of scikit-learn's k-means wait for each other in a busy loop. With few rows, on a
    # machine that does something else too, that takes a hundred times as long as the work.
    with _threads().limit(limits=1, user_api="openmp"):
        return means.fit(x, sample_weight=weights)


@functools.cache
def _threads() -> ThreadpoolController:
    """Made once: it looks through all libraries that are loaded."""
    return ThreadpoolController()
