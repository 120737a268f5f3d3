"""Regressions inside mixtures (experts) and hidden Markov models (GLM-HMM)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax.families import (
    LinearRegression,
    LogisticRegression,
    MatrixNormalInverseWishart,
    NegativeBinomialRegression,
    NoisyNormal,
    PoissonRegression,
    RidgePrior,
    SoftmaxRegression,
)

RNG = np.random.default_rng(0)
INPUTS = np.stack([np.ones(60), RNG.normal(size=60)], axis=1)
COEFFICIENTS = np.array([[1.0, 0.7], [-0.5, -1.0]])
LABELS = RNG.integers(0, 2, 60)
SCORES = np.einsum("nd,nd->n", INPUTS, COEFFICIENTS[LABELS])
START = jnp.array([[0.5, 0.3], [-0.3, -0.2]])
PARTS = {
    "linear": (
        LinearRegression(START[..., None], jnp.ones((2, 1, 1))),
        SCORES + 0.3 * RNG.normal(size=60),
        lambda: MatrixNormalInverseWishart(
            jnp.zeros((2, 2, 1)),
            jnp.stack([jnp.eye(2)] * 2),
            4.0 * jnp.ones(2),
            jnp.ones((2, 1, 1)),
        ),
    ),
    "logistic": (LogisticRegression(START), RNG.binomial(1, 1 / (1 + np.exp(-SCORES))), None),
    "poisson": (PoissonRegression(START), RNG.poisson(np.exp(SCORES)), None),
    "negative binomial": (
        NegativeBinomialRegression(jnp.array([2.0, 3.0]), START),
        RNG.poisson(np.exp(SCORES)),
        None,
    ),
    "softmax": (
        SoftmaxRegression(jnp.stack([START, -START, 0.5 * START], axis=-1)),
        RNG.integers(0, 3, 60),
        None,
    ),
    "noise": (
        NoisyNormal(jnp.array([-1.0, 1.0]), jnp.ones(2)),
        SCORES,
        lambda: lx.NormalInverseGamma(jnp.zeros(2), jnp.ones(2), 3 * jnp.ones(2), jnp.ones(2)),
    ),
}
MOVES = np.array([[0.8, 0.2], [0.3, 0.7]])


LOG_PROB = jax.jit(lambda model, x: model.log_prob(x))


def data(name):
    """(model, pair of data, prior) of one kind."""
    model, targets, prior = PARTS[name]
    model = jax.tree.map(lambda a: jnp.asarray(a, float), model)
    if name == "noise":
        return model, (targets, 0.5 * INPUTS[:, 1] ** 2), prior()
    return model, (INPUTS, targets), RidgePrior(jnp.ones(2)) if prior is None else prior()


def one(models, k):
    return jax.tree.map(lambda a: a[k], models)


def nodes(name):
    model, x, prior = data(name)
    mixture = lx.Mixture(jnp.array([0.4, 0.6]), model)
    chain = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), model)
    series = jax.tree.map(lambda a: a.reshape(3, 20, *a.shape[1:]), x)
    return (
        (mixture, x, lx.MixturePrior(components=prior)),
        (chain, series, lx.HMMPrior(emissions=prior)),
    )


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", PARTS)
def test_log_prob_of_a_mixture_is_the_sum_over_its_components(name, x64):
    model, x, _ = data(name)
    each = np.stack([LOG_PROB(one(model, k), x) for k in range(2)], axis=-1)
    want = np.log(np.exp(each) @ [0.4, 0.6])
    mixture = lx.Mixture(jnp.array([0.4, 0.6]), model)
    np.testing.assert_allclose(LOG_PROB(mixture, x), want, rtol=1e-9)
    labelled = lx.Labelled(x, jnp.asarray(LABELS))
    want = each[np.arange(60), LABELS] + np.log([0.4, 0.6])[LABELS]
    np.testing.assert_allclose(LOG_PROB(mixture, labelled), want, rtol=1e-9)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", PARTS)
def test_log_prob_of_a_chain_is_the_sum_over_its_paths(name, x64):
    model, x, _ = data(name)
    x = jax.tree.map(lambda a: a[:5], x)
    each = np.stack([LOG_PROB(one(model, k), x) for k in range(2)], axis=-1)
    total = -np.inf
    for path in np.ndindex(*[2] * 5):
        moves = np.log(MOVES[path[:-1], path[1:]]).sum()
        total = np.logaddexp(total, np.log(0.5) + moves + each[np.arange(5), path].sum())
    chain = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), model)
    np.testing.assert_allclose(LOG_PROB(chain, x), total, rtol=1e-9)


def parts(node):
    return node.components if isinstance(node, lx.Mixture) else node.emissions


def with_parts(node, models):
    if isinstance(node, lx.Mixture):
        return lx.Mixture(node.weights, models)
    return lx.HMM(node.initial, node.transition, models)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize(
    "which", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["mixture", "chain"]
)
@pytest.mark.parametrize("name", PARTS)
def test_em_never_falls_and_ends_where_the_gradient_vanishes(name, which, x64):
    node, x, prior = nodes(name)[which]
    weights = np.random.default_rng(1).uniform(0.5, 2.0, jax.tree.leaves(x)[0].shape[0])
    fit = lx.fit.em(node, x, weights=weights, prior=prior, max_steps=2000, tol=1e-12)
    objectives = np.asarray(fit.objectives)
    assert fit.usable
    assert np.all(np.diff(objectives) >= 0)

    def joint(models):
        moved = with_parts(fit.model, models)
        return jnp.sum(weights * moved.log_prob(x)) + moved.log_prior(prior)

    slope = jax.tree.map(np.asarray, jax.jit(jax.grad(joint))(parts(fit.model)))
    if name == "negative binomial":  # its count is held
        slope = slope.coefficients
    if name == "linear":  # of a stack of one-by-one matrices the prior is over the square
        assert np.abs(slope.scale_tril).max() < 1e-2
    # EM creeps at the end: what is left of the objective is the square of this, over two curvatures
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slope)) < 1e-2


@jax.jit
def _both_gradients(node, x):
    sums, _ = node.e_step(x)
    got = jax.grad(lambda m: m.expected_log_prob(sums))(node)
    return got, jax.grad(lambda m: m.log_prob(x).sum())(node)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", PARTS)
def test_fisher_identity_holds_in_both(name, x64):
    for node, x, _ in nodes(name):
        got, want = _both_gradients(node, x)
        if name == "negative binomial":  # the held count is no part of the bound
            got, want = (parts(g).coefficients for g in (got, want))
        chex.assert_trees_all_close(got, want, rtol=1e-7, atol=1e-7)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", PARTS)
def test_masked_targets_add_nothing_in_both(name, x64):
    for node, x, _ in nodes(name):
        first, second = x
        which = first if name == "noise" else second
        seen = np.random.default_rng(2).random(which.shape) > 0.3
        masked = lx.Masked(which, seen)
        got = LOG_PROB(node, (masked, second) if name == "noise" else (first, masked))
        each = jax.jit(lambda models, x: models.stacked_log_prob(x))(parts(node), x)
        if isinstance(node, lx.Mixture):
            want = jax.nn.logsumexp(
                jnp.where(seen[..., None], each, 0) + jnp.log(node.weights)[None], -1
            )
        else:
            want = jax.vmap(
                lambda lik, node=node: lx.hmm.log_partition(
                    jnp.log(node.initial), jnp.log(node.transition), lik
                )
            )(jnp.where(seen[..., None], each, 0))
        np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("name", PARTS)
def test_draws_given_inputs_have_the_labels_law(name):
    model, x, _ = data(name)
    key, shape = jax.random.key(0), (4, 15)
    given = x[1] if name == "noise" else x[0]
    given = jnp.asarray(given, jnp.float32).reshape(*shape, *given.shape[1:])
    mixture = lx.Mixture(jnp.array([0.4, 0.6]), model)
    chain = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), model)
    drawn = jax.jit(lambda m, u: m.sample(jax.random.key(1), shape, u))(mixture, given)
    assert LOG_PROB(mixture, drawn).shape == shape
    draw = jax.jit(lambda m, key, u: m.sample(key, shape, emission_inputs=u))
    series = draw(chain, key, given)
    assert LOG_PROB(chain, series).shape == (4,)
    kept = series[1] if name == "noise" else series[0]
    chex.assert_trees_all_equal(kept, given)


def test_labelled_draws_follow_their_own_component():
    """Logistic experts so sharp that the target names the expert."""
    sharp = LogisticRegression(jnp.array([[-40.0], [40.0]]))
    mixture = lx.Mixture(jnp.array([0.4, 0.6]), sharp)
    drawn = mixture.sample_labelled(jax.random.key(0), (500,), jnp.ones((500, 1)))
    np.testing.assert_array_equal(drawn.values[1], drawn.labels)
    chain = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(MOVES), sharp)
    drawn = chain.sample_labelled(jax.random.key(1), (3, 50), emission_inputs=jnp.ones((3, 50, 1)))
    np.testing.assert_array_equal(drawn.values[1], drawn.labels)


def test_a_product_passes_inputs_to_the_fields_that_take_some():
    model = lx.Product(
        {"count": PoissonRegression(jnp.array([0.1, 0.2])), "level": lx.Normal(0.0, 1.0)}
    )
    mixture = lx.Mixture(jnp.ones(1), jax.tree.map(lambda a: jnp.asarray(a)[None], model))
    inputs = {"count": jnp.ones((7, 2)), "level": None}
    x = mixture.sample(jax.random.key(0), (7,), inputs)
    assert x["level"].shape == (7,) and x["count"][1].shape == (7,)
    np.testing.assert_allclose(mixture.log_prob(x), model.log_prob(x), rtol=1e-6)


def test_tied_linear_regressions_share_the_residual_variance(x64):
    """By hand: two lines of least squares through three points each, one variance for both."""
    inputs = np.tile([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], (2, 1))
    targets = np.array([0, 1.1, 1.9, 5, 4.1, 2.8])
    labels = np.array([0, 0, 0, 1, 1, 1])
    start = lx.Mixture(
        jnp.array([0.5, 0.5]),
        lx.Tied(LinearRegression(jnp.zeros((2, 2, 1)), jnp.ones((2, 1, 1)))),
    )
    fitted = lx.fit.mle(start, lx.Labelled((inputs, targets), labels)).components.model
    fitted = jax.tree.map(np.asarray, fitted)
    np.testing.assert_allclose(
        fitted.coefficients[..., 0], [[0.05, 0.95], [5.0 + 1 / 15, -1.1]], rtol=1e-9
    )
    lines = fitted.coefficients[:, 0] + np.arange(3.0) * fitted.coefficients[:, 1]
    gap = targets.reshape(2, 3) - lines
    np.testing.assert_allclose(fitted.scale_tril[:, 0, 0] ** 2, np.mean(gap**2), rtol=1e-9)
    np.testing.assert_allclose(fitted.scale_tril[0, 0, 0] ** 2, 0.00694, atol=5e-6)
    # and by gradient: one shared scale
    fit = lx.fit.em(start, (inputs, targets), max_steps=300)
    assert np.all(np.diff(fit.objectives) >= 0)


@pytest.mark.slow
def test_a_glm_hmm_is_found_again(x64):
    """Psychometric curves that switch, as in mouse choices (Ashwood et al. 2022)."""
    rng = np.random.default_rng(3)
    moves = np.array([[0.95, 0.05], [0.08, 0.92]])
    truth = np.array([[0.0, 4.0], [1.0, 0.3]])
    state = np.zeros((20, 150), int)
    for t in range(1, 150):
        state[:, t] = rng.random(20) > moves[state[:, t - 1], 0]
    inputs = np.stack([np.ones((20, 150)), rng.normal(size=(20, 150))], axis=-1)
    score = np.einsum("bti,bti->bt", inputs, truth[state])
    choice = rng.binomial(1, 1 / (1 + np.exp(-score)))
    start = lx.HMM(
        jnp.array([0.5, 0.5]),
        jnp.array([[0.9, 0.1], [0.1, 0.9]]),
        LogisticRegression(jnp.array([[0.1, 1.0], [0.3, 0.1]])),
    )
    fit = lx.fit.em(start, (inputs, choice))
    assert fit.usable
    true = lx.HMM(jnp.array([0.5, 0.5]), jnp.asarray(moves), LogisticRegression(jnp.asarray(truth)))
    assert fit.objectives[-1] >= true.log_prob((inputs, choice)).sum()
    # five standard errors, by the inverse Hessian of some 1200 to 1800 choices a state
    np.testing.assert_allclose(fit.model.emissions.coefficients, truth, atol=1.0)
    np.testing.assert_allclose(fit.model.transition, moves, atol=0.05)


def test_scipy_agrees_on_a_poisson_expert(x64):
    model, x, _ = data("poisson")
    want = stats.poisson.logpmf(x[1], np.exp(INPUTS @ np.asarray(START[0])))
    np.testing.assert_allclose(one(model, 0).log_prob(x), want, rtol=1e-10)
