"""How many kinds of years are there? Poisson hidden Markov models of one to four states, by BIC.

Large earthquakes of the world, 1900 to 2006: each model is fitted with a free and with a
stationary start, the one that BIC prefers tells which years were of which kind, what is to be
expected next, and how well it explains what was seen.

python examples/earthquakes.py
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import likelax as lx


def fit_states(counts: np.ndarray, num_states: int, stationary: bool) -> lx.fit.Fit:
    """The best of several random starts."""

    def start(key: Array) -> lx.HMM:
        rates = jnp.sort(jax.random.uniform(key, (num_states,), minval=8.0, maxval=32.0))
        stay = 0.8 * jnp.eye(num_states) + 0.2 / num_states
        initial = None if stationary else jnp.full(num_states, 1 / num_states)
        return lx.HMM(initial, stay, lx.Poisson(rates))

    key = jax.random.key(num_states)
    return lx.fit.restarts(key, start, counts, num_restarts=8 if stationary else 16, tol=1e-8)


def by_rate(model: lx.HMM) -> lx.HMM:
    """The states named in the order of their rates."""
    return lx.hmm.relabel(model, jnp.argsort(model.emissions.rate))


def trend_of(model: lx.HMM, counts: np.ndarray) -> tuple[Array, Array]:
    """(change of all rates a year, rise of the log likelihood) where the rates share a trend."""
    years = (jnp.arange(float(len(counts))) - len(counts) / 2) / 100

    def log_prob(parameters: dict[str, Array]) -> Array:
        log_rates = parameters["log_rates"][:, None] + parameters["slope"] * years[None]
        moves = jax.nn.softmax(parameters["moves"], axis=-1)
        emissions = lx.TimeVarying(lx.Poisson(jnp.exp(log_rates)))
        return lx.HMM(None, moves, emissions).log_prob(jnp.asarray(counts))

    start = {
        "log_rates": jnp.log(model.emissions.rate),
        "moves": jnp.log(model.transition + 1e-3),
        "slope": jnp.zeros(()),
    }
    with_trend = lx.fit.maximize_lbfgs(log_prob, start)

    def without(parameters: dict[str, Array]) -> Array:
        return log_prob(parameters | {"slope": jnp.zeros(())})

    rest = {name: value for name, value in start.items() if name != "slope"}
    constant = lx.fit.maximize_lbfgs(without, rest)
    return with_trend.model["slope"] / 100, with_trend.objective - constant.objective


def pseudo_residuals(model: lx.HMM, counts: np.ndarray) -> Array:
    """(T,) normal quantiles of each count given the years before it, in the middle of its step."""
    predicted = jnp.exp(model.filter(counts).log_predicted)
    rates = model.emissions.rate[None, :]
    column = jnp.asarray(counts, float)[:, None]
    high, low = (lx.Poisson(rates).cdf(at) for at in (column, column - 1))
    return jax.scipy.special.ndtri(jnp.sum(predicted * (low + high) / 2, axis=1))


def main() -> None:
    data = lx.datasets.earthquakes()
    counts = data.counts
    print("start       states  log likelihood      AIC      BIC  rates a year")
    found: dict[float, lx.HMM] = {}
    for stationary, num_states in itertools.product((False, True), (1, 2, 3, 4)):
        fitted = fit_states(counts, num_states, stationary)
        aic, bic = lx.fit.aic(fitted.model, counts), lx.fit.bic(fitted.model, counts)
        rates = "  ".join(f"{rate:.1f}" for rate in by_rate(fitted.model).emissions.rate)
        print(
            f"{'stationary' if stationary else 'free':10s}  {num_states:6d}  "
            f"{fitted.objective:14.4f}  {aic:7.2f}  {bic:7.2f}  {rates}"
        )
        found[float(bic)] = by_rate(fitted.model)

    best = found[min(found)]
    print(f"\nThe {best.num_states}-state model has the lowest BIC. Its most probable years:")
    path, log_joint = best.viterbi(counts)
    for state, run in itertools.groupby(
        zip(np.asarray(path), data.year, strict=True), lambda s: s[0]
    ):
        years = [int(year) for _, year in run]
        print(f"  {years[0]} to {years[-1]}: {best.emissions.rate[state]:.1f} a year")
    print(f"  this path has probability {jnp.exp(log_joint - best.log_prob(counts)):.3f}")

    print("\nForecast, mean and 90% interval:")
    values = jnp.arange(61.0)
    for year, law in enumerate(jnp.exp(best.forecast(counts, 5)), int(data.year[-1]) + 1):
        ahead = lx.Mixture(law, best.emissions)
        low, high = jnp.searchsorted(ahead.cdf(values), jnp.array([0.05, 0.95]))
        print(f"  {year}: {ahead.mean():.1f}, {low} to {high}")

    slope, rise = trend_of(best, counts)
    p_value = 2 * jnp.exp(lx.Normal(0.0, 1.0).log_survival(jnp.sqrt(2 * rise)))
    print(
        f"\nDo rates change as such, as if more were noticed? {slope:+.2%} a year, log likelihood"
    )
    print(f"{rise:.2f} above that without a trend: p = {p_value:.2f}")

    residuals = pseudo_residuals(best, counts)
    lag = jnp.corrcoef(residuals[:-1], residuals[1:])[0, 1]
    outside = jnp.mean(jnp.abs(residuals) > 1.96)
    print(
        f"\nPseudo-residuals: mean {residuals.mean():.2f}, deviation {residuals.std():.2f}, "
        f"{outside:.1%} beyond 1.96, correlation at lag one {lag:.2f}"
    )


if __name__ == "__main__":
    main()
