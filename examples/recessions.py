"""Recessions: Hamilton's model of the business cycle, fitted, decoded, and followed quarter by quarter.

Growth returns to a mean that is low in a recession and high otherwise, so a quarter depends on the
states of the four before it too. The chain over these histories has 32 states and is summed exactly.

python examples/recessions.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx

START = {
    "moves": jnp.array([[1.0, 0.0], [0.0, 2.0]]),  # recessions are the shorter ones
    "low": jnp.array(-0.5),
    "log_rise": jnp.array(0.5),
    "lags": jnp.zeros(4),
    "log_scale": jnp.array(0.0),
}


def chain_of(parameters, growth):
    """The chain of the last five states: 0 in a recession, 1 otherwise."""
    log_moves = jax.nn.log_softmax(parameters["moves"], axis=-1)
    means = parameters["low"] + jnp.stack([jnp.zeros(()), jnp.exp(parameters["log_rise"])])
    log_lik = lx.hmm.switching_mean(
        growth, means, parameters["lags"], jnp.exp(parameters["log_scale"])
    )
    initial = jnp.log(lx.hmm.stationary(jnp.exp(log_moves)))
    return lx.hmm.state_history(initial, log_moves, log_lik)


# The last quarters of recessions, as the National Bureau of Economic Research dates them.
TROUGHS = ["1954Q2", "1958Q2", "1961Q1", "1970Q4", "1975Q1", "1980Q3", "1982Q4"]
LONGEST = 40  # quarters of a visit


def visits_of(parameters, growth, ends=None):
    """A chain without lags whose recessions last 1 + Poisson quarters, or geometrically many."""
    more = jnp.arange(float(LONGEST))  # quarters after the first
    if "log_more" in parameters:
        short = lx.Poisson(jnp.exp(parameters["log_more"])).log_prob(more)
    else:
        short = more * jax.nn.log_sigmoid(parameters["stay"][0])
    long = more * jax.nn.log_sigmoid(parameters["stay"][1])
    lasting = jax.nn.log_softmax(jnp.stack([short, long]), axis=1)
    means = parameters["low"] + jnp.stack([jnp.zeros(()), jnp.exp(parameters["log_rise"])])
    scales = jnp.broadcast_to(jnp.exp(parameters["log_scale"]), (2,))
    log_lik = lx.Normal(means, scales).stacked_log_prob(growth)
    swap = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    return lx.hmm.explicit_duration(jnp.log(jnp.full(2, 0.5)), swap, lasting, log_lik, ends=ends)


def spells(quarters, inside):
    """First and last quarter of each stretch that lies inside."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]])))
    return [f"{quarters[a]} to {quarters[b - 1]}" for a, b in edges.reshape(-1, 2)]


def main() -> None:
    data = lx.datasets.gnp()
    growth = jnp.asarray(data.growth, jnp.float32)
    quarters = [f"{y}Q{q}" for y, q in zip(data.year[4:], data.quarter[4:], strict=True)]

    found = lx.fit.maximize_lbfgs(lambda p: lx.hmm.log_partition(*chain_of(p, growth)[:3]), START)
    chain = chain_of(found.model, growth)
    print(f"log likelihood {found.objective:.2f} (Hamilton 1989: -181.26), ", end="")
    print(f"status {lx.fit.Status(int(found.status)).name}")
    stay = jax.nn.softmax(found.model["moves"], axis=-1)
    low, high = found.model["low"], found.model["low"] + jnp.exp(found.model["log_rise"])
    print(f"growth a quarter {low:.2f} in a recession, {high:.2f} otherwise; they last ", end="")
    print(f"{1 / stay[0, 1]:.1f} and {1 / stay[1, 0]:.1f} quarters")

    smoothed = jnp.exp(chain.marginal(lx.hmm.smoother(*chain[:3]).log_marginals))[:, 0]
    print("\nrecessions, looking back from 1984:")
    print("  " + "\n  ".join(spells(quarters, np.asarray(smoothed) > 0.5)))

    # as they were seen at the time: each quarter as it comes, and the view of it a year later
    def next_quarter(state, log_lik):
        step = lx.hmm.smoother_step(state, chain.log_transition, log_lik)
        return step.state, chain.marginal(step.log_marginals)[:, 0]

    start = lx.hmm.smoother_start(chain.log_initial, lag=4)
    _, seen = jax.lax.scan(next_quarter, start, chain.log_lik)  # (T, 5), oldest first
    at_once, later = jnp.exp(seen[:, -1]), jnp.exp(seen[4:, 0])
    print("\nprobability of a recession    at once   a year later   in 1984")
    for quarter in ("1957Q4", "1970Q1", "1974Q1", "1980Q2", "1982Q1"):
        t = quarters.index(quarter)
        print(f"  {quarter:26s} {at_once[t]:8.2f} {later[t]:14.2f} {smoothed[t]:9.2f}")

    # when was the most probable path known for good, with two years of later quarters to look at?
    def decode(state, log_lik):
        step = lx.hmm.viterbi_step(state, chain.log_transition, log_lik)
        return step.state, (step.path[0], step.decided[0])

    start = lx.hmm.viterbi_start(chain.log_initial, lag=8)
    _, (left, decided) = jax.lax.scan(decode, start, chain.log_lik)
    known = decided[8:]
    print(f"\nof the quarters {known.mean():.0%} are decided two years later, whatever comes")
    path, _ = lx.hmm.viterbi(*chain[:3])
    agree = jnp.all(jnp.where(known, left[8:] == path[: len(known)], True))
    print(f"and these are those of the path over all quarters: {bool(agree)}")

    # growth of the next quarter, and what the last one was beside what was expected of it
    def follow(log_predicted, log_lik):
        step = lx.hmm.filter_step(log_predicted, chain.log_transition, log_lik)
        return step.log_predicted, step.log_increment

    ahead, surprises = jax.lax.scan(follow, chain.log_initial, chain.log_lik)
    worst = quarters[int(jnp.argmin(surprises))]
    chance = jnp.exp(chain.marginal(ahead[None]))[0, 0]
    print(f"the least expected quarter was {worst}; a recession in 1985Q1: {chance:.2f}")

    # does a recession that has lasted long end sooner? Its length, geometric or Poisson
    shared = {"low": jnp.array(-0.5), "log_rise": jnp.array(0.5), "log_scale": jnp.array(0.0)}
    both = {"geometric": {"stay": jnp.array([0.0, 2.0])}}
    both["Poisson"] = both["geometric"] | {"log_more": jnp.array(1.0)}
    print("\nlengths of recessions    log likelihood")
    for name, start in both.items():
        lengths = lx.fit.maximize_lbfgs(
            lambda p: lx.hmm.log_partition(*visits_of(p, growth)[:3]), shared | start
        )
        print(f"  {name:22s} {lengths.objective:.2f}")
    ends = np.isin([f"{y}Q{q}" for y, q in zip(data.year, data.quarter, strict=True)], TROUGHS)
    without, told = (visits_of(lengths.model, growth, known) for known in (None, jnp.asarray(ends)))
    change = lx.hmm.log_partition(*told[:3]) - lx.hmm.log_partition(*without[:3])
    print(f"probability that visits end in the seven official quarters: {jnp.exp(change):.1e}")
    path, _ = lx.hmm.viterbi(*told[:3])
    every = [f"{y}Q{q}" for y, q in zip(data.year, data.quarter, strict=True)]
    print("recessions, told these ends:")
    print("  " + "\n  ".join(spells(every, np.asarray(path) // LONGEST == 0)))


if __name__ == "__main__":
    main()
