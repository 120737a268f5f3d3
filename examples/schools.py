"""Eight schools: the evidence of three ideas, and which school the rest cannot foresee.

Does coaching help, and alike everywhere? Sequential Monte Carlo gives the evidence of each answer.
Leave-one-out needs the posterior without a school; where importance weights are too uneven for that, the
draws are moved.

python examples/schools.py
"""

import jax
import jax.numpy as jnp

import likelax as lx

WIDTH = 20.0  # points: prior scale of the mean, and of the spread between schools


def main() -> None:
    data = lx.datasets.eight_schools()
    effect, error = (jnp.asarray(a, jnp.float32) for a in (data.effect, data.standard_error))
    normal = lx.Normal(0.0, 1.0)

    def spread_of(draw):
        return jnp.exp(draw["log_spread"])

    def log_school(draw, row):
        y, sd = row
        return lx.Normal(draw["mean"], jnp.hypot(sd, spread_of(draw))).log_prob(y)

    def log_lik(draw):
        return jnp.sum(jax.vmap(lambda y, sd: log_school(draw, (y, sd)))(effect, error))

    def log_prior(draw):
        # a half-normal spread, as a density of its logarithm
        spread = lx.Normal(0.0, WIDTH).log_prob(spread_of(draw)) + jnp.log(2.0)
        return lx.Normal(0.0, WIDTH).log_prob(draw["mean"]) + spread + draw["log_spread"]

    def sample(key, shape):
        one, two = jax.random.split(key)
        spread = WIDTH * jnp.abs(jax.random.normal(two, shape))
        return {"mean": WIDTH * jax.random.normal(one, shape), "log_spread": jnp.log(spread)}

    found = lx.monte_carlo.tempered_draws(jax.random.key(0), sample, log_prior, log_lik, 4000)
    draws = found.draws
    total = jnp.sum(1 / error**2)
    nothing = jnp.sum(normal.log_prob(effect / error) - jnp.log(error))
    # one effect for all: a normal prior of the mean is conjugate
    mean = jnp.sum(effect / error**2) / total
    shrunk = lx.Normal(0.0, jnp.hypot(WIDTH, total**-0.5)).log_prob(mean)
    alike = nothing + total * mean**2 / 2 + shrunk - lx.Normal(0.0, total**-0.5).log_prob(0.0)
    print("log evidence")
    for name, value in (
        ("coaching does nothing", nothing),
        ("the same everywhere", alike),
        ("another in each school", found.log_evidence),
    ):
        print(f"  {name:24s} {value:8.2f}")

    # the same evidence from a normal guide, fitted at the mode, and its importance weights
    def log_joint(draw):
        return log_prior(draw) + log_lik(draw)

    at_mode, for_weights = jax.random.split(jax.random.key(1))
    template = {"mean": jnp.zeros(()), "log_spread": jnp.ones(())}
    guide = lx.variational.laplace(at_mode, log_joint, template).guide
    weighted = lx.variational.importance(for_weights, log_joint, guide, 4000)
    value, error_of = weighted.log_evidence.value, weighted.log_evidence.standard_error
    print(f"  the last by importance    {value:7.2f} +- {error_of:.2f}, k-hat {weighted.k_hat:.2f}")
    low, high = jnp.quantile(spread_of(draws), jnp.array([0.05, 0.95]))
    print(f"mean effect {draws['mean'].mean():.1f}, spread {low:.1f} to {high:.1f} (90%)")

    rough = lx.predictive.loo_of(log_school, draws, (effect, error))
    better = lx.predictive.moment_match(
        rough,
        log_joint,
        log_school,
        draws,
        (effect, error),
        threshold=0.3,
    )
    print("\nschool  log predictive density without it   k-hat, before and after moving the draws")
    for i, school in enumerate(data.school):
        print(
            f"  {school} {better.pointwise[i]:20.2f} {rough.k_hat[i]:28.2f} {better.k_hat[i]:8.2f}"
        )
    print(f"in all {better.value:.1f} +- {better.standard_error:.1f} nats, ", end="")
    used, error_of = better.num_parameters, better.num_parameters_error
    print(f"with {used:.1f} +- {error_of:.1f} parameters in use")

    # which idea foresees a school best: leave-one-out in closed form where the mean is normal
    rest = total - 1 / error**2
    others = (jnp.sum(effect / error**2) - effect / error**2) / (rest + WIDTH**-2)
    same = lx.Normal(others, jnp.hypot(error, (rest + WIDTH**-2) ** -0.5)).log_prob(effect)
    ideas = {
        "nothing": lx.predictive.elpd_of(lx.Normal(0.0, error).log_prob(effect)),
        "the same": lx.predictive.elpd_of(same),
        "another": better,
    }
    weights = lx.predictive.pseudo_bma_weights(ideas, key=jax.random.key(2))
    print("to foresee a school: ", end="")
    print(", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()))

    # draws of one Markov chain say less than as many independent ones
    def move(state, step, chain):
        draw, log_p = state
        one, two = jax.random.split(jax.random.fold_in(chain, step))
        keys = dict(zip(draw, jax.random.split(one), strict=True))
        new = jax.tree.map(lambda v, k: v + 2 * jax.random.normal(k), draw, keys)
        log_new = log_joint(new)
        taken = jnp.log(jax.random.uniform(two)) < log_new - log_p
        state = jax.tree.map(lambda a, b: jnp.where(taken, a, b), (new, log_new), state)
        return state, state[0]

    first = jax.tree.map(lambda v: v[:4], draws)
    keys = jax.random.split(jax.random.key(3), 4)

    def walk(draw, chain):
        begin = draw, log_joint(draw)
        return jax.lax.scan(lambda state, t: move(state, t, chain), begin, jnp.arange(1000))[1]

    chains = jax.vmap(walk)(first, keys)
    each = jax.vmap(
        jax.vmap(lambda draw: jax.vmap(lambda y, sd: log_school(draw, (y, sd)))(effect, error))
    )
    log_schools = each(chains)
    log_schools = log_schools.reshape(-1, 8)
    worth = lx.predictive.relative_efficiency(log_schools, num_chains=4)
    by_chain = lx.predictive.loo(log_schools, relative_efficiency=worth)
    print(
        f"4000 steps of Metropolis count as {4000 * worth.mean():.0f} draws: {by_chain.value:.1f} nats"
    )


if __name__ == "__main__":
    main()
