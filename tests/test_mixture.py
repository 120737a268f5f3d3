import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy import special

import likelax as lx
from likelax import data, mixture
from likelax.data import Labelled, Masked
from likelax.families import (
    Bernoulli,
    Delta,
    Dirichlet,
    LinearRegression,
    MvNormal,
    Normal,
    Poisson,
    Uniform,
)
from likelax.hmm import HMM
from likelax.mixture import Mixture, MixturePrior
from likelax.one_of import OneOf
from likelax.product import Product
from reference import gaussian_mixture as reference

e_step = jax.jit(lambda model, x, weights=None: model.e_step(x, weights))
m_step = jax.jit(lambda model, stats, prior=None: model.m_step(stats, prior))


def gaussian(weights, means, covariances):
    tril = jnp.asarray(np.linalg.cholesky(covariances), jnp.zeros(()).dtype)
    weights, means = (jnp.asarray(a, tril.dtype) for a in (weights, means))
    return Mixture(weights, MvNormal(means, tril))


def close(got, want, rtol=1e-5, atol=1e-6):
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol, atol), got, want
    )


# The kernel


@pytest.mark.parametrize("shift", [0.0, -1e4])  # exp(-1e4) underflows in float64 too
def test_responsibilities_are_bayes_rule(shift):
    log_w, log_lik = np.log([0.2, 0.8]), np.array([[-1.0, -3.0], [-2.0, -0.5]])
    joint = np.exp(log_w + log_lik)  # linear space, unshifted
    want = np.log(joint / joint.sum(axis=1, keepdims=True))
    # a shift by 1e4 leaves float32 1e-3 of the differences
    close(mixture.responsibilities(log_w, log_lik + shift), want, rtol=1e-2 if shift else 1e-5)


def test_an_impossible_row_belongs_to_no_component():
    log_w, log_lik = jnp.log(jnp.array([0.5, 0.5])), jnp.full((2, 2), -jnp.inf).at[1, 0].set(-1.0)
    got = mixture.responsibilities(log_w, log_lik)
    close(got, [[-np.inf, -np.inf], [0.0, -np.inf]])
    close(mixture.log_prob(log_w, log_lik), [-np.inf, -1.0 + np.log(0.5)])


def test_rows_are_assigned_and_their_doubt_measured():
    model = Mixture(jnp.array([0.5, 0.5]), Uniform(jnp.array([0.0, 1.0]), jnp.array([2.0, 3.0])))
    x = jnp.array([0.5, 1.5, 2.5, 9.0])
    np.testing.assert_array_equal(model.predict(x), [0, 0, 1, -1])
    close(model.responsibility_entropy(x), [0.0, np.log(2), 0.0, 0.0])


def test_a_weight_of_zero_is_exact_and_differentiable():
    def total(log_lik):
        return jnp.sum(mixture.log_prob(jnp.array([0.0, -jnp.inf]), log_lik))

    value, grad = jax.value_and_grad(total)(jnp.array([[-1.0, 5.0], [-jnp.inf, 0.0]]))
    assert value == -jnp.inf
    close(grad, [[1.0, 0.0], [0.0, 0.0]])


def test_responsibilities_are_the_gradient_of_log_prob():
    log_lik = jax.random.normal(jax.random.key(0), (4, 3))
    log_w = jnp.log(jnp.array([0.2, 0.3, 0.5]))
    grad = jax.grad(lambda a: jnp.sum(mixture.log_prob(log_w, a)))(log_lik)
    close(grad, jnp.exp(mixture.responsibilities(log_w, log_lik)))


@pytest.mark.parametrize("shapes", [((3,), (5, 2)), ((2, 2), (5, 2)), ((2,), ())])
def test_the_kernel_names_the_shapes_it_refuses(shapes):
    log_weights, log_lik = map(np.zeros, shapes)
    with pytest.raises(ValueError, match=r"log_weights must have shape \(K,\).*got"):
        mixture.responsibilities(log_weights, log_lik)


