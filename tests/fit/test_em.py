import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from likelax import fit
from likelax.data import Labelled, Masked, Sequences
from likelax.families import (
    Bernoulli,
    Beta,
    MvNormal,
    Normal,
    NormalInverseWishart,
    Poisson,
    SphericalNormal,
)
from likelax.fit import Status
from likelax.fit._em import e_step
from likelax.mixture import Mixture, MixturePrior
from likelax.model import Model, pytree
from likelax.product import Independent
from likelax.wrappers import Fixed, Tied
from reference import gaussian_mixture as reference


def gaussian(weights, means, covariances):
    tril = jnp.asarray(np.linalg.cholesky(covariances), jnp.zeros(()).dtype)
    weights, means = (jnp.asarray(a, tril.dtype) for a in (weights, means))
    return Mixture(weights, MvNormal(means, tril))


def covariances(model):
    tril = np.asarray(model.components.scale_tril)
    return tril @ np.swapaxes(tril, -1, -2)


def close(got, want, rtol=1e-5, atol=1e-6):
    def leaves(tree):
        return jax.tree.leaves(tree, is_leaf=lambda a: isinstance(a, list))

    for g, w in zip(leaves(got), leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol, atol)


X = jnp.array([-2.1, -2.0, -1.9, 1.9, 2.0, 2.1])
START = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))


# Against scikit-learn


def scikit_learn(x, weights, means, start_covariances, **options):
    model = GaussianMixture(
        len(weights),
        weights_init=weights,
        means_init=means,
        precisions_init=np.linalg.inv(start_covariances),
        reg_covar=0.0,
        **options,
    )
    return model.fit(x)


def test_full_covariances_agree_with_scikit_learn(x64):
    x, *start = reference.problem(num_rows=200)
    got = fit.em(gaussian(*start), x, tol=1e-15, max_steps=2000)
    peer = scikit_learn(x, *start, tol=1e-14, max_iter=2000)
    close(got.objective / len(x), peer.score(x), rtol=1e-9)
    close((got.model.weights, got.model.components.loc), (peer.weights_, peer.means_), 1e-6, 1e-6)
    close(covariances(got.model), peer.covariances_, 1e-6, 1e-6)


def test_tied_diagonal_and_spherical_covariances_agree_with_scikit_learn(x64):
    x, weights, means, _ = reference.problem(num_rows=200)
    components = {
        "tied": Tied(MvNormal(means, np.broadcast_to(np.eye(3), (2, 3, 3)))),
        "diag": Independent(Normal(means, np.ones((2, 3)))),
        "spherical": SphericalNormal(means, np.ones(2)),
    }
    precisions = {"tied": np.eye(3), "diag": np.ones((2, 3)), "spherical": np.ones(2)}
    for kind, start in components.items():
        got = fit.em(Mixture(weights, start), x, tol=1e-15, max_steps=3000)
        peer = GaussianMixture(
            2,
            covariance_type=kind,
            weights_init=weights,
            means_init=means,
            precisions_init=precisions[kind],
            reg_covar=0.0,
            tol=1e-14,
            max_iter=3000,
        ).fit(x)
        close(got.objective / len(x), peer.score(x), rtol=1e-9)
        close(got.model.weights, peer.weights_, 1e-6, 1e-6)
        found = got.model.components
        if kind == "tied":
            tril = np.asarray(found.model.scale_tril)
            close(found.model.loc, peer.means_, 1e-6, 1e-6)
            close(tril @ np.swapaxes(tril, -1, -2), np.stack([peer.covariances_] * 2), 1e-6, 1e-6)
        else:
            found = found.component if kind == "diag" else found
            close(found.loc, peer.means_, 1e-6, 1e-6)
            close(np.asarray(found.scale) ** 2, peer.covariances_, 1e-6, 1e-6)


def test_fixed_components_stand_still():
    start = Mixture(jnp.array([0.5, 0.5]), Fixed(Normal(jnp.array([-2.0, 2.0]), jnp.ones(2))))
    got = fit.em(start, jnp.concatenate([X, X[:3]]))
    close(got.model.components.model.loc, [-2.0, 2.0])
    close(got.model.weights, [2 / 3, 1 / 3], rtol=1e-2)


