import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import fit
from likelax.families import Bernoulli, Beta, Categorical, Normal
from likelax.fit import Status, gradient, maximize, maximize_lbfgs, maximize_noisy
from likelax.mixture import Mixture

X = jnp.array([1.0, 2.0, 3.0, 6.0])


def test_gradient_finds_the_closed_form_maximum():
    fitted = gradient(Normal(0.0, 1.0), X)
    assert fitted.status == Status.CONVERGED
    np.testing.assert_allclose(fitted.model.loc, 3.0, atol=2e-3)
    np.testing.assert_allclose(fitted.model.scale, np.std(X), atol=2e-3)
    np.testing.assert_allclose(fitted.objective, jnp.sum(fitted.model.log_prob(X)), rtol=1e-5)


def test_weights_are_duplication():
    weighted = gradient(Normal(0.0, 1.0), X, weights=jnp.array([1.0, 1.0, 0.0, 2.0]))
    np.testing.assert_allclose(weighted.model.loc, np.mean([1, 2, 6, 6]), atol=3e-3)


def test_a_prior_gives_the_posterior_mode():
    x = jnp.array([1, 1, 1, 1, 1, 0, 0])
    fitted = gradient(Bernoulli(0.5), x, prior=Beta(2.0, 2.0))
    np.testing.assert_allclose(fitted.model.probs, 6 / 9, atol=1e-3)


def test_gradient_agrees_with_em():
    x = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1, 0.3])
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    by_gradient, by_em = gradient(start, x), fit.em(start, x)
    np.testing.assert_allclose(by_gradient.objective, by_em.objective, atol=1e-3)


def test_structural_zeros_stay():
    fitted = gradient(Categorical(jnp.array([0.5, 0.5, 0.0])), jnp.array([0, 0, 1]))
    np.testing.assert_allclose(fitted.model.probs, [2 / 3, 1 / 3, 0], atol=1e-3)
    assert fitted.model.probs[2] == 0


def test_the_trace_is_the_objective_and_the_best_iterate_is_returned():
    # a step far too long oscillates: the best iterate is not the last
    fitted = maximize(lambda p: -(p**2), jnp.array(1.0), optimizer=optax.sgd(0.999), max_steps=20)
    assert fitted.objectives.shape == (21,)
    assert fitted.objectives[0] == -1
    assert fitted.objective == jnp.max(fitted.objectives)
    assert fitted.objective == -(fitted.model**2)


def test_running_out_of_steps_is_said():
    fitted = maximize(lambda p: p, jnp.array(0.0), max_steps=7)
    assert (fitted.status, fitted.num_steps) == (Status.MAX_STEPS, 7)


def test_vmapped_restarts_and_learning_rates_equal_a_loop():
    def run(start, rate):
        return gradient(Normal(start, 1.0), X, optimizer=optax.adam(rate), max_steps=100)

    starts, rates = jnp.array([0.0, 5.0]), jnp.array([0.05, 0.2])
    together = jax.vmap(run)(starts, rates)
    apart = [run(s, r) for s, r in zip(starts, rates, strict=True)]
    np.testing.assert_allclose(together.model.loc, [f.model.loc for f in apart], rtol=1e-5)
    assert together.num_steps.tolist() == [int(f.num_steps) for f in apart]


def test_schedules_come_from_optax():
    schedule = optax.cosine_decay_schedule(0.3, 300)
    fitted = gradient(Normal(0.0, 1.0), X, optimizer=optax.adam(schedule), max_steps=300)
    np.testing.assert_allclose(fitted.model.loc, 3.0, atol=1e-3)


def test_nan_at_the_start_is_a_status():
    fitted = jax.jit(gradient)(Normal(jnp.nan, 1.0), X)  # traced values are not validated
    assert (fitted.status, fitted.num_steps) == (Status.NON_FINITE, 0)
    assert not fitted.usable and jnp.isnan(fitted.objective)
    with pytest.raises(ValueError, match=r"Normal\.loc must be finite; got nan"):
        gradient(Normal(jnp.nan, 1.0), X)


