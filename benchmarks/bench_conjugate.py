"""A million conjugate updates in one vmap, beside a loop of SciPy and vectorised NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from timing import asked_quick, compare, print_setting

from likelax.families import Gamma, Poisson

PER_GROUP = 8
PRIOR = (2.0, 0.5)


@jax.jit
def ours(counts: jax.Array) -> tuple[jax.Array, ...]:
    """Posterior mean, log evidence and log predictive probability of a zero, for every group."""

    def one(x: jax.Array) -> tuple[jax.Array, ...]:
        prior = Gamma(*map(jnp.float32, PRIOR))
        stats, _ = Poisson(1.0).e_step(x)
        posterior = prior.posterior(stats)
        return posterior.mean(), prior.log_evidence(stats), posterior.predictive().log_prob(0)

    return jax.vmap(one)(counts)


def by_array(counts: np.ndarray) -> tuple[np.ndarray, ...]:
    a, b = PRIOR
    events, exposure = counts.sum(1), counts.shape[1]
    a_n, b_n = a + events, b + exposure
    evidence = special.gammaln(a_n) - special.gammaln(a) + a * np.log(b) - a_n * np.log(b_n)
    evidence = evidence - special.gammaln(counts + 1).sum(1)
    return a_n / b_n, evidence, a_n * np.log(b_n / (b_n + 1))


def by_loop(counts: np.ndarray) -> list[tuple[float, ...]]:
    return [tuple(float(v[0]) for v in by_array(row[None])) for row in counts]


def main() -> None:
    groups = 100_000 if asked_quick(__doc__) else 1_000_000
    print_setting("scipy")
    counts = np.random.default_rng(0).poisson(3.0, (groups, PER_GROUP))
    device = jnp.asarray(counts, jnp.float32)
    few = counts[: groups // 100]
    rows = compare(
        f"gamma-Poisson posterior, evidence and predictive, {groups} groups of {PER_GROUP}",
        lambda: ours(device),
        {"NumPy and SciPy, arrays": lambda: by_array(counts)},
        check=lambda answer: np.stack([np.asarray(v[:1000]) for v in answer]),
        repeats=3,
    )
    print(f"  {groups / rows[0].median_ms / 1e3:.1f} million updates a second")
    compare(
        f"the same, {len(few)} groups, one after the other",
        lambda: ours(device[: len(few)]),
        {"SciPy, a Python loop": lambda: by_loop(few)},
        repeats=3,
    )


if __name__ == "__main__":
    main()
