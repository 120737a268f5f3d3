"""How large may the next great earthquake be? The tail of the seismic moment, with its uncertainty.

The Gutenberg-Richter law says that seismic moments have a Pareto tail with an index near 2/3. Of the
earthquakes of magnitude 8.5 and more since 1900 there are sixteen, so the index is uncertain, and a
prediction has to say so. Magnitudes: U.S. Geological Survey, list of the largest earthquakes.

python examples/great_earthquakes.py
"""

import jax
import jax.numpy as jnp

import likelax as lx

MAGNITUDES = [9.5, 9.2, 9.1, 9.1, 9.0, 8.8, 8.8, 8.7, 8.6, 8.6, 8.6, 8.6, 8.6, 8.5, 8.5, 8.5]
LEAST = 8.45  # magnitudes are rounded to tenths


def moment(magnitude):
    """Seismic moment in units of that of the least magnitude."""
    return 10 ** (1.5 * (jnp.asarray(magnitude) - LEAST))


def main() -> None:
    x = moment(jnp.array(MAGNITUDES))
    prior = lx.Gamma(2.0, 3.0)  # mean 2/3, as good as two earthquakes
    tail = lx.ParetoKnownScale(scale=1.0, shape=1.0)
    stats, _ = tail.e_step(x)
    index = prior.posterior(stats)
    low, high = index.quantile(jnp.array([0.05, 0.95]))
    print(f"tail index {index.mean():.2f}, 90% between {low:.2f} and {high:.2f}")
    print(f"chance that it is below 2/3: {index.cdf(2 / 3):.2f}; below 1 the mean is infinite")

    largest = moment(9.45)
    plug_in = jnp.exp(lx.ParetoKnownScale(1.0, tail.m_step(stats).shape).log_survival(largest))
    ahead = tail.predictive(index)
    chance = jnp.exp(ahead.log_survival(largest))
    print("\nchance that the next one of at least 8.5 is a 9.5 or more")
    print(f"  {plug_in:.3f} at the most probable index, {chance:.3f} over all of them")
    of_ten = 1 - jnp.exp(10 * jnp.log1p(-chance))
    print(f"  {of_ten:.2f} that one of the next ten is, if each had an index of its own")
    draws = index.sample(jax.random.key(0), (100_000,))
    shared = 1 - jnp.mean((1 - largest**-draws) ** 10)
    print(f"  {shared:.2f} with one index for all ten")

    surprise = jnp.log10(ahead.quantile(0.99)) / 1.5 + LEAST
    print(f"\n99 in 100 stay below magnitude {surprise:.1f}, if the law holds that far")


if __name__ == "__main__":
    main()