def test_a_diverging_optimiser_is_a_status_and_keeps_the_last_finite_model():
    fitted = gradient(Normal(0.0, 1.0), X, optimizer=optax.sgd(1e6))
    assert fitted.status == Status.COLLAPSED
    assert jnp.isfinite(fitted.model.loc) and jnp.isfinite(fitted.objective)


@pytest.mark.parametrize("steps", [0, -1])
def test_zero_steps_are_refused(steps):
    with pytest.raises(
        ValueError, match=rf"fit\.gradient: max_steps must be 1 or more; got {steps}"
    ):
        gradient(Normal(0.0, 1.0), X, max_steps=steps)


@pytest.mark.parametrize("run", [maximize, maximize_lbfgs])
def test_an_objective_that_is_no_scalar_is_refused(run):
    with pytest.raises(ValueError, match=r"must return a scalar, got shape \(2,\); sum its terms"):
        run(lambda p: p, jnp.ones(2))


def test_bad_data_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        gradient(Normal(0.0, 1.0), jnp.array([1.0, jnp.nan]))
    with pytest.raises(ValueError, match="negative"):
        gradient(Normal(0.0, 1.0), X, weights=-jnp.ones(4))
    with pytest.raises(ValueError, match="weights"):
        gradient(Normal(0.0, 1.0), X, weights=jnp.ones(3))
    with pytest.raises(TypeError, match=r"model must be a likelax model; got builtins\.float"):
        gradient(1.0, X)
    with pytest.raises(ValueError, match="no floating-point parameter"):
        maximize(lambda p: 0.0, jnp.arange(3))


def noisy(key, p):
    return -jnp.sum((p - 3 + jax.random.normal(key)) ** 2)


def test_noisy_ascent_stops_by_itself_and_averages():
    fitted = maximize_noisy(jax.random.key(0), noisy, jnp.array(0.0))
    assert fitted.status == Status.CONVERGED
    # iterates of Adam at rate 0.05 scatter by about 0.2; their average over 100 by less
    np.testing.assert_allclose(fitted.model, 3.0, atol=0.2)


def test_noisy_ascent_with_bad_numbers():
    fitted = maximize_noisy(jax.random.key(0), noisy, jnp.array(jnp.nan))
    assert fitted.status == Status.NON_FINITE
    diverged = maximize_noisy(jax.random.key(0), noisy, jnp.array(0.0), optimizer=optax.sgd(1e3))
    assert diverged.status == Status.COLLAPSED and jnp.isfinite(diverged.model)
    with pytest.raises(ValueError, match="window must be at least 2"):
        maximize_noisy(jax.random.key(0), noisy, jnp.array(0.0), window=1)


def test_minibatches_estimate_the_whole():
    objective = fit.minibatch_log_prob(X, 2)
    model = Normal(1.0, 2.0)
    values = jax.vmap(lambda k: objective(k, model))(jax.random.split(jax.random.key(0), 4000))
    error = jnp.std(values) / jnp.sqrt(4000.0)
    assert abs(jnp.mean(values) - jnp.sum(model.log_prob(X))) < 4 * error
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        fit.minibatch_log_prob(X, 0)
    with pytest.raises(ValueError, match="leading axis"):
        fit.minibatch_log_prob(jnp.ones(()), 2)


def rosenbrock(p):
    return -(100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2)


def test_lbfgs_finds_the_end_of_the_valley(x64):
    fitted = maximize_lbfgs(rosenbrock, jnp.array([-1.2, 1.0]))
    assert fitted.status == Status.CONVERGED and fitted.num_steps < 100
    np.testing.assert_allclose(fitted.model, [1, 1], atol=1e-6)
    assert jnp.all(jnp.diff(fitted.objectives) >= 0)


def test_lbfgs_with_bad_numbers():
    assert maximize_lbfgs(rosenbrock, jnp.array([jnp.nan, 1.0])).status == Status.NON_FINITE
    with pytest.raises(
        ValueError, match=r"fit\.maximize_lbfgs: max_steps must be 1 or more; got 0"
    ):
        maximize_lbfgs(rosenbrock, jnp.zeros(2), max_steps=0)
