import jax
import jax.numpy as jnp
import numpy as np

from likelax import fit
from likelax.families import Bernoulli, Beta, Normal
from likelax.mixture import Mixture

X = np.array([-2.5, -2.0, -1.2, 0.3, 1.1, 1.9, 2.4, 2.2])


def start():
    return Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))


def first_mean(x, weights):
    found = fit.implicit(start(), x, weights=weights, tol=0.0, max_steps=400)
    return found.components.loc[0]


def test_the_derivative_by_data_and_weights_is_the_finite_difference(x64):
    ones = jnp.ones(8)
    by_x, by_weight = jax.jit(jax.grad(first_mean, argnums=(0, 1)))(jnp.asarray(X), ones)
    step = 1e-5

    @jax.jit
    def run(x, weights):  # without a stopping rule, whose noise a difference would show
        def advance(_, model):
            return model.m_step(model.e_step(x, weights)[0])

        return jax.lax.fori_loop(0, 500, advance, start()).components.loc[0]

    for i in (1, 3):
        e = step * jnp.eye(8)[i]
        want = (run(X + e, ones) - run(X - e, ones)) / (2 * step)
        np.testing.assert_allclose(by_x[i], want, rtol=1e-4)
        want = (run(jnp.asarray(X), ones + e) - run(jnp.asarray(X), ones - e)) / (2 * step)
        np.testing.assert_allclose(by_weight[i], want, rtol=1e-4)


def test_forward_mode_is_reverse_mode(x64):
    x, direction = jnp.asarray(X), jnp.linspace(0.0, 1.0, 8)
    forward = jax.jit(lambda x, t: jax.jvp(lambda x: first_mean(x, None), (x,), (t,))[1])
    reverse = jax.jit(jax.grad(lambda x: first_mean(x, None)))
    forward, reverse = forward(x, direction), reverse(x) @ direction
    np.testing.assert_allclose(forward, reverse, rtol=1e-8)


def test_unrolled_steps_are_differentiable(x64):
    @jax.jit
    def two_steps(x):
        model = start()
        for _ in range(2):
            model = model.m_step(model.e_step(x)[0])
        return model.components.loc[0]

    grad = jax.grad(two_steps)(jnp.asarray(X))
    e = 1e-6 * jnp.eye(8)[1]
    want = (two_steps(X + e) - two_steps(X - e)) / 2e-6
    np.testing.assert_allclose(grad[1], want, rtol=1e-6)


def test_a_closed_form_fit_by_its_prior():
    def fitted(alpha):
        found = fit.implicit(
            Bernoulli(jnp.array(0.5)), jnp.array([1, 1, 0]), prior=Beta(alpha, 2.0)
        )
        return found.probs

    # (alpha - 1 + 2) / (alpha + 2 - 2 + 3)
    np.testing.assert_allclose(fitted(2.0), 3 / 5, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(fitted)(2.0), (5 - 3) / 25, rtol=1e-4)