def test_the_trace_is_the_references_and_rises(x64):
    x, *parameters = reference.problem()
    got = fit.em(gaussian(*parameters), x, tol=0.0, max_steps=4)
    want = []
    for _ in range(5):
        shares, log_density = reference.e_step(x, *parameters)
        want.append(log_density.sum())
        parameters = reference.m_step(x, shares)
    close(got.objectives, want, rtol=1e-10)
    assert got.num_steps == 4
    assert got.status == Status.MAX_STEPS


def check_default_tolerance():
    # issue 10122 there: a loose tolerance stops at weights .41/.59 instead of .25/.75
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 2500), rng.normal(2, 1, 7500)])
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.5, 1.5]), jnp.array([1.0, 1.0])))
    got = fit.em(start, jnp.asarray(x), max_steps=3000)
    assert got.status == Status.CONVERGED
    np.testing.assert_allclose(got.model.weights[0], 0.25, atol=0.05)


def test_the_default_tolerance_reaches_what_scikit_learns_does_not():
    check_default_tolerance()


def test_the_default_tolerance_does_so_in_float64(x64):
    check_default_tolerance()


def test_progress_is_told_after_every_step():
    seen = {}
    x, *start = reference.problem(num_rows=40)

    def tell(step, nats):
        seen[int(step)] = float(nats)

    got = fit.em(gaussian(*start), x.astype(np.float32), max_steps=4, tol=0.0, progress=tell)
    jax.effects_barrier()
    close([seen[step] for step in range(5)], got.objectives)


# Weights, chunks, masks, batches


def test_weights_are_duplication():
    x, *start = reference.problem(num_rows=40)
    counts = np.arange(40) % 3
    got = fit.em(gaussian(*start), x.astype(np.float32), weights=counts, tol=0.0, max_steps=5)
    many = np.repeat(x.astype(np.float32), counts, axis=0)
    want = fit.em(gaussian(*start), many, tol=0.0, max_steps=5)
    close(got.objectives, want.objectives, rtol=1e-5)
    close(got.model, want.model, rtol=1e-3, atol=1e-4)  # five float32 steps


@pytest.mark.sampled(0.5)
@pytest.mark.parametrize("chunk_size", [1, 7, 20, 59, 60, 61])
def test_chunks_add_up_to_the_whole(x64, chunk_size):
    x, *start = reference.problem()
    model, weights = gaussian(*start), np.linspace(0, 2, len(x))
    both = jax.jit(lambda *args: (e_step(*args, chunk_size), args[0].e_step(*args[1:])))
    close(*both(model, x, weights), rtol=1e-9, atol=1e-9)


def test_chunks_cut_every_wrapper():
    x, *start = reference.problem(num_rows=10)
    x, labels = x.astype(np.float32), np.array([0, 1, -1, -1, 0] * 2)
    data = Labelled(Masked(x, x > -1.0), labels)
    model = gaussian(*start)
    both = jax.jit(lambda model, x: (e_step(model, x, None, 4), model.e_step(x)))
    close(*both(model, data), rtol=1e-4, atol=1e-4)


def test_a_fit_is_the_same_in_chunks_under_jit_and_vmap():
    want = fit.em(START, X)
    got = jax.jit(functools.partial(fit.em, chunk_size=4))(START, X)
    close(got.model, want.model, rtol=1e-4)
    batch = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), START)
    fits = jax.vmap(fit.em, in_axes=(0, None))(batch, X)
    close(jax.tree.map(lambda a: a[0], fits.model), want.model, rtol=1e-4)
    close(fits.model.components.loc[1], want.model.components.loc[::-1], rtol=1e-4)
    data_sets = jax.vmap(fit.em, in_axes=(None, 0))(START, jnp.stack([X, X + 1]))
    close(data_sets.model.components.loc[1], want.model.components.loc + 1, rtol=1e-4)


def test_one_component_is_maximum_likelihood_of_the_masked_rows():
    # with one component EM over missing entries has the observed-data optimum: two observed
    # columns pin their marginal, so the mean of the full column is the sample mean
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)).astype(np.float32)
    x[:, 1] += 0.8 * x[:, 0]
    holes = x.copy()
    holes[150:, 1] = np.nan
    got = fit.em(MvNormal(jnp.zeros(2), jnp.eye(2)), Masked.from_nan(holes), max_steps=500)
    slope, intercept = np.polyfit(x[:150, 0].astype(float), x[:150, 1], 1)
    # monotone missingness has a closed form: Little & Rubin (2002), Statistical Analysis with
    # Missing Data, 7.2
    mean = x[:, 0].mean()
    close(got.model.loc, [mean, intercept + slope * mean], rtol=1e-2, atol=1e-3)


