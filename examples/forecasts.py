"""Forecasts of next year's number of large earthquakes, each from the years before it alone.

Four models are fitted again after every year, and judged by what they said of the next: by log
probability, by CRPS, and by intervals of four widths. Stacking then says how to mix them.

python examples/forecasts.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx

FIRST = 50  # years that the first fit sees
MASSES = jnp.array([0.5, 0.8, 0.9, 0.95])


def chain(size):
    """A hidden Markov model of `size` states, fitted to the first n years, and its log increments."""
    counts = jnp.asarray(lx.datasets.earthquakes().counts)
    rates = jnp.linspace(12.0, 30.0, size)
    moves = jnp.full((size, size), 0.1 / (size - 1)) + (0.9 - 0.1 / (size - 1)) * jnp.eye(size)
    start = lx.HMM(jnp.full(size, 1 / size), moves, lx.Poisson(rates))
    prior = lx.HMMPrior(transition=lx.Dirichlet(jnp.full((size, size), 1.5)))

    def fit(n):
        seen = lx.Sequences(counts[None], n[None])
        return lx.fit.em(start, seen, prior=prior, max_steps=100).model

    return fit, lambda model: model.filter(counts).log_increments, counts


def alone(model):
    """Independent years: the family of the model, fitted to the first n years."""
    counts = jnp.asarray(lx.datasets.earthquakes().counts)

    def fit(n):
        seen = jnp.where(jnp.arange(len(counts)) < n, 1.0, 0.0)
        return lx.fit.em(model, counts, weights=seen, max_steps=100).model

    return fit, lambda found: found.log_prob(counts), counts


def next_year(model, counts, t):
    """The distribution of year t given those before it."""
    if not isinstance(model, lx.HMM):
        return model
    ahead = jnp.exp(model.filter(counts).log_predicted[t])
    return lx.Mixture(ahead, model.emissions)


def main() -> None:
    models = {
        "Poisson": alone(lx.Poisson(20.0)),
        "negative binomial": alone(lx.NegativeBinomial(5.0, 0.2)),
        "2 states": chain(2),
        "3 states": chain(3),
    }
    results, draws_of, key = {}, {}, jax.random.key(0)
    for name, (fit, increments, counts) in models.items():
        results[name] = lx.predictive.leave_future_out(
            fit, increments, num_steps=len(counts), first=FIRST
        )

        def draw(t, key, fit=fit, counts=counts):
            return next_year(fit(t), counts, t).sample(key, (1000,))

        years = jnp.arange(FIRST, len(counts))
        keys = jax.random.split(jax.random.fold_in(key, len(draws_of)), len(years))
        draws_of[name] = jax.jit(lambda t, k, draw=draw: jax.lax.map(lambda v: draw(*v), (t, k)))(
            years, keys
        ).T.astype(float)

    seen = jnp.asarray(counts[FIRST:], float)
    print(f"{len(seen)} forecasts          log score       CRPS   interval score")
    for name, draws in draws_of.items():
        crps = lx.scoring.crps_ensemble(draws, seen).mean()
        tails = jnp.concatenate([(1 - MASSES) / 2, (1 + MASSES) / 2, jnp.array([0.5])])
        *ends, median = jnp.quantile(draws, tails, axis=0)
        low, high = (jnp.stack(part, axis=-1) for part in (ends[:4], ends[4:]))
        width = lx.scoring.weighted_interval_score(median, low, high, seen, mass=MASSES).mean()
        value = results[name].value / len(seen)
        print(f"  {name:22s} {value:10.3f} {crps:10.2f} {width:10.2f}")

    gaps = lx.predictive.compare_all(results, block_size=7)
    print("\nlog score below the best, in total, with its standard error")
    for name, gap in gaps.items():
        print(f"  {name:22s} {abs(gap.value):8.1f} +- {gap.standard_error:.1f}")
    weights = lx.predictive.stacking_weights(results)
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items() if weight > 5e-3)
    print(f"\nstacking mixes them as {shares}")
    high = jnp.asarray(np.quantile(np.asarray(counts), 0.9), float)
    threshold = {
        name: lx.scoring.threshold_crps_ensemble(draws, seen, low=high).mean()
        for name, draws in draws_of.items()
    }
    best = min(threshold, key=lambda name: float(threshold[name]))
    print(f"for years with more than {high:.0f} the best by threshold-weighted CRPS is {best}")


if __name__ == "__main__":
    main()
