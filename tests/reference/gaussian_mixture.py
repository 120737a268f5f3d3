"""EM of a Gaussian mixture in NumPy, float64, one component after another: the reference."""

import numpy as np
from scipy.stats import multivariate_normal


def log_joint(x, weights, means, covariances):
    """(N, K) log w[k] + log N(x_n | mean_k, covariance_k)."""
    columns = [
        np.log(w) + multivariate_normal(m, c).logpdf(x).reshape(len(x))
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return np.stack(columns, axis=1)


def e_step(x, weights, means, covariances):
    """((N, K) responsibilities, (N,) log density)."""
    joint = log_joint(x, weights, means, covariances)
    total = np.logaddexp.reduce(joint, axis=1)
    return np.exp(joint - total[:, None]), total


def m_step(x, shares):
    """(weights, means, full covariances) from (N, K) weighted responsibilities."""
    counts = shares.sum(axis=0)
    means = shares.T @ x / counts[:, None]
    covariances = []
    for k, mean in enumerate(means):
        gap = x - mean
        covariances.append((shares[:, k, None] * gap).T @ gap / counts[k])
    return counts / counts.sum(), means, np.stack(covariances)


def problem(seed=0, num_rows=60, num_dims=3, num_components=2):
    """(x, weights, means, covariances): overlapping blobs and a start that is off the truth."""
    rng = np.random.default_rng(seed)
    centers = 2 * rng.normal(size=(num_components, num_dims))
    roots = np.eye(num_dims) + 0.4 * rng.normal(size=(num_components, num_dims, num_dims))
    labels = rng.integers(num_components, size=num_rows)
    noise = rng.normal(size=(num_rows, num_dims))
    x = centers[labels] + np.einsum("nij,nj->ni", roots[labels], noise)
    weights = rng.dirichlet(np.full(num_components, 5.0))
    means = centers + 0.5 * rng.normal(size=centers.shape)
    factors = np.eye(num_dims) + 0.2 * rng.normal(size=roots.shape)
    return x, weights, means, np.einsum("kij,klj->kil", factors, factors) * 2
