"""Bounds that are decided where no draw of the guide falls: exponential walls with closed-form ELBOs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from likelax import variational
from likelax.fit import Status
from likelax.model import pytree
from likelax.variational import MeanField, tails

LOG_2PI = np.log(2 * np.pi)


@pytree
class Walls:
    """slope z - (z / width)^2 / 2 - exp(right (z - edge)) - exp(-left (z + edge))."""

    slope: jax.Array
    width: jax.Array
    right: jax.Array
    left: jax.Array
    edge: jax.Array

    def __call__(self, z):
        z = jnp.sum(z)
        walls = jnp.exp(self.right * (z - self.edge)) + jnp.exp(-self.left * (z + self.edge))
        return self.slope * z - (z / self.width) ** 2 / 2 - walls

    def elbo(self, loc, scale):
        """E exp(b z) = exp(b m + b^2 s^2 / 2) under N(m, s^2)."""
        slope, width, right, left, edge = (float(v) for v in jax.tree.leaves(self))
        cost = np.exp(right * (loc - edge) + (right * scale) ** 2 / 2)
        cost += np.exp(-left * (loc + edge) + (left * scale) ** 2 / 2)
        value = slope * loc - (loc**2 + scale**2) / (2 * width**2) - cost
        return value + np.log(scale) + (1 + LOG_2PI) / 2

    def best(self):
        found = optimize.minimize(
            lambda p: -self.elbo(p[0], np.exp(p[1])),
            np.array([0.0, -1.0]),
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000},
        )
        return -found.fun


def made(*values):
    return Walls(*(jnp.asarray(v, jnp.float32) for v in values))


# one wall at the right; steeper; at the left; a plateau between two; skewed; nearly normal
TARGETS = {
    "one wall": made(0.0, 30.0, 1.0, 1e-4, 0.0),
    "steep": made(0.0, 10.0, 3.0, 1e-4, 0.0),
    "at the left": made(0.0, 30.0, 1e-4, 1.0, 0.0),
    "plateau": made(0.0, 1e3, 1.0, 1.0, 12.0),
    "uneven plateau": made(0.0, 1e3, 2.0, 0.5, 10.0),
    "skewed": made(0.05, 1e2, 1.0, 1e-4, 0.0),
    "nearly normal": made(0.0, 1.0, 0.3, 0.3, 5.0),
}


@pytest.mark.parametrize("make", [variational.full_rank, variational.mean_field])
def test_fits_beside_walls_reach_the_best_bound_and_report_the_true_one(make):
    group = list(TARGETS.values())
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *group)

    def one(key, target):
        return variational.fit_guide(key, target, make(jnp.zeros(1)))

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), len(group)), stacked)
    base = found.guide.base
    scales = base.scale[:, 0] if make is variational.mean_field else base.scale_tril[:, 0, 0]
    for i, (name, target) in enumerate(TARGETS.items()):
        true, best = target.elbo(float(base.loc[i, 0]), float(scales[i])), target.best()
        assert found.fit.status[i] == Status.CONVERGED, name
        assert best - true < 0.1, name
        error = found.elbo.standard_error[i]
        assert abs(found.elbo.value[i] - true) < 4 * error + 1e-3, name


def test_a_guide_that_never_saw_the_wall_is_unreliable():
    # a standard normal 19.1 below the wall whose bound is 2.9 by draws, and -5.6 by the integral
    start = variational.mean_field(jnp.array([-19.12]), scale=6.524)
    still = optax.sgd(1e-30)
    target = TARGETS["one wall"]
    assert target.elbo(-19.12, 6.524) < -5
    for seed in range(3):
        found = variational.fit_guide(
            jax.random.key(seed), target, start, optimizer=still, max_steps=2, window=2
        )
        assert found.fit.status == Status.UNRELIABLE
        assert jnp.isnan(found.elbo.value) and jnp.isposinf(found.gap)
    # the same guide where the wall is far enough
    far = variational.fit_guide(
        jax.random.key(0), made(0.0, 30.0, 1.0, 1e-4, 20.0), start, optimizer=still, max_steps=2
    )
    assert far.fit.status == Status.MAX_STEPS and jnp.isfinite(far.elbo.value)


def test_walls_along_random_axes_are_found():
    # 6 parameters, 4 walls in random directions
    rng = np.random.default_rng(0)
    axes = jnp.asarray(rng.normal(size=(4, 6)) / np.sqrt(6), jnp.float32)

    def log_joint(z):
        return -jnp.sum(z**2) / (2 * 20.0**2) - jnp.sum(jnp.exp(axes @ z))

    def elbo(loc, tril):
        x = np.asarray(axes, np.float64)
        rates = np.exp(x @ loc + np.sum((x @ tril) ** 2, axis=1) / 2)
        square = loc @ loc + np.sum(tril**2)
        return -square / 800 - rates.sum() + np.log(np.diag(tril)).sum() + 3 * (1 + LOG_2PI)

    low = np.tril_indices(6)

    def unpacked(p):
        tril = np.zeros((6, 6))
        tril[low] = p[6:]
        np.fill_diagonal(tril, np.exp(np.diag(tril)))
        return p[:6], tril

    best = -optimize.minimize(lambda p: -elbo(*unpacked(p)), np.zeros(27), method="BFGS").fun
    found = variational.fit_guide(jax.random.key(1), log_joint, variational.full_rank(jnp.zeros(6)))
    base = found.guide.base
    true = elbo(np.asarray(base.loc, np.float64), np.asarray(base.scale_tril, np.float64))
    assert found.fit.status == Status.CONVERGED
    assert best - true < 0.1
    assert abs(found.elbo.value - true) < 4 * found.elbo.standard_error


def test_draws_of_tilts_weighted_back_have_the_moments_of_the_guide():
    plain = jax.random.normal(jax.random.key(0), (4000, 2))
    places = jnp.array([[6.0, 0.0], [0.0, -4.0], [0.0, 0.0]])
    both = tails.weighted(jax.random.normal(jax.random.key(1), (2, 2)), plain, places)
    np.testing.assert_allclose(jnp.sum(both.weights), 1, atol=0.01)
    assert not jnp.any(both.weights[-tails.DRAWS_AT_PLACE :])  # a row of zeros is no place
    # E exp(6 e) = exp(18), nearly all of it beyond four standard deviations
    found = jnp.sum(both.weights * jnp.exp(6 * both.noise[:, 0] - 18))
    np.testing.assert_allclose(found, 1, atol=0.2)


def test_the_peak_beside_walls_is_where_its_bound_is_highest():
    places = jnp.array([[4.0, 1.0], [0.0, 0.0], [-1.0, 3.0]])
    costs = jnp.array([0.3, 5.0, 0.02])  # that of the row of zeros is not used
    curvature = jnp.array([[6.0, 1.5], [1.5, 1.4]])
    signal = jnp.array([-0.4, 0.2])
    for guide in (
        MeanField(jnp.zeros(2), jnp.ones(2)),
        variational.FullRank(jnp.zeros(2), jnp.eye(2)),
    ):
        found = tails.peak(signal, curvature, places, costs, guide)
        e, b = np.asarray(places, np.float64)[[0, 2]], np.asarray(costs, np.float64)[[0, 2]]
        bend = np.asarray(curvature) - (e.T * b) @ e
        pull = np.asarray(signal) + b @ e

        def bound(p, bend=bend, pull=pull, e=e, b=b, guide=guide):
            tril = np.diag(np.exp(p[2:4]))
            tril[1, 0] = p[4] if isinstance(guide, variational.FullRank) else 0.0
            cov, loc = tril @ tril.T, p[:2]
            walls = b * np.exp(e @ loc + np.einsum("ka,ab,kb->k", e, cov - np.eye(2), e) / 2)
            value = pull @ loc - loc @ bend @ loc / 2 - np.sum(bend * cov) / 2 - walls.sum()
            return -(value + p[2] + p[3])

        want = optimize.minimize(bound, np.zeros(5), method="BFGS")
        np.testing.assert_allclose(found.gain, bound(np.zeros(5)) - want.fun, rtol=1e-3)
        np.testing.assert_allclose(found.loc, want.x[:2], atol=2e-3)


def _one_wall(z):
    return -((z[0] / 30) ** 2) / 2 - jnp.exp(z[0])


def _no_wall(z):
    return -jnp.sum((z - 1.0) ** 2)


@pytest.mark.parametrize("many", [False, True], ids=["one guide", "the best of two"])
def test_a_fit_is_made_again_beside_a_wall_and_ends_as_under_jit(many):
    def fit(key, log_joint):
        if not many:
            start = variational.mean_field(jnp.zeros(1))
            return variational.fit_guide(key, log_joint, start)
        starts = variational.scattered(
            jax.random.key(1), variational.mean_field(jnp.zeros(1)), 2, spread=1.0
        )
        return variational.fit_guides(key, log_joint, starts)

    for log_joint, walls in ((_no_wall, False), (_one_wall, True)):
        found = fit(jax.random.key(0), log_joint)
        traced = jax.jit(lambda key, log_joint=log_joint: fit(key, log_joint))(jax.random.key(0))
        assert found.fit.status == traced.fit.status == Status.CONVERGED
        np.testing.assert_allclose(found.guide.base.loc, traced.guide.base.loc, rtol=1e-3)
        np.testing.assert_allclose(found.elbo.value, traced.elbo.value, atol=1e-2)
        # those of the first try count
        assert (found.num_gradients > traced.num_gradients) == walls
    # the best of a normal by its closed form
    assert abs(found.elbo.value - 2.91) < 0.1


@pytest.mark.parametrize("walls", [False, True])
def test_a_narrow_guide_of_a_wide_log_joint(walls, x64):
    # a float32 guide where numbers are float64 by default
    def log_joint(z):
        wide = z[0].astype(jnp.float64)
        return -((wide / 30) ** 2) / 2 - (jnp.exp(wide) if walls else 0.0)

    start = variational.full_rank(jnp.zeros(1, jnp.float32))
    with jax.numpy_dtype_promotion("standard"):
        found = variational.fit_guide(jax.random.key(0), log_joint, start)
    assert found.fit.status == Status.CONVERGED
    assert found.guide.base.loc.dtype == jnp.float32
    best = 2.91 if walls else np.log(30 * np.sqrt(2 * np.pi))
    assert abs(found.elbo.value - best) < 0.1


def test_the_bound_of_many_draws_knows_of_walls_too(monkeypatch):
    # the check has more draws than it holds at once
    monkeypatch.setattr(variational.checking, "NUMBERS_AT_ONCE", 500)
    start = variational.mean_field(jnp.array([-19.12]), scale=6.524)
    found = variational.fit_guide(
        jax.random.key(0),
        TARGETS["one wall"],
        start,
        optimizer=optax.sgd(1e-30),
        max_steps=2,
        window=2,
    )
    assert found.fit.status == Status.UNRELIABLE


def test_scores_need_no_gradient_of_the_log_joint():
    def log_joint(z):
        return jax.lax.while_loop(lambda v: v[1] < 1, lambda v: (v[0] - z @ z, 1), (0.0, 0))[0]

    found = variational.fit_guide(
        jax.random.key(0),
        log_joint,
        variational.mean_field(jnp.zeros(1)),
        estimator=variational.rloo,
        max_steps=5,
    )
    assert jnp.isfinite(found.elbo.value)
