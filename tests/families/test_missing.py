"""Single missing entries of a row: marginals and expected statistics against independent references."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import likelax as lx

PROBS = np.array([0.5, 0.3, 0.2, 0.0])
ALPHA = np.array([0.7, 2.0, 1.5, 3.0])


log_prob = jax.jit(lambda model, x: model.log_prob(x))
e_step = jax.jit(lambda model, x: model.e_step(x))
each_statistics = jax.jit(jax.vmap(lambda model, x: model.e_step(x)[0], in_axes=(None, 0)))


def masked(row, seen):
    return lx.Masked(np.where(seen, row, np.nan), np.asarray(seen))


def completions(row, seen, total):
    """All counts with the given entries that add to the total."""
    hidden = np.flatnonzero(~np.asarray(seen))
    for part in itertools.product(range(total + 1), repeat=len(hidden)):
        full = np.array(row, float)
        full[hidden] = part
        if full.sum() == total:
            yield full


MASKS = [[True, True, False, True], [True, False, False, True], [False, True, True, False]]


@pytest.mark.parametrize("seen", MASKS)
@pytest.mark.parametrize("name", ["Multinomial", "DirichletMultinomial"])
def test_counts_with_a_known_total_are_summed_over_what_was_not_seen(name, seen, x64):
    total, row = 6, np.array([2.0, 1.0, 1.0, 0.0])
    if name == "Multinomial":
        model = lx.Multinomial(PROBS, total_count=total)
    else:
        model = lx.DirichletMultinomial(ALPHA, total_count=total)
    full = np.array(list(completions(row, seen, total)))
    each = np.asarray(log_prob(model, full))
    want = special.logsumexp(each)
    x = masked(row, seen)
    np.testing.assert_allclose(log_prob(model, x), want, rtol=1e-12)
    share = np.exp(each - want)
    got = e_step(model, x)[0]
    parts = each_statistics(model, full)
    if name == "Multinomial":
        np.testing.assert_allclose(got.counts, share @ parts.counts, rtol=1e-10)
    else:
        np.testing.assert_allclose(got.mean, share @ parts.mean, rtol=1e-10)
        np.testing.assert_allclose(got.log_sum, share @ parts.log_sum, rtol=1e-10)


@pytest.mark.parametrize("seen", MASKS)
def test_counts_without_a_total_are_conditional_on_what_was_seen(seen, x64):
    seen, row = np.array(seen), np.array([2.0, 1.0, 1.0, 0.0])
    known = PROBS[seen] / PROBS[seen].sum()
    got = log_prob(lx.Multinomial(PROBS), masked(row, seen))
    want = stats.multinomial.logpmf(row[seen], row[seen].sum(), known)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    compound = log_prob(lx.DirichletMultinomial(ALPHA), masked(row, seen))
    want = stats.dirichlet_multinomial.logpmf(
        row[seen].astype(int), ALPHA[seen], int(row[seen].sum())
    )
    np.testing.assert_allclose(compound, want, rtol=1e-12)


def test_impossible_and_empty_rows_of_counts():
    model = lx.Multinomial(PROBS, total_count=3)
    rows = np.array([[4, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1]], float)
    seen = np.array([[True, False, True, True], [False] * 4, [True, True, False, True]])
    assert log_prob(model, lx.Masked(rows, seen)).tolist() == [-np.inf, 0, -np.inf]
    none = e_step(model, lx.Masked(rows[1:2], seen[1:2]))[0]
    assert none.counts.sum() == 0
    with pytest.raises(ValueError, match="probability zero"):
        lx.fit.mle(model, lx.Masked(rows[:1], seen[:1]))


@pytest.mark.parametrize("seen", MASKS)
def test_dirichlet_entries_not_seen_are_one_share(seen, x64):
    seen, v = np.array(seen), np.array([0.1, 0.25, 0.4, 0.25])
    model = lx.Dirichlet(ALPHA)
    total = np.append(ALPHA[seen], ALPHA[~seen].sum())
    want = stats.dirichlet.logpdf(np.append(v[seen], v[~seen].sum()), total)
    got = log_prob(model, masked(v, seen))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    if (~seen).sum() == 1:  # the others tell it
        np.testing.assert_allclose(got, log_prob(model, v), rtol=1e-12)
    statistics = e_step(model, masked(v, seen))[0]
    rest, a = v[~seen].sum(), ALPHA[~seen]
    logs = np.where(seen, np.log(v), 0)
    logs[~seen] = np.log(rest) + special.digamma(a) - special.digamma(a.sum())
    np.testing.assert_allclose(statistics.log_sum, logs, rtol=1e-10)
    mean = np.where(seen, v, 0)
    mean[~seen] = rest * a / a.sum()
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-12)


def test_student_t_entries_not_seen_are_integrated_out(x64):
    tril = np.array([[1.0, 0, 0], [0.5, 0.8, 0], [-0.3, 0.2, 1.2]])
    loc, x = np.array([0.5, -1.0, 2.0]), np.array([2.0, 0.3, 1.0])
    model = lx.MvStudentT(3.5, loc, tril)
    for seen in ([True, False, True], [False, True, False]):
        at = np.flatnonzero(seen)
        want = stats.multivariate_t.logpdf(x[at], loc[at], (tril @ tril.T)[np.ix_(at, at)], df=3.5)
        np.testing.assert_allclose(log_prob(model, masked(x, seen)), want, rtol=1e-10)
    t = np.linspace(-400, 400, 200_001)
    rows = np.stack([np.full_like(t, x[0]), t, np.full_like(t, x[2])], axis=1)
    numeric = integrate.trapezoid(np.exp(np.asarray(log_prob(model, rows))), t)
    hidden = masked(x, [True, False, True])
    np.testing.assert_allclose(np.log(numeric), log_prob(model, hidden), atol=1e-5)


CASES = {
    "MvStudentT": lx.MvStudentT(
        4.0, jnp.array([0.5, -1.0, 2.0]), jnp.eye(3) + 0.3 * jnp.tril(jnp.ones((3, 3)))
    ),
    "Multinomial": lx.Multinomial(jnp.array([0.5, 0.3, 0.2])),
    "Multinomial of 9": lx.Multinomial(jnp.array([0.5, 0.3, 0.2]), total_count=9.0),
    "DirichletMultinomial": lx.DirichletMultinomial(jnp.array([0.7, 2.0, 1.5])),
    "DirichletMultinomial of 9": lx.DirichletMultinomial(
        jnp.array([0.7, 2.0, 1.5]), total_count=9.0
    ),
    "Dirichlet": lx.Dirichlet(jnp.array([0.7, 2.0, 1.5])),
}


def draws(name, model):
    rng = np.random.default_rng(0)
    if "Multinomial" in name:
        x = rng.multinomial(9, rng.dirichlet([1, 2, 2]), 30).astype(float)
    else:
        x = np.asarray(model.sample(jax.random.key(0), (30,)), float)
    return lx.Masked(x, rng.random(x.shape) < 0.7)


@pytest.mark.parametrize("name", CASES)
def test_fishers_identity_holds_for_rows_seen_in_part(name, x64):
    """The gradient of the log probability is that of the expected one, at the same model."""
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CASES[name])
    x = draws(name, model)
    vector, rebuild = lx.parameters.to_vector(model)

    @jax.jit
    def both(v):
        statistics, total = model.e_step(x)
        want = jax.grad(lambda v: rebuild(v).log_prob(x).sum())(v)
        got = jax.grad(lambda v: rebuild(v).expected_log_prob(statistics))(v)
        return got, want, total, model.log_prob(x).sum()

    got, want, total, sum_of_rows = both(vector)
    np.testing.assert_allclose(total, sum_of_rows, rtol=1e-12)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_a_mask_that_hides_nothing_changes_nothing(name, x64):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CASES[name])
    x = draws(name, model).values
    everything = lx.Masked(x, np.ones(x.shape, bool))
    chex.assert_trees_all_close(e_step(model, everything), e_step(model, x), rtol=1e-9, atol=1e-9)