# Priors


def test_map_raises_the_log_posterior_and_reports_it(x64):
    x, *start = reference.problem()
    scale = jnp.broadcast_to(jnp.eye(3), (2, 3, 3))
    wishart = NormalInverseWishart(jnp.zeros((2, 3)), jnp.ones(2), jnp.full(2, 5.0), scale)
    prior = MixturePrior(components=wishart)
    got = fit.em(gaussian(*start), x, prior=prior, tol=0.0, max_steps=20)
    assert np.all(np.diff(got.objectives) >= -1e-9)
    log_prior = sum(
        prior.components.__class__(*(leaf[k] for leaf in jax.tree.leaves(wishart))).log_prob(
            (got.model.components.loc[k], covariances(got.model)[k])
        )
        for k in range(2)
    )
    close(got.objective, jnp.sum(got.model.log_prob(x)) + log_prior, rtol=1e-8)


def test_mle_with_a_prior_is_the_posterior_mode():
    close(fit.mle(Bernoulli(0.5), jnp.array([1, 1, 0]), prior=Beta(2.0, 2.0)).probs, 3 / 5)


# Status


def test_converged_fits_are_ok():
    got = fit.em(START, X)
    assert got.status == Status.CONVERGED
    assert got.usable
    assert got.raise_unless_converged() is got
    close(got.objectives[got.num_steps :], got.objective)


def test_too_few_steps_say_so_and_can_be_used():
    got = fit.em(START, X, tol=0.0, max_steps=1)
    assert got.status == Status.MAX_STEPS
    assert got.usable
    with pytest.raises(fit.FitError, match="status MAX_STEPS after 1 steps; raise max_steps"):
        got.raise_unless_converged()


def test_no_steps_evaluate_the_start():
    got = fit.em(START, X, max_steps=0)
    assert (got.status, got.num_steps, got.objectives.shape) == (Status.MAX_STEPS, 0, (1,))
    close(got.objective, jnp.sum(START.log_prob(X)))


def test_a_start_that_cannot_make_the_data_is_non_finite():
    got = fit.em(Poisson(0.0), jnp.array([1, 2]))
    assert got.status == Status.NON_FINITE
    assert not got.usable
    assert got.num_steps == 0


def test_a_component_on_one_point_collapses_and_the_model_stays_finite():
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.0, 9.0]), jnp.array([1.0, 0.1])))
    got = fit.em(start, jnp.array([-1.0, -0.5, 0.5, 1.0, 9.0]))
    assert got.status == Status.COLLAPSED
    assert not got.usable
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got.model))
    assert np.isfinite(got.objective)
    with pytest.raises(fit.FitError, match=r"COLLAPSED.*prior"):
        got.raise_unless_converged()


@pytree
class Backwards(Model):
    """A model whose M step makes it worse."""

    normal: Normal

    def log_prob(self, x):
        return self.normal.log_prob(x)

    def sample(self, key, shape=()):
        return self.normal.sample(key, shape)

    def e_step(self, x, weights=None):
        return self.normal.e_step(x, weights)

    def expected_log_prob(self, stats):
        return self.normal.expected_log_prob(stats)

    def m_step(self, stats, prior=None):
        return Backwards(Normal(self.normal.loc + 1.0, self.normal.scale))


def test_a_fall_is_reported_and_undone():
    got = fit.em(Backwards(Normal(jnp.float32(2.0), jnp.float32(1.0))), X)
    assert got.status == Status.DECREASED
    assert not got.usable
    close(got.model.normal.loc, 2.0)
    with pytest.raises(fit.FitError, match="DECREASED after 1 steps"):
        got.raise_unless_converged()


def test_failures_in_a_batch_are_counted():
    rates = Poisson(jnp.array([1.0, 0.0]))
    fits = jax.vmap(lambda m: fit.em(m, jnp.array([1, 2])))(rates)
    with pytest.raises(
        fit.FitError, match=r"1 of 2 fits, the first at index \(1,\): status NON_FINITE"
    ):
        fits.raise_unless_converged()
    assert fit.best(fits).status == Status.CONVERGED


# float32


