import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from likelax import datasets, fit
from likelax.data import Labelled
from likelax.families import (
    Binomial,
    Delta,
    Gamma,
    MvNormal,
    Normal,
    NormalKnownScale,
    Poisson,
    SphericalNormal,
    StudentT,
)
from likelax.fit import Fit, Status
from likelax.mixture import Mixture, MixturePrior
from likelax.one_of import OneOf
from likelax.product import Independent, Product
from likelax.wrappers import Fixed, Tied

X = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])


def faithful():
    geyser = datasets.faithful()
    return np.stack([geyser.eruption, geyser.waiting], axis=1).astype(np.float32)


def test_kmeans_finds_blobs_and_their_centres():
    rng = np.random.default_rng(0)
    truth = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    want = rng.integers(3, size=90)
    x = (truth[want] + 0.1 * rng.normal(size=(90, 2)) + 1e3).astype(np.float32)
    labels, centers = jax.jit(fit.kmeans, static_argnums=2)(jax.random.key(0), x, 3)
    order = np.array([np.bincount(np.asarray(labels)[want == k]).argmax() for k in range(3)])
    np.testing.assert_array_equal(order[want], labels)
    means = [x[want == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(centers[order], means, rtol=1e-6)


def test_seeds_of_data_with_fewer_points_than_clusters():
    labels, centers = fit.kmeans(jax.random.key(0), jnp.ones((4, 2)), 3)
    assert np.isfinite(centers).all()
    assert labels.shape == (4,)


def test_restarts_keep_the_best():
    def start(key):
        loc = jax.random.choice(key, X, (2,), replace=False)
        return Mixture(jnp.array([0.5, 0.5]), Normal(loc, jnp.ones(2)))

    keys = jax.random.split(jax.random.key(0), 4)
    every = [fit.em(start(k), X).objective for k in keys]
    got = fit.restarts(jax.random.key(0), start, X, num_restarts=4)
    np.testing.assert_allclose(got.objective, max(every), rtol=1e-5)


def test_a_collapsed_fit_is_the_best_only_among_its_like():
    def fits(*status):
        scores = jnp.array([[9.0], [1.0]])
        return Fit(jnp.arange(2), scores, jnp.ones(2, int), jnp.array(status))

    assert fit.best(fits(Status.COLLAPSED, Status.CONVERGED)).model == 1
    assert fit.best(fits(Status.COLLAPSED, Status.NON_FINITE)).model == 0


def test_labels_start_a_mixture():
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.zeros(2), jnp.ones(2)))
    got = fit.from_labels(start, X, jnp.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(got.components.loc, [-2, 2], rtol=1e-6)
    want = fit.mle(start, Labelled(X, jnp.array([0, 0, 0, 1, 1, 1])))
    np.testing.assert_allclose(got.components.scale, want.components.scale)


def test_responsibilities_of_another_model_start_a_mixture():
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    got = fit.from_responsibilities(start, X, start.responsibilities(X))
    want = fit.em(start, X, max_steps=1).model
    np.testing.assert_allclose(got.components.loc, want.components.loc, rtol=1e-6)
    np.testing.assert_allclose(got.weights, want.weights, rtol=1e-6)
    with pytest.raises(ValueError, match=r"must have shape \(..., 2\).*got \(6, 3\)"):
        fit.from_responsibilities(start, X, jnp.ones((6, 3)))
    with pytest.raises(ValueError, match="responsibilities must be finite and not negative"):
        fit.from_responsibilities(start, X, -jnp.ones((6, 2)))


def test_points_drawn_evenly_are_rows_of_the_data():
    x = faithful()
    got = fit.at_points(jax.random.key(0), x, 3, spread=False)
    assert all((x == loc).all(axis=1).any() for loc in np.asarray(got.components.loc))


def test_a_sweep_on_old_faithful_finds_two_or_three_kinds_of_eruption():
    x = faithful()
    fits = fit.sweep(
        jax.random.key(0),
        lambda key, size: fit.at_points(key, x, 3, size),
        x,
        sizes=[1, 2, 3],
        num_restarts=4,
        max_steps=200,
    )
    assert bool(jnp.all(fits.usable))
    free = jax.vmap(fit.num_parameters)(fits.model)
    np.testing.assert_array_equal(free, [5, 11, 17])
    # one component is the maximum likelihood fit; two: mclust's published -1130.264
    np.testing.assert_allclose(fits.objective[1], -1130.264, atol=0.01)
    assert int(jnp.argmin(jax.vmap(lambda m: fit.bic(m, x))(fits.model))) == 1
    np.testing.assert_allclose(fits.model.weights[0], [1, 0, 0])


def test_criteria_are_scikit_learns():
    x = faithful()
    peer = GaussianMixture(2, random_state=0, tol=1e-8).fit(x.astype(float))
    tril = jnp.asarray(np.linalg.cholesky(peer.covariances_), jnp.float32)
    weights, means = (jnp.asarray(a, jnp.float32) for a in (peer.weights_, peer.means_))
    model = Mixture(weights, MvNormal(means, tril))
    np.testing.assert_allclose(fit.aic(model, x), peer.aic(x), rtol=1e-5)
    np.testing.assert_allclose(fit.bic(model, x), peer.bic(x), rtol=1e-5)
    entropy = -np.sum(scipy_xlogx(peer.predict_proba(x)))
    np.testing.assert_allclose(fit.icl(model, x), peer.bic(x) + 2 * entropy, rtol=1e-5)


def scipy_xlogx(p):
    return p * np.log(np.where(p > 0, p, 1))


@pytest.mark.parametrize(
    ("components", "kind"),
    [
        (Tied(MvNormal(jnp.zeros((4, 3)), jnp.zeros((4, 3, 3)))), "tied"),
        (Independent(Normal(jnp.zeros((4, 3)), jnp.ones((4, 3)))), "diag"),
        (SphericalNormal(jnp.zeros((4, 3)), jnp.ones(4)), "spherical"),
    ],
)
def test_parameters_are_counted_as_scikit_learn_counts(components, kind):
    x = np.random.default_rng(0).normal(size=(20, 3))
    peer = GaussianMixture(4, covariance_type=kind, tol=1.0, random_state=0).fit(x)
    model = Mixture(jnp.full(4, 0.25), components)
    assert fit.num_parameters(model) == peer._n_parameters()
    assert fit.num_parameters(Mixture(jnp.full(4, 0.25), Fixed(components))) == 3


def test_bad_input_gets_one_clear_sentence():
    def start(key, size=None):
        return Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))

    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_restarts must be at least 1, got 0"):
        fit.restarts(key, start, X, num_restarts=0)
    with pytest.raises(ValueError, match="num_restarts must be at least 1, got 0"):
        fit.sweep(key, start, X, sizes=[2], num_restarts=0)
    with pytest.raises(ValueError, match=r"sizes must be integers of shape \(S,\)"):
        fit.sweep(key, start, X, sizes=2.0, num_restarts=1)
    with pytest.raises(ValueError, match="x holds NaN"):
        fit.restarts(key, start, jnp.array([jnp.nan]), num_restarts=1)


