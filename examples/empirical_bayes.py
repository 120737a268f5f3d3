"""Empirical Bayes: fit a prior to many groups by Newton steps on their summed log evidence.

Large earthquakes, decade by decade: each decade has its own rate, the rates share a gamma
prior, and the prior is what makes the counts of all decades most probable.
"""

import jax
import jax.numpy as jnp

from likelax.data import Masked
from likelax.datasets import earthquakes
from likelax.families import Gamma, Poisson
from likelax.numerics import newton


def main() -> None:
    table = earthquakes()
    decade = table.year // 10 - table.year[0] // 10
    num_decades = int(decade[-1]) + 1
    # one row a decade; the last has seven years, so three of its entries are missing
    counts = jnp.zeros((num_decades, 10), int).at[decade, table.year % 10].set(table.counts)
    seen = jnp.zeros(counts.shape, bool).at[decade, table.year % 10].set(True)
    groups = jax.vmap(lambda x, o: Poisson(1.0).e_step(Masked(x, o))[0])(counts, seen)

    def log_evidence(prior: Gamma) -> jax.Array:
        return jax.vmap(prior.log_evidence)(groups).sum()

    start = Gamma(jnp.array(1.0), jnp.array(0.1))
    found = jax.jit(lambda prior: newton.climb(log_evidence, prior, ("concentration", "rate")))(
        start
    )
    prior = found.point
    print(
        f"log evidence {log_evidence(start):.2f} -> {found.value:.2f}, status {int(found.status)}"
    )
    print(f"prior: mean {prior.mean():.1f} a year, concentration {prior.concentration:.1f}")
    posterior = jax.vmap(prior.posterior)(groups)
    low, high = (jax.vmap(lambda decade, p=p: decade.quantile(p))(posterior) for p in (0.05, 0.95))
    learnt = jax.vmap(lambda decade: decade.kl_divergence(prior))(posterior)
    rows = zip(
        groups.events,
        groups.exposure,
        jax.vmap(Gamma.mean)(posterior),
        low,
        high,
        learnt,
        strict=True,
    )
    for i, (events, years, rate, least, most, nats) in enumerate(rows):
        first = 10 * (int(table.year[0]) // 10 + i)
        print(f"{first}s: {events / years:5.1f} a year seen, {rate:5.1f} expected", end="")
        print(f" ({least:.1f} to {most:.1f}), {nats:.1f} nats learnt")


if __name__ == "__main__":
    main()
