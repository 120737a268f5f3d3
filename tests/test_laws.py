"""Every law over every node, in float64; and laws of the latent nodes alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from laws import LAWS, log_prob, log_responsibilities, smoother
from nodes import CASES, LEAVES, SPARSE

BY_NAME = {case.name: case for case in CASES}
# a node of nodes of nodes compiles for minutes; what it is made of is tested every time
ALL_NODES = [
    pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name == "gmm_hmm" else [])
    for case in CASES
]


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", ALL_NODES)
def test_law(x64, case, law):
    law(case)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("case", ALL_NODES)
def test_float32_e_step_and_m_step_keep_their_precision(case):
    model = jax.tree.map(lambda a: jnp.asarray(a, float), case.model())
    stats, log_prob = model.e_step(case.data())
    refit = model.m_step(stats, case.prior())
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves((stats, log_prob, refit)))
    assert all(jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves((stats, log_prob, refit)))


def test_permuted_mixture_is_the_same_model(x64):
    case = BY_NAME["mixed_mixture"]
    model, x = case.model(), case.data()
    turned = jax.tree.map(lambda a: a[jnp.array([1, 0])], model)
    chex.assert_trees_all_close(log_prob(turned, x), log_prob(model, x), rtol=1e-12)
    chex.assert_trees_all_close(
        log_responsibilities(turned, x), log_responsibilities(model, x)[:, ::-1], rtol=1e-12
    )


def test_permuted_hmm_is_the_same_model(x64):
    case = BY_NAME["sparse_hmm"]
    model, x = case.model(), case.data()
    order = jnp.array([2, 0, 1])
    turned = lx.HMM(
        model.initial[order],
        model.transition[order][:, order],
        jax.tree.map(lambda a: a[order], model.emissions),
    )
    chex.assert_trees_all_close(log_prob(turned, x), log_prob(model, x), rtol=1e-12)
    got, want = (jnp.exp(smoother(m, x).log_marginals) for m in (turned, model))
    chex.assert_trees_all_close(got, want[..., order], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(jnp.sum(got, -1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["normal_mixture", "mixed_mixture"])
def test_responsibilities_sum_to_one(x64, name):
    log_r = log_responsibilities(BY_NAME[name].model(), BY_NAME[name].data())
    np.testing.assert_allclose(jnp.sum(jnp.exp(log_r), -1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["normal_mixture", "mixed_mixture", "sparse_hmm"])
def test_labels_clamp_the_posterior_and_unknown_labels_change_nothing(x64, name):
    """Summed over all labels of one latent variable, log p(x, label) is log p(x)."""
    case = BY_NAME[name]
    model, x = case.model(), case.data()
    is_chain = isinstance(model, lx.HMM)
    unknown = jnp.full(jnp.shape(x) if is_chain else jax.tree.leaves(x)[0].shape, -1)
    want = log_prob(model, x)
    chex.assert_trees_all_close(log_prob(model, lx.Labelled(x, unknown)), want, rtol=1e-12)
    num_values = model.num_states if is_chain else model.num_components
    by_label = [
        log_prob(model, lx.Labelled(x, unknown.at[..., 0].set(k) if is_chain else unknown + 1 + k))
        for k in range(num_values)
    ]
    total = jax.scipy.special.logsumexp(jnp.stack(by_label), axis=0)
    chex.assert_trees_all_close(total, want, rtol=1e-12)


def test_structural_zeros_survive_em(x64):
    case = BY_NAME["sparse_hmm"]
    fit = lx.fit.em(case.model(), case.data(), max_steps=20)
    zero = np.array(SPARSE) == 0
    assert np.all(np.asarray(fit.model.transition)[zero] == 0)
    assert np.all(np.isfinite(fit.objectives)) and np.all(np.diff(fit.objectives) >= 0)


# Laws that a family does not obey, and why
SHARP = {"Delta", "Pareto", "Uniform", "UniformFromZero"}  # the support moves with a parameter
EXEMPT = {
    # the bound and the Newton step tell the gradient at one model, or not in these parameters
    "fisher_identity": {*SHARP, "Weibull"},
    "gradient_is_finite_difference": {*SHARP, "Laplace"},  # a kink at loc
    "m_step_maximises": {*SHARP, "Weibull", "StudentT", "MvStudentT"},
    # EM takes many steps to the end
    "samples_come_from_the_model": set(),
    # a weighted extreme has no share of a row
    "weight_is_duplication": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", LEAVES, ids=lambda case: case.name)
def test_law_of_a_leaf(x64, case, law):
    if case.name in EXEMPT.get(law.__name__, ()):
        pytest.skip("EXEMPT says why")
    law(case)
