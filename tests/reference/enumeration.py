"""Hidden Markov models by brute force: every path listed, in NumPy float64.

The independent reference of the kernels. Nothing here shares an idea with them.
"""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass
class Enumeration:
    """paths (P, n): all paths of the n steps that count; log_joint (P,): log p(path, x)."""

    paths: np.ndarray
    log_joint: np.ndarray
    starts: np.ndarray
    num_states: int
    num_steps: int


def _lse(a):
    peak = np.max(a, initial=-np.inf)
    return peak + np.log(np.sum(np.exp(a - peak))) if np.isfinite(peak) else -np.inf


def enumerate_paths(log_initial, log_transition, log_lik, length=None, starts=None):
    """List every path. Arguments as the kernels', converted to float64."""
    log_initial, log_transition, log_lik = (
        np.asarray(a, np.float64) for a in (log_initial, log_transition, log_lik)
    )
    num_steps, num_states = log_lik.shape
    n = num_steps if length is None else min(int(length), num_steps)
    cuts = np.zeros(num_steps, bool) if starts is None else np.array(starts, bool)
    cuts[0] = True
    if log_transition.ndim == 2:
        log_transition = np.broadcast_to(
            log_transition, (max(num_steps - 1, 0), num_states, num_states)
        )
    paths = np.array(list(itertools.product(range(num_states), repeat=n)), int)
    paths = paths.reshape(num_states**n, n)
    log_joint = np.zeros(len(paths))
    for t in range(n):
        log_joint = log_joint + log_lik[t, paths[:, t]]
        if cuts[t]:
            log_joint = log_joint + log_initial[paths[:, t]]
        else:
            log_joint = log_joint + log_transition[t - 1, paths[:, t - 1], paths[:, t]]
    return Enumeration(paths, log_joint, cuts, num_states, num_steps)


def log_prob(e):
    return _lse(e.log_joint)


def log_marginals(e):
    """(T, K) log p(z_t = k | x); -inf at padding. All -inf if the data are impossible."""
    out = np.full((e.num_steps, e.num_states), -np.inf)
    total = log_prob(e)
    for t, k in itertools.product(range(e.paths.shape[1]), range(e.num_states)):
        if np.isfinite(total):
            out[t, k] = _lse(e.log_joint[e.paths[:, t] == k]) - total
    return out


def log_pairwise(e):
    """(T-1, K, K) log p(z_t = i, z_t+1 = j | x); -inf where t+1 is padding or begins a sequence."""
    out = np.full((max(e.num_steps - 1, 0), e.num_states, e.num_states), -np.inf)
    total = log_prob(e)
    states = range(e.num_states)
    for t in range(e.paths.shape[1] - 1):
        if e.starts[t + 1] or not np.isfinite(total):
            continue
        for i, j in itertools.product(states, states):
            pick = (e.paths[:, t] == i) & (e.paths[:, t + 1] == j)
            out[t, i, j] = _lse(e.log_joint[pick]) - total
    return out


def best(e):
    """(score, paths that attain it)."""
    score = np.max(e.log_joint)
    return score, e.paths[np.isclose(e.log_joint, score, rtol=1e-12, atol=1e-12)]


def posterior_entropy(e):
    """Entropy of p(path | x), nats."""
    log_post = e.log_joint - log_prob(e)
    post = np.exp(log_post)
    return -np.sum(np.where(post > 0, post * np.where(post > 0, log_post, 0), 0))