def test_labels_allow_themselves_and_unknown_allows_all():
    want = [[False, True, False], [True, True, True]]
    close(data.allowed_by_labels(jnp.array([1, -1]), 3), want)


# The numbers of the notebook


def test_the_notebooks_responsibilities_and_means():
    # points, means and scale recovered from the printed table of EVIDENCE.md, section 4
    x = jnp.array([-2.0, -1.0, 0.2, 2.2, 2.8])
    model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.2, 2.0]), jnp.array([0.9, 0.9])))
    want = [[1, 0], [0.996, 0.004], [0.688, 0.312], [0.001, 0.999], [0, 1]]
    close(model.responsibilities(x), want, atol=5.1e-4)  # three printed decimals
    stats, _ = model.e_step(x)
    close(model.m_step(stats).components.loc, [-1.064, 2.184], atol=5.1e-4)


# E and M step against NumPy and SciPy


def test_one_step_of_em_by_hand(x64):
    x, *start = reference.problem()
    rng = np.random.default_rng(1)
    row_weights = rng.uniform(0, 2, size=len(x))
    shares, log_density = reference.e_step(x, *start)
    model = gaussian(*start)
    close(jax.jit(model.log_prob)(x), log_density, rtol=1e-10)
    close(jax.jit(model.responsibilities)(x), shares, rtol=1e-9, atol=1e-12)
    stats, log_prob = e_step(model, x, row_weights)
    close(log_prob, row_weights @ log_density, rtol=1e-10)
    weights, means, covariances = reference.m_step(x, shares * row_weights[:, None])
    new = m_step(model, stats)
    close((new.weights, new.components.loc), (weights, means), rtol=1e-9)
    close(jax.vmap(lambda c: c.covariance)(new.components), covariances, rtol=1e-8, atol=1e-10)


def test_weights_are_duplication_and_zero_is_removal():
    x, *start = reference.problem(num_rows=12)
    x = x.astype(np.float32)
    model = gaussian(*start)
    counts = np.arange(12) % 3  # zeros, ones and twos
    got = m_step(model, e_step(model, x, counts)[0])
    want = m_step(model, e_step(model, np.repeat(x, counts, axis=0))[0])
    close(jax.tree.leaves(got), jax.tree.leaves(want), rtol=1e-4, atol=1e-5)


def test_a_row_of_weight_zero_may_be_anything():
    model = Mixture(jnp.array([0.5, 0.5]), Poisson(jnp.array([1.0, 2.0])))
    stats, log_prob = e_step(model, jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0]))
    want, want_log_prob = e_step(model, jnp.array([1.0]))
    close(jax.tree.leaves((stats, log_prob)), jax.tree.leaves((want, want_log_prob)))


def test_components_may_be_permuted():
    x, *start = reference.problem()
    forward = e_step(gaussian(*start), x)[0]
    backward = e_step(gaussian(*(a[::-1] for a in start)), x)[0]
    flip = jax.tree.map(lambda a: a[::-1] if a.ndim else a, backward)
    close(jax.tree.leaves(forward), jax.tree.leaves(flip), rtol=1e-4, atol=1e-4)


def test_an_empty_component_keeps_its_parameters_and_gets_weight_zero():
    model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([0.0, 1e6]), jnp.ones(2)))
    new = m_step(model, e_step(model, jnp.array([-1.0, 1.0]))[0])
    close((new.weights, new.components.loc[1]), (jnp.array([1.0, 0.0]), 1e6))


def test_labels_make_naive_bayes():
    x = {"count": jnp.array([1, 2, 5, 9]), "flag": jnp.array([0, 1, 1, 1])}
    fields = {"count": Poisson(jnp.ones(2)), "flag": Bernoulli(jnp.full(2, 0.5))}
    model = Mixture(jnp.array([0.5, 0.5]), Product(fields))
    new = m_step(model, e_step(model, Labelled(x, jnp.array([0, 0, 1, 1])))[0])
    close(new.components.fields["count"].rate, [1.5, 7.0])
    close(new.components.fields["flag"].probs, [0.5, 1.0])
    # log p(x, label), the unknown ones summed out
    got = new.log_prob(Labelled(x, jnp.array([0, 1, -1, -1])))
    joint = np.log(0.5) + scipy.stats.poisson([1.5, 7.0]).logpmf(np.array(x["count"])[:, None])
    with np.errstate(divide="ignore"):
        joint += scipy.stats.bernoulli([0.5, 1.0]).logpmf(np.array(x["flag"])[:, None])
    want = [joint[0, 0], joint[1, 1], *np.logaddexp.reduce(joint[2:], axis=1)]
    close(got, want)


