import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from likelax.data import Masked
from likelax.families import MvNormal, Normal, SphericalNormal
from likelax.mixture import Mixture
from likelax.product import Independent

LOC = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, 0.3], [0.6, 1.0, -0.2], [0.3, -0.2, 1.5]])


def model():
    return MvNormal.from_covariance(LOC, COVARIANCE)


def test_the_conditional_times_the_marginal_is_the_joint(x64):
    x = np.array([0.3, -1.0, 2.0])
    given = model().marginal([2, 0])
    rest = model().condition([2, 0], x[[2, 0]])
    got = given.log_prob(x[[2, 0]]) + rest.log_prob(x[[1]])
    np.testing.assert_allclose(got, multivariate_normal(LOC, COVARIANCE).logpdf(x), rtol=1e-12)
    want = multivariate_normal(LOC[[2, 0]], COVARIANCE[np.ix_([2, 0], [2, 0])])
    np.testing.assert_allclose(given.log_prob(x[[2, 0]]), want.logpdf(x[[2, 0]]), rtol=1e-12)


def test_the_same_holds_for_a_mixture(x64):
    components = MvNormal(
        jnp.stack([LOC, -LOC]), jnp.linalg.cholesky(jnp.stack([COVARIANCE, jnp.eye(3)]))
    )
    mixed = Mixture(jnp.array([0.3, 0.7]), components)
    x = np.array([0.3, -1.0, 2.0])
    got = mixed.marginal([1]).log_prob(x[[1]]) + mixed.condition([1], x[[1]]).log_prob(x[[0, 2]])
    np.testing.assert_allclose(got, mixed.log_prob(x), rtol=1e-12)
    # the regression is the ratio of integrals over a grid of the first entry
    two = mixed.marginal([0, 1])
    grid = np.linspace(-15, 15, 4001)
    density = jnp.exp(two.log_prob(np.stack([grid, np.full(4001, 0.4)], axis=1)))
    want = np.sum(grid * density) / np.sum(density)
    np.testing.assert_allclose(two.condition([1], np.array([0.4])).mean()[0], want, rtol=1e-8)


def test_a_scatter_of_lower_rank_is_no_covariance():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 2)).astype(np.float32) @ np.float32([[1, 0, 1], [0, 1, 1]])
    new = model().m_step(model().e_step(flat)[0])
    assert jnp.isnan(new.scale_tril).all()
    # strong correlation that float32 can still tell
    near = flat + 0.01 * rng.normal(size=(50, 3)).astype(np.float32)
    got = model().m_step(model().e_step(near)[0]).covariance
    np.testing.assert_allclose(got, np.cov(near.T, bias=True), rtol=1e-3)


def test_one_variance_in_all_directions_is_that_of_equal_ones():
    x = jnp.array([[0.0, 1.0, 2.0], [1.0, 1.5, -1.0], [3.0, 0.0, 0.5]])
    one = SphericalNormal(jnp.zeros(3), jnp.array(1.5))
    same = Independent(Normal(jnp.zeros(3), jnp.full(3, 1.5)))
    np.testing.assert_allclose(one.log_prob(x), same.log_prob(x), rtol=1e-6)
    holes = Masked(x, jnp.array([[True, False, True], [True, True, True], [False] * 3]))
    np.testing.assert_allclose(one.log_prob(holes), same.log_prob(holes), rtol=1e-6)
    new = one.m_step(one.e_step(x)[0])
    np.testing.assert_allclose(new.loc, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(new.scale**2, jnp.mean((x - new.loc[None, :]) ** 2), rtol=1e-6)
    assert one.sample(jax.random.key(0), (2,)).shape == (2, 3)


def test_em_of_a_spherical_normal_with_holes_never_falls():
    x = jnp.array([[0.0, 1.0, 2.0], [1.0, 1.5, -1.0], [3.0, 0.0, 0.5]])
    holes = Masked(x, jnp.array([[True, False, True], [True, True, False], [False] * 3]))
    now, totals = SphericalNormal(jnp.zeros(3), jnp.array(1.5)), []
    for _ in range(5):
        stats, total = now.e_step(holes)
        totals.append(total)
        now = now.m_step(stats)
    assert np.all(np.diff(totals) > 0)


def test_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"SphericalNormal: x must have shape \(..., 3\)"):
        SphericalNormal(jnp.zeros(3), jnp.array(1.0)).log_prob(jnp.zeros(2))


def test_entries_are_named_from_either_end_and_must_be_there():
    model = MvNormal(jnp.arange(3.0), jnp.eye(3))
    np.testing.assert_array_equal(model.condition([-1], jnp.zeros(1)).loc, [0, 1])
    np.testing.assert_array_equal(model.marginal([-1, 0]).loc, [2, 0])
    for dims in ([7], 1, [0, -3], []):
        with pytest.raises(ValueError, match="MvNormal: dims must"):
            model.marginal(dims)