def test_only_what_a_fit_moves_is_counted():
    zero_inflated = Mixture(jnp.ones(2) / 2, OneOf.stack(Delta(0.0), Poisson(1.0)))
    for model, free in (
        (zero_inflated, 2),
        (Binomial(10.0, 0.5), 1),
        (NormalKnownScale(0.0, 1.0), 1),
        (StudentT(3.0, 0.0, 1.0), 2),
        (StudentT(3.0, 0.0, 1.0, fixed_dof=False), 3),
        (Product((Fixed(Normal(0.0, 1.0)), Poisson(1.0))), 1),
    ):
        assert fit.num_parameters(model) == free


def test_a_zero_inflated_model_takes_a_prior():
    start = Mixture(jnp.ones(2) / 2, OneOf.stack(Delta(0.0), Poisson(1.0)))
    prior = MixturePrior(components=(None, Gamma(jnp.full(2, 2.0), jnp.ones(2))))
    assert fit.em(start, jnp.array([0.0, 0.0, 0.0, 1.0, 4.0, 3.0]), prior=prior).usable


def test_a_constant_column_still_has_a_start():
    x = jnp.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    tril = fit.at_points(jax.random.key(0), x, 2).components.scale_tril[0]
    np.testing.assert_allclose(tril, [[np.sqrt(2 / 3), 0], [0, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="size must be at most max_components, 3; got 5"):
        fit.at_points(jax.random.key(0), x, 3, 5)
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) with N >= 1; got \(3,\)"):
        fit.at_points(jax.random.key(0), x[:, 0], 2)


@pytest.mark.parametrize("max_steps", [0, 1, 3])
def test_a_restart_has_the_trace_of_a_fit_alone(max_steps):
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 3.0]), jnp.ones(2)))
    options = {"max_steps": max_steps, "tol": 0.0}
    both = fit.restarts(
        jax.random.key(0), lambda key: start, X, num_restarts=2, keep_all=True, **options
    )
    alone = fit.em(start, X, **options)
    for field in ("objectives", "objective", "num_steps", "status"):
        for got in np.asarray(getattr(both, field)):
            np.testing.assert_allclose(got, getattr(alone, field), rtol=1e-5)
