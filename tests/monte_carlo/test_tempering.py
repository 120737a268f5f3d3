import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from likelax import Gamma, MvNormal, Poisson
from likelax import monte_carlo as mc

X = np.array([3.0, 7.0, 4.0, 9.0, 6.0], np.float32)
PRIOR = Gamma(2.0, 1.0)


def log_lik(rate):
    return jnp.sum(Poisson(rate).log_prob(jnp.asarray(X)))


EXACT = float(PRIOR.log_evidence(Poisson(1.0).e_step(jnp.asarray(X))[0]))


@pytest.mark.parametrize("schedule", [None, (0.05, 0.2, 0.5, 1.0)])
def test_the_evidence_of_a_conjugate_model_is_unbiased(schedule):
    def run(key):
        return mc.tempered_draws(
            key, PRIOR.sample, PRIOR.log_prob, log_lik, 200, num_moves=3, max_steps=20,
            temperatures=schedule,
        )  # fmt: skip

    result = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 300))
    ratio = np.exp(np.asarray(result.log_evidence, float) - EXACT)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.02  # so a bias of a tenth would show
    assert abs(ratio.mean() - 1) < 4 * error
    last = np.take_along_axis(
        np.asarray(result.temperatures), np.asarray(result.num_steps)[:, None] - 1, axis=1
    )
    assert (last == 1).all()
    if schedule:
        np.testing.assert_allclose(result.temperatures[0], schedule)
    # the draws are from the posterior, Gamma(2 + 29, 1 + 5)
    got = np.asarray(result.draws).ravel()
    np.testing.assert_allclose(got.mean(), 31 / 6, rtol=0.01)
    np.testing.assert_allclose(got.std(), np.sqrt(31) / 6, rtol=0.03)
    assert stats.kstest(got[::200], stats.gamma(31, scale=1 / 6).cdf).pvalue > 1e-3


def test_the_steps_keep_the_effective_number_of_draws():
    result = mc.tempered_draws(
        jax.random.key(1), PRIOR.sample, PRIOR.log_prob, log_lik, 1000, ess_fraction=0.9
    )
    steps = int(result.num_steps)
    temperatures = np.asarray(result.temperatures)
    assert steps > 3 and temperatures[steps - 1] == 1 and np.isnan(temperatures[steps:]).all()
    assert (np.diff(temperatures[:steps]) > 0).all()
    # the first step by its definition
    first, _ = jax.random.split(jax.random.key(1))
    log_weights = temperatures[0] * np.asarray(jax.vmap(log_lik)(PRIOR.sample(first, (1000,))))
    weights = np.exp(log_weights - log_weights.max())
    assert weights.sum() ** 2 / (weights**2).sum() == pytest.approx(900, rel=1e-3)
    assert (np.asarray(result.acceptance)[:steps] > 0.2).all()


def test_trees_of_several_parameters_and_correlated_posteriors():
    # x = a + b + noise of scale 0.1 says the sum alone, so the posterior is a narrow ridge
    prior = MvNormal(jnp.zeros(2), jnp.eye(2))

    def sample(key, shape):
        both = prior.sample(key, shape)
        return {"a": both[..., 0], "b": both[..., 1:]}

    def log_prior(draw):
        return -(draw["a"] ** 2 + draw["b"][0] ** 2) / 2 - jnp.log(2 * jnp.pi)

    def near(draw):
        z = (2.0 - draw["a"] - draw["b"][0]) / 0.1
        return -(z**2) / 2 - jnp.log(0.1) - jnp.log(2 * jnp.pi) / 2

    run = jax.jit(lambda key: mc.tempered_draws(key, sample, log_prior, near, 2000, num_moves=10))
    result = run(jax.random.key(0))
    assert result.draws["b"].shape == (2000, 1)
    want = stats.norm.logpdf(2.0, 0, np.sqrt(2.01))
    assert result.log_evidence == pytest.approx(want, abs=0.1)
    total = np.asarray(result.draws["a"]) + np.asarray(result.draws["b"][:, 0])
    assert total.mean() == pytest.approx(2 * 2 / 2.01, abs=0.01)
    gap = np.asarray(result.draws["a"]) - np.asarray(result.draws["b"][:, 0])
    assert gap.std() == pytest.approx(np.sqrt(2), rel=0.1)


def test_what_is_impossible_and_what_cannot_be_finished():
    def impossible(rate):
        return jnp.where(rate > 3, log_lik(rate), -jnp.inf)

    result = mc.tempered_draws(
        jax.random.key(0), PRIOR.sample, PRIOR.log_prob, impossible, 2000, num_moves=2
    )
    assert (np.asarray(result.draws) > 3).all()
    # the share of the posterior above 3
    want = EXACT + stats.gamma(31, scale=1 / 6).logsf(3)
    assert result.log_evidence == pytest.approx(want, abs=0.15)
    short = mc.tempered_draws(
        jax.random.key(0),
        PRIOR.sample,
        PRIOR.log_prob,
        log_lik,
        200,
        max_steps=1,
        ess_fraction=0.95,
    )
    assert short.temperatures[0] < 1
    for options, message in (
        ({"temperatures": [0.5, 0.9]}, "last of temperatures must be 1"),
        ({"temperatures": [0.5, 0.4, 1.0]}, "steps of temperatures must be positive"),
        ({"ess_fraction": 1.0}, "ess_fraction must lie in"),
        ({"num_moves": -1}, "num_moves must be"),
    ):
        with pytest.raises(ValueError, match=message):
            mc.tempered_draws(
                jax.random.key(0), PRIOR.sample, PRIOR.log_prob, log_lik, 20, **options
            )
