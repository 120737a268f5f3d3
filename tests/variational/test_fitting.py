"""Fits of guides: shared noise, races, minibatches, diagnostics, and what is not compiled twice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from likelax import constraints, fit, variational
from likelax.families import Bernoulli
from likelax.fit import Status
from likelax.model import pytree
from likelax.variational import FullRankT, MeanField, Minibatch

PRECISION = jnp.array([[2.0, 1.0], [1.0, 2.0]])
CENTRE = jnp.array([1.0, -1.0])


def correlated(z):
    return -(z - CENTRE) @ PRECISION @ (z - CENTRE) / 2


TRIL = jnp.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.7]])


def test_the_heavy_tailed_guide_is_scipys_t_carried_by_a_matrix():
    loc, dof = jnp.array([1.0, -2.0, 0.5]), 5.0
    guide = FullRankT(loc, TRIL, dof)
    x = jnp.array([[0.0, 0.0, 0.0], [1.0, 3.0, -2.0]])
    white = np.linalg.solve(np.asarray(TRIL), (np.asarray(x) - np.asarray(loc)).T).T
    volume = np.log(np.diag(TRIL)).sum()
    want = stats.t(dof).logpdf(white).sum(1) - volume
    np.testing.assert_allclose(guide.log_prob(x), want, rtol=1e-5)
    np.testing.assert_allclose(guide.entropy(), 3 * stats.t(dof).entropy() + volume, rtol=1e-5)
    draws = guide.sample(jax.random.key(0), (40_000,))
    np.testing.assert_allclose(jnp.mean(draws, axis=0), loc, atol=0.05)
    covariance = TRIL @ TRIL.T
    np.testing.assert_allclose(jnp.cov(draws.T), covariance * dof / (dof - 2), atol=0.4)
    moved = guide.with_moments(loc, covariance * dof / (dof - 2))
    np.testing.assert_allclose(moved.scale_tril, TRIL, rtol=1e-5, atol=1e-6)
    normal = variational.full_rank(jnp.zeros(3), scale=2.0)
    heavy = variational.with_tails(normal, dof=dof)
    np.testing.assert_allclose(heavy.base.scale_tril, 2 * np.sqrt(0.6) * np.eye(3), rtol=1e-6)
    with pytest.raises(ValueError, match="dof must be above 2"):
        variational.with_tails(normal, dof=2.0)
    with pytest.raises(
        TypeError, match="wants a guide from mean_field, block_rank, low_rank or full_rank, got"
    ):
        variational.with_tails(guide)


def test_a_sample_is_its_own_noise_carried_over():
    for guide in (
        variational.mean_field(jnp.zeros(2)),
        variational.low_rank(jnp.zeros(2), rank=1),
        variational.full_rank(jnp.zeros(2)),
        variational.with_tails(variational.full_rank(jnp.zeros(2))),
    ):
        draws = guide.base.sample(jax.random.key(0), (5,))
        again = guide.base.from_noise(guide.base.noise(jax.random.key(0), (5,)))
        np.testing.assert_array_equal(draws, again)


def test_matched_moments_reach_a_normal_posterior():
    start = variational.full_rank(jnp.zeros(2), scale=2.0)
    found = variational.match_moments(jax.random.key(0), correlated, start, 4000).base
    np.testing.assert_allclose(found.loc, CENTRE, atol=0.05)
    covariance = found.scale_tril @ found.scale_tril.T
    np.testing.assert_allclose(covariance, jnp.linalg.inv(PRECISION), atol=0.05)
    with pytest.raises(TypeError, match="got Bernoulli"):
        variational.match_moments(jax.random.key(0), correlated, Bernoulli(0.5), 10)
    # no draw has a weight: the guide stays
    lost = variational.match_moments(jax.random.key(0), lambda z: -jnp.inf + jnp.sum(z), start, 10)
    np.testing.assert_array_equal(lost.base.loc, start.base.loc)


def two_hills(z):
    return jnp.logaddexp(-8 * (z + 3) ** 2, 2 - 8 * (z - 3) ** 2)


def test_of_many_guides_the_one_on_the_higher_hill_is_returned():
    guides = variational.scattered(jax.random.key(0), variational.mean_field(0.0), 16, spread=3.0)
    found = variational.fit_guides(
        jax.random.key(1),
        two_hills,
        guides,
        num_kept=2,
        trial_steps=100,
        max_steps=300,
        num_check=100,
    )
    # the mass of the hill: exp(2) sqrt(pi / 8)
    np.testing.assert_allclose(found.guide.base.loc, [3.0], atol=0.02)
    np.testing.assert_allclose(found.elbo.value, 2 + np.log(np.pi / 8) / 2, atol=0.01)
    with pytest.raises(ValueError, match="num_kept must be from 1 to the 16 guides, got 17"):
        variational.fit_guides(jax.random.key(1), two_hills, guides, num_kept=17)


def noisy(noise, p):
    return -jnp.sum((p - 3 + jax.random.normal(noise)) ** 2)


def test_lanes_stop_apart_and_equal_fits_alone():
    starts = jnp.array([0.0, 2.9, jnp.nan, 30.0])

    @jax.jit
    def run(start):
        return fit.maximize_noisy(jax.random.key(0), noisy, start, max_steps=1500)

    together = jax.jit(jax.vmap(run))(starts)
    apart = [run(start) for start in starts]
    assert together.num_steps.tolist() == [int(f.num_steps) for f in apart]
    assert len(set(together.num_steps.tolist())) > 2
    assert together.status.tolist() == [int(f.status) for f in apart]
    np.testing.assert_allclose(together.model, [f.model for f in apart], rtol=1e-4)
    np.testing.assert_allclose(
        together.objectives, [f.objectives for f in apart], rtol=1e-3, atol=1e-6
    )


class Counted:
    """An objective that says how its noise is drawn."""

    def draw(self, key, start):
        return jax.random.normal(key, (3,))

    def __call__(self, noise, p):
        return -jnp.sum((p - 3 + jnp.mean(noise)) ** 2)


@pytest.mark.parametrize("window", [7, 100, 101])
def test_drawn_noise_is_used_whatever_the_window(window):
    fitted = fit.maximize_noisy(
        jax.random.key(0), Counted(), jnp.array(0.0), window=window, tol=-1.0, max_steps=303
    )
    assert (fitted.status, fitted.num_steps) == (Status.MAX_STEPS, 303)
    np.testing.assert_allclose(fitted.model, 3.0, atol=0.3)
    # no two steps saw the same noise
    assert len(np.unique(fitted.objectives[:303])) > 290


ROWS = jnp.linspace(-1.0, 2.0, 50)


def test_minibatches_of_an_elbo():
    joint = Minibatch(lambda z: -(z**2) / 2, lambda z, x: -((x - z) ** 2) / 2, ROWS, 10)
    z, rows = jnp.array(0.3), jax.vmap(joint.draw)(jax.random.split(jax.random.key(0), 4000))
    values = jax.vmap(lambda r: joint.on_rows(r, z))(rows)
    error = jnp.std(values) / jnp.sqrt(4000.0)
    want = -(0.3**2) / 2 - np.sum((np.asarray(ROWS) - 0.3) ** 2) / 2
    np.testing.assert_allclose(joint(z), want, rtol=1e-5)
    assert abs(jnp.mean(values) - want) < 4 * error
    found = variational.fit_guide(
        jax.random.key(1), joint, variational.mean_field(jnp.array(0.0)), max_steps=1000, tol=-1.0
    )
    # conjugate: precision 51, mean sum(x) / 51; noise of the batches stays in the mean
    np.testing.assert_allclose(found.guide.base.loc, [jnp.sum(ROWS) / 51], atol=0.05)
    np.testing.assert_allclose(found.guide.base.scale, [1 / np.sqrt(51)], rtol=0.1)
    bad = Minibatch(lambda z: z, lambda z, x: jnp.sum(x), ROWS, 10)
    with pytest.raises(ValueError, match=r"one value a row, shape \(50,\), got \(\)"):
        bad(z)


def test_equal_settings_compile_once():
    traced = []

    def joint(z):
        traced.append(1)
        return -jnp.sum(z**2) / 2

    guide = variational.mean_field(jnp.ones(2))
    runs = {
        "laplace": lambda: variational.laplace(jax.random.key(0), joint, jnp.ones(2)),
        "fixed draws": lambda: variational.fit_fixed_draws(jax.random.key(0), joint, jnp.ones(2)),
        "guide": lambda: variational.fit_guide(
            jax.random.key(0), joint, guide, estimator=variational.iwae(2), max_steps=2
        ),
    }
    for name, run in runs.items():
        run()
        seen = len(traced)
        run()
        assert len(traced) == seen, name


@pytree
class Coin:
    """A guide over {0, 1} that declares its own constraint: draws have no gradient."""

    probs: jax.Array = constraints.constrained(constraints.unit_interval)

    def sample(self, key, shape=()):
        return Bernoulli(self.probs).sample(key, shape)

    def log_prob(self, x):
        return Bernoulli(self.probs).log_prob(x)


@pytest.mark.parametrize("estimator", [variational.rloo, variational.vimco(4)])
def test_a_discrete_guide_reaches_the_posterior(estimator):
    def joint(z):
        return jnp.where(z == 1, jnp.log(0.6), jnp.log(0.2))

    found = variational.fit_guide(
        jax.random.key(0), joint, Coin(jnp.array(0.5)), estimator=estimator, num_check=200
    )
    np.testing.assert_allclose(found.guide.probs, 0.75, atol=0.03)
    np.testing.assert_allclose(found.elbo.value, np.log(0.8), atol=0.01)


def test_an_optimiser_that_diverges_is_a_status():
    found = variational.fit_guide(
        jax.random.key(0),
        lambda z: -jnp.sum(z**4),
        variational.mean_field(jnp.ones(2)),
        optimizer=optax.sgd(1e4),
        num_check=10,
    )
    assert found.fit.status == Status.COLLAPSED
    assert jnp.all(jnp.isfinite(found.guide.base.loc))


def test_zero_steps_are_refused():
    start = variational.mean_field(jnp.ones(2))
    for options in ({}, {"optimizer": optax.adam(0.01)}):
        with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
            variational.fit_guide(jax.random.key(0), correlated, start, max_steps=0, **options)


@pytree
class Foreign:
    """What another library hands over: `sample` and `log_prob`, nothing else."""

    base: MeanField

    def sample(self, key, shape=()):
        return jnp.sinh(self.base.sample(key, shape))

    def log_prob(self, x):
        return self.base.log_prob(jnp.arcsinh(x)) - jnp.sum(jnp.log1p(x**2), axis=-1) / 2


def test_a_foreign_flow_is_a_guide():
    def joint(z):  # a normal carried by sinh, unnormalised by 2 nats
        y = jnp.arcsinh(z)
        return 2 - jnp.sum((y - 0.5) ** 2 + jnp.log1p(z**2)) / 2

    start = Foreign(MeanField(jnp.zeros(1), jnp.ones(1)))
    found = variational.fit_guide(jax.random.key(0), joint, start, max_steps=1000, num_check=200)
    np.testing.assert_allclose(found.guide.base.loc, [0.5], atol=0.05)
    np.testing.assert_allclose(found.elbo.value, 2 + np.log(2 * np.pi) / 2, atol=0.02)
    assert found.k_hat < 0.7


@jax.tree_util.register_pytree_with_keys_class
class Encoder:
    """A network with its activation as a leaf and a constructor of its own, as in equinox."""

    def __init__(self, key, width):
        self.first = jax.random.normal(key, (2, width)) / 2
        self.second = jnp.zeros((width, 2))
        self.activation = jax.nn.tanh

    def __call__(self, x):
        x = jnp.concatenate([x, jnp.ones_like(x)], axis=1)
        return jnp.split(self.activation(x @ self.first) @ self.second, 2, axis=1)

    def tree_flatten_with_keys(self):
        names = "first", "second", "activation"
        return [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in names], None

    @classmethod
    def tree_unflatten(cls, aux, children):
        new = object.__new__(cls)
        new.first, new.second, new.activation = children
        return new


POINTS = jnp.linspace(-2.0, 2.0, 9)[:, None]


@pytree
class Amortised:
    """Local latents (9, 1), whose means and scales are a function of the data."""

    encoder: Encoder

    def _base(self):
        loc, log_scale = self.encoder(POINTS)
        return MeanField(loc.reshape(-1), jnp.exp(log_scale).reshape(-1))

    def sample(self, key, shape=()):
        return self._base().sample(key, shape)

    def log_prob(self, z):
        return self._base().log_prob(z)


def test_an_encoder_that_holds_a_function_is_fitted():
    # z ~ N(0, 1), x ~ N(z, 1): the posterior is N(x / 2, 1/2)
    def joint(z):
        return log_normal(z) + log_normal(POINTS[:, 0] - z)

    def log_normal(z):
        return -jnp.sum(z**2) / 2 - z.size * jnp.log(2 * jnp.pi) / 2

    log_evidence = stats.norm(0, np.sqrt(2)).logpdf(np.asarray(POINTS)).sum()
    start = Amortised(Encoder(jax.random.key(0), 8))
    found = variational.fit_guide(jax.random.key(1), joint, start, max_steps=1000, num_check=200)
    assert found.guide.encoder.activation is jax.nn.tanh
    assert log_evidence - 0.3 < found.elbo.value < log_evidence + 3 * found.elbo.standard_error
    several = jax.tree.map(lambda a: jnp.stack([a, a]) if hasattr(a, "shape") else a, start)
    best = variational.fit_guides(jax.random.key(1), joint, several, max_steps=20, num_check=20)
    assert best.guide.encoder.activation is jax.nn.tanh
