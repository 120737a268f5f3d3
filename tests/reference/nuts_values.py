"""Posterior means and deviations from long NUTS runs; run this file with NumPyro to renew them.

Made with NumPyro 0.22.0: 4 chains of 10000 draws each after 2000 of warm-up, in float64.
"""

import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def logistic_data() -> tuple[np.ndarray, np.ndarray]:
    """(features (100, 3), labels (100,)) from a legacy generator, whose stream NumPy froze."""
    state = np.random.RandomState(2)
    features = state.standard_normal((100, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1]])
    probs = 1 / (1 + np.exp(-features @ np.array([1.0, -1.5, 0.5])))
    return features, (state.uniform(size=100) < probs).astype(float)


def main() -> None:
    """Sample and write means and standard deviations."""
    import jax
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    def eight_schools() -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        tau = numpyro.sample("tau", dist.HalfNormal(5))
        eta = numpyro.sample("eta", dist.Normal(0, 1).expand([8]).to_event(1))
        numpyro.sample("y", dist.Normal(mu + tau * eta, ERRORS), obs=EFFECTS)
        numpyro.deterministic("log_tau", jax.numpy.log(tau))

    def logistic() -> None:
        features, labels = logistic_data()
        beta = numpyro.sample("beta", dist.Normal(0, 2).expand([3]).to_event(1))
        numpyro.sample("y", dist.Bernoulli(logits=features @ beta), obs=labels)

    answers = {}
    numpyro.enable_x64()
    for model in (eight_schools, logistic):
        run = MCMC(
            NUTS(model, target_accept_prob=0.95),
            num_warmup=2000,
            num_samples=10_000,
            num_chains=4,
            chain_method="vectorized",
            progress_bar=False,
        )
        run.run(jax.random.key(0))
        answers[model.__name__] = {
            name: {"mean": draws.mean(0).tolist(), "sd": draws.std(0).tolist()}
            for name, draws in run.get_samples().items()
        }
    PATH.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