def test_blobs_far_from_zero_in_float32():
    rng = np.random.default_rng(0)
    blobs = np.concatenate([rng.normal(-3, 1, (500, 2)), rng.normal(3, 1, (500, 2))])
    x = (blobs + 1e4).astype(np.float32)
    means = np.array([[-2.0, -2.0], [2.0, 2.0]]) + 1e4
    start = gaussian([0.5, 0.5], means, np.stack([2 * np.eye(2)] * 2))
    got = fit.em(start, x)
    assert got.status == Status.CONVERGED
    # the same fit in float64 of the same rounded data
    parameters = [0.5, 0.5], means, np.stack([2 * np.eye(2)] * 2)
    for _ in range(50):
        shares, _ = reference.e_step(x.astype(float), *parameters)
        parameters = reference.m_step(x.astype(float), shares)
    want = reference.e_step(x.astype(float), *parameters)[1].mean()
    np.testing.assert_allclose(got.objective / len(x), want, atol=2e-4)
    np.testing.assert_allclose(want, -3.52, atol=0.05)


# Acceleration


def test_squarem_reaches_ems_optimum_in_fewer_steps(x64):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 250), rng.normal(2, 1, 750)])
    start = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.5, 1.5]), jnp.array([1.0, 1.0])))
    slow = fit.em(start, x, tol=1e-12, max_steps=5000)
    fast = fit.squarem(start, x, tol=1e-12, max_steps=5000)
    assert fast.status == slow.status == Status.CONVERGED
    assert np.all(np.diff(fast.objectives) >= 0)
    assert fast.objective >= slow.objective - 1e-5
    assert 4 * fast.num_steps < slow.num_steps


def test_squarem_keeps_structural_zeros_and_batches():
    start = Mixture(jnp.array([0.5, 0.5, 0.0]), Normal(jnp.array([-1.0, 1.0, 0.0]), jnp.ones(3)))
    got = fit.squarem(start, X)
    close(got.model.components.loc[:2], fit.em(START, X).model.components.loc, rtol=1e-4)
    close(got.model.weights[2], 0.0)
    fits = jax.vmap(fit.squarem, in_axes=(0, None))(jax.tree.map(lambda a: a[None], start), X)
    close(fits.objectives[0], got.objectives, rtol=1e-5)


# Bad input


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (
            np.array([1.0, np.nan]),
            {},
            r"NaN, first at index \(1,\); declare .*Masked.from_nan",
        ),
        (np.zeros((0,)), {}, r"x is empty, shape \(0,\)"),
        (
            np.ones(2),
            {"weights": np.array([1.0, -1.0])},
            r"not negative; got -1.0 at index \(1,\)",
        ),
        (
            np.ones(2),
            {"weights": np.ones(3)},
            r"one per observation, shape \(2,\); got \(3,\)",
        ),
        (np.ones(2), {"max_steps": -1}, "max_steps must be 0 or more; got -1"),
        (np.ones(2), {"chunk_size": 0}, "chunk_size must be at least 1; got 0"),
        (np.float32(1.0), {"chunk_size": 1}, "no leading axis"),
        (
            Labelled(np.ones(2), np.array([0, 2])),
            {},
            r"labels must lie in 0..1.* got 2 at index \(1,\)",
        ),
        (Labelled(np.ones(2), np.array([0.0, 1.0])), {}, "labels must be integers"),
        (Masked(np.array([1.0, np.nan]), np.array([True, True])), {}, "x holds NaN"),
        (
            Masked(np.ones(2), np.ones(3, bool)),
            {},
            r"shape of values, \(2,\); got \(3,\)",
        ),
        (Sequences(np.array([[np.nan]])), {}, "x holds NaN"),
    ],
)
def test_bad_input_gets_one_clear_sentence(x, options, message):
    with pytest.raises(ValueError, match=message):
        fit.em(START, x, **options)


def test_wrong_dimensions_are_refused():
    model = gaussian([1.0], np.zeros((1, 2)), np.eye(2)[None])
    with pytest.raises(ValueError, match=r"x must have shape \(..., 2\); got \(5, 3\)"):
        fit.em(model, np.zeros((5, 3), np.float32))


def test_labels_need_a_latent_variable():
    with pytest.raises(ValueError, match="Normal has no latent variable to label"):
        fit.mle(Normal(0.0, 1.0), Labelled(np.ones(2), np.zeros(2, int)))


def test_a_declared_nan_is_no_error():
    close(fit.mle(Normal(0.0, 1.0), Masked.from_nan(np.array([1.0, np.nan, 3.0]))).loc, 2.0)