@pytest.mark.parametrize("labels", [jnp.zeros(3), jnp.zeros((3, 1), int)])
def test_labels_of_the_wrong_type_or_shape_are_refused(labels):
    model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.zeros(2), jnp.ones(2)))
    with pytest.raises(ValueError, match=r"labels must be integers of shape \(3,\)"):
        model.log_prob(Labelled(jnp.zeros(3), labels))


def test_missing_entries_are_marginalised_exactly():
    x, *start = reference.problem(num_rows=4)
    observed = np.array(
        [[True, True, True], [True, False, True], [False, True, False], [False] * 3]
    )
    got = gaussian(*start).log_prob(Masked(jnp.where(observed, x, jnp.nan), jnp.asarray(observed)))
    weights, means, covariances = start
    want = []
    for row, seen in zip(x, observed, strict=True):
        sub = [m[seen] for m in means], [c[np.ix_(seen, seen)] for c in covariances]
        want.append(reference.e_step(row[None, seen], weights, *sub)[1][0] if seen.any() else 0.0)
    close(got, want, rtol=1e-5, atol=1e-5)


def test_a_mixture_of_mixtures_is_a_flat_mixture():
    inner = Normal(jnp.array([[-2.0, 0.0], [1.0, 3.0]]), jnp.ones((2, 2)))
    nested = Mixture(jnp.array([0.3, 0.7]), Mixture(jnp.array([[0.5, 0.5], [0.2, 0.8]]), inner))
    loc = jnp.array([-2.0, 0.0, 1.0, 3.0])
    flat = Mixture(jnp.array([0.15, 0.15, 0.14, 0.56]), Normal(loc, jnp.ones(4)))
    x = jnp.linspace(-3, 4, 5)
    close(nested.log_prob(x), flat.log_prob(x))
    new, new_flat = (m_step(m, e_step(m, x)[0]) for m in (nested, flat))
    close(new.components.components.loc.ravel(), new_flat.components.loc, rtol=1e-4)


# Priors, samples, statistics


def test_the_posterior_mode_of_the_weights_is_dirichlets():
    model = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-9.0, 9.0]), jnp.ones(2)))
    prior = MixturePrior(weights=Dirichlet(jnp.array([2.0, 4.0])))
    new = m_step(model, e_step(model, jnp.array([-9.0, -9.1, 9.0]))[0], prior)
    close(new.weights, [3 / 7, 4 / 7])


def test_expected_log_prob_is_the_m_steps_objective():
    x, *start = reference.problem()
    model = gaussian(*start)
    stats, _ = e_step(model, x)
    objective = jax.jit(lambda m: m.expected_log_prob(stats))
    shares, _ = reference.e_step(x, *start)
    close(objective(model), np.sum(shares * reference.log_joint(x, *start)), rtol=1e-5)
    best = m_step(model, stats)
    assert objective(best) >= objective(model)


def test_draws_have_the_mixtures_moments():
    model = Mixture(jnp.array([0.25, 0.75]), Normal(jnp.array([-4.0, 4.0]), jnp.array([1.0, 0.5])))
    draws = model.sample_labelled(jax.random.key(3), (50, 400))
    assert draws.values.shape == draws.labels.shape == (50, 400)
    # five standard errors of 20000 draws
    close(jnp.mean(draws.labels), 0.75, atol=5 * np.sqrt(0.1875 / 20_000))
    close(jnp.mean(draws.values), 2.0, atol=5 * np.sqrt(0.4375 + 12) / np.sqrt(20_000))
    close(jnp.std(draws.values[draws.labels == 1]), 0.5, rtol=0.03)


