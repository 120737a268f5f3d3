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
    each = np.asarray(model.log_prob(full))
    want = special.logsumexp(each)
    x = masked(row, seen)
    np.testing.assert_allclose(model.log_prob(x), want, rtol=1e-12)
    share = np.exp(each - want)
    got = model.e_step(x)[0]
    parts = jax.vmap(lambda r: model.e_step(r)[0])(jnp.asarray(full))
    if name == "Multinomial":
        np.testing.assert_allclose(got.counts, share @ parts.counts, rtol=1e-10)
    else:
        np.testing.assert_allclose(got.mean, share @ parts.mean, rtol=1e-10)
        np.testing.assert_allclose(got.log_sum, share @ parts.log_sum, rtol=1e-10)


@pytest.mark.parametrize("seen", MASKS)
def test_counts_without_a_total_are_conditional_on_what_was_seen(seen, x64):
    seen, row = np.array(seen), np.array([2.0, 1.0, 1.0, 0.0])
    known = PROBS[seen] / PROBS[seen].sum()
    got = lx.Multinomial(PROBS).log_prob(masked(row, seen))
    want = stats.multinomial.logpmf(row[seen], row[seen].sum(), known)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    compound = lx.DirichletMultinomial(ALPHA).log_prob(masked(row, seen))
    want = stats.dirichlet_multinomial.logpmf(
        row[seen].astype(int), ALPHA[seen], int(row[seen].sum())
    )
    np.testing.assert_allclose(compound, want, rtol=1e-12)


def test_impossible_and_empty_rows_of_counts():
    model = lx.Multinomial(PROBS, total_count=3)
    rows = np.array([[4, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1]], float)
    seen = np.array([[True, False, True, True], [False] * 4, [True, True, False, True]])
    assert model.log_prob(lx.Masked(rows, seen)).tolist() == [-np.inf, 0, -np.inf]
    none = model.e_step(lx.Masked(rows[1:2], seen[1:2]))[0]
    assert none.counts.sum() == 0
    with pytest.raises(ValueError, match="index|x\\[0\\]"):
        lx.fit.mle(model, lx.Masked(rows[:1], seen[:1]))


@pytest.mark.parametrize("seen", MASKS)
def test_dirichlet_entries_not_seen_are_one_share(seen, x64):
    seen, v = np.array(seen), np.array([0.1, 0.25, 0.4, 0.25])
    model = lx.Dirichlet(ALPHA)
    total = np.append(ALPHA[seen], ALPHA[~seen].sum())
    want = stats.dirichlet.logpdf(np.append(v[seen], v[~seen].sum()), total)
    got = model.log_prob(masked(v, seen))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    if (~seen).sum() == 1:  # the others tell it
        np.testing.assert_allclose(got, model.log_prob(v), rtol=1e-12)
    statistics = model.e_step(masked(v, seen))[0]
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
        np.testing.assert_allclose(model.log_prob(masked(x, seen)), want, rtol=1e-10)
    one = [True, False, True]
    numeric, _ = integrate.quad(
        lambda t: np.exp(float(model.log_prob(jnp.array([x[0], t, x[2]])))),
        -60,
        60,
        limit=60,
    )
    np.testing.assert_allclose(np.log(numeric), model.log_prob(masked(x, one)), atol=1e-4)


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
    moves = lx.parameters.roles(model)
    statistics, total = model.e_step(x)
    np.testing.assert_allclose(total, model.log_prob(x).sum(), rtol=1e-12)
    vector, rebuild = lx.parameters.to_vector(model)
    want = jax.grad(lambda v: rebuild(v).log_prob(x).sum())(vector)
    got = jax.grad(lambda v: rebuild(v).expected_log_prob(statistics))(vector)
    assert moves
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_em_climbs_on_rows_seen_in_part(name, x64):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CASES[name])
    fitted = lx.fit.em(model, draws(name, model), max_steps=30)
    assert bool(fitted.usable)
    assert np.all(np.diff(np.asarray(fitted.objectives)[: int(fitted.num_steps) + 1]) >= -1e-9)


@pytest.mark.parametrize("name", CASES)
def test_a_mask_that_hides_nothing_changes_nothing(name, x64):
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CASES[name])
    x = draws(name, model).values
    everything = lx.Masked(x, np.ones(x.shape, bool))
    chex.assert_trees_all_close(model.e_step(everything), model.e_step(x), rtol=1e-9, atol=1e-9)
