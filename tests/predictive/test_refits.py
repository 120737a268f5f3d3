import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax import predictive

MOVES = jnp.array([[0.9, 0.1], [0.2, 0.8]])


def normal_fit(x):
    return lambda weights: lx.fit.mle(lx.Normal(0.0, 1.0), x, weights=weights)


@pytest.mark.parametrize("num_folds", [2, 3, 11])
def test_every_row_is_scored_by_the_fit_without_its_fold(num_folds):
    x = np.random.default_rng(0).normal(3.0, 2.0, 11).astype(np.float32)
    got = jax.jit(
        lambda key: predictive.k_fold(
            key,
            normal_fit(x),
            lambda fitted: fitted.log_prob(x),
            num_rows=11,
            num_folds=num_folds,
        )
    )(jax.random.key(1))
    sizes = np.bincount(np.asarray(got.fold), minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
    for n, fold in enumerate(np.asarray(got.fold)):
        rest = x[np.asarray(got.fold) != fold]
        want = stats.norm.logpdf(x[n], rest.mean(), rest.std())
        assert float(got.pointwise[n]) == pytest.approx(want, rel=1e-4)
        assert float(got.fits.loc[fold]) == pytest.approx(rest.mean(), rel=1e-5)
    assert float(got.value) == pytest.approx(float(got.pointwise.sum()), rel=1e-5)
    error = np.sqrt(11) * np.std(np.asarray(got.pointwise), ddof=1)
    assert float(got.standard_error) == pytest.approx(error, rel=1e-4)
    assert predictive.compare(got, got).value == 0


@pytest.mark.parametrize("num_ahead,every", [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_the_future_is_predicted_by_fits_of_the_past(num_ahead, every):
    x = np.random.default_rng(1).normal(1.0, 2.0, 14).astype(np.float32)
    got = predictive.leave_future_out(
        lambda n: lx.fit.mle(
            lx.Normal(0.0, 1.0), x, weights=jnp.where(jnp.arange(14) < n, 1.0, 0.0)
        ),
        lambda model: model.log_prob(x),
        num_steps=14,
        first=5,
        num_ahead=num_ahead,
        every=every,
        batch_size=4,
    )
    want = []
    for i, t in enumerate(range(5, 14 - num_ahead + 1)):
        past = x[: 5 + i // every * every]
        want.append(stats.norm.logpdf(x[t : t + num_ahead], past.mean(), past.std()).sum())
    np.testing.assert_allclose(got.pointwise, want, rtol=1e-4)
    blocks = predictive.elpd_of(jnp.array(want), block_size=num_ahead)
    assert float(got.standard_error) == pytest.approx(float(blocks.standard_error), rel=1e-3)


def test_a_chain_predicts_what_it_has_not_seen():
    model = lx.HMM(jnp.array([0.5, 0.5]), MOVES, lx.Normal(jnp.array([-1.0, 2.0]), jnp.ones(2)))
    x = model.sample(jax.random.key(2), (30,))

    def fit(n):
        return lx.fit.em(model, lx.Sequences(x[None], n[None]), max_steps=5).model

    got = predictive.leave_future_out(
        fit, lambda m: m.filter(x).log_increments, num_steps=30, first=26, num_ahead=2
    )
    for i, t in enumerate(range(26, 29)):
        fitted = lx.fit.em(model, x[:t], max_steps=5).model
        want = float(fitted.log_prob(x[: t + 2]) - fitted.log_prob(x[:t]))
        assert float(got.pointwise[i]) == pytest.approx(want, abs=1e-3)


def test_numbers_that_do_not_fit_are_named():
    key, x = jax.random.key(0), jnp.arange(4.0)
    for rows, folds in itertools.product((4,), (1, 5)):
        with pytest.raises(ValueError, match="num_folds"):
            predictive.k_fold(
                key, normal_fit(x), lambda f: f.log_prob(x), num_rows=rows, num_folds=folds
            )
    with pytest.raises(ValueError, match="must have shape"):
        predictive.k_fold(key, normal_fit(x), lambda f: f.loc, num_rows=4, num_folds=2)
    for first, ahead in ((4, 1), (1, 4), (0, 1)):
        with pytest.raises(ValueError, match="first"):
            predictive.leave_future_out(
                lambda n: n, lambda m: x, num_steps=4, first=first, num_ahead=ahead
            )