def test_a_mixture_of_chains_draws_whole_sequences():
    # the states never change, and tell the component: 0 and 1 or 10 and 11
    points = Delta(jnp.array([[0.0, 1.0], [10.0, 11.0]]))
    chains = HMM(jnp.full((2, 2), 0.5), jnp.stack([jnp.eye(2)] * 2), points)
    mixture = Mixture(jnp.array([0.3, 0.7]), chains)
    draws = mixture.sample_labelled(jax.random.key(0), (2000, 5))
    assert draws.values.shape == (2000, 5)
    assert draws.labels.shape == (2000,)
    values, counts = np.unique(draws.values[:, 0], return_counts=True)
    np.testing.assert_array_equal(values, [0, 1, 10, 11])
    np.testing.assert_allclose(counts / 2000, [0.15, 0.15, 0.35, 0.35], atol=0.05)
    assert (draws.values == draws.values[:, :1]).all()
    np.testing.assert_array_equal(draws.values[:, 0] >= 10, draws.labels)
    assert mixture.sample(jax.random.key(0), (5,)).shape == (5,)
    with pytest.raises(ValueError, match="shape must end in the 1 lengths"):
        mixture.sample(jax.random.key(0))


def test_options_that_take_inputs_draw_given_them():
    lines = OneOf.stack(
        LinearRegression(jnp.array([[1.0]]), jnp.array([[1e-3]])),
        LinearRegression(jnp.array([[-1.0]]), jnp.array([[1e-3]])),
    )
    inputs = jnp.linspace(1.0, 2.0, 6)[:, None]
    mixture = Mixture(jnp.array([0.5, 0.5]), lines)
    drawn = mixture.sample_labelled(jax.random.key(1), (6,), inputs)
    given, targets = drawn.values
    np.testing.assert_array_equal(given, inputs)
    wanted = np.where(drawn.labels == 0, 1, -1) * np.asarray(inputs)[:, 0]
    np.testing.assert_allclose(targets.reshape(-1), wanted, atol=0.01)


def tied_em(x, weights, means, *, spherical, floor, num_steps):
    """EM for a mixture of normals with one diagonal or spherical covariance, in NumPy."""
    variance = np.maximum(np.ones(x.shape[1]), floor**2)
    for _ in range(num_steps):
        square = ((x[:, None] - means) ** 2 / variance).sum(-1) + np.log(variance).sum()
        joint = np.log(weights) - square / 2
        resp = np.exp(joint - special.logsumexp(joint, axis=1, keepdims=True))
        weights, means = resp.mean(0), resp.T @ x / resp.sum(0)[:, None]
        variance = (resp[..., None] * (x[:, None] - means) ** 2).sum((0, 1)) / len(x)
        if spherical:
            variance = np.full_like(variance, variance.mean())
        variance = np.maximum(variance, floor**2)
    return weights, means, np.sqrt(variance)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("floor", [None, 1.1])
def test_one_diagonal_or_spherical_covariance_for_all_components(x64, spherical, floor):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, [0.5, 2.0], (30, 2)), rng.normal(1, [0.5, 2.0], (50, 2))])
    means, weights = np.array([[-1.0, 0.0], [2.0, 1.0]]), np.array([0.4, 0.6])
    component = (
        lx.SphericalNormal(jnp.array(means), jnp.ones(2))
        if spherical
        else lx.Independent(lx.Normal(jnp.array(means), jnp.ones((2, 2))))
    )
    start = Mixture(jnp.array(weights), lx.Tied(component))
    got = lx.fit.em(start, x, tol=0.0, max_steps=7, scale_floor=floor).model
    want = tied_em(x, weights, means, spherical=spherical, floor=floor or 0.0, num_steps=7)
    model = got.components.model if spherical else got.components.model.component
    scale = want[2][0] * np.ones(2) if spherical else np.tile(want[2], (2, 1))
    for one, other in ((got.weights, want[0]), (model.loc, want[1]), (model.scale, scale)):
        np.testing.assert_allclose(one, other, rtol=1e-9)
