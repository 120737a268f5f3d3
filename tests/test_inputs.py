"""One row for each kind of invalid input: it is refused by a sentence that names the argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import calibration, fit, hmm, monte_carlo, predictive, scoring

HALF = np.log([0.5, 0.5])
CHAIN = (HALF, np.stack([HALF, HALF]), np.zeros((3, 2)))
NAN = np.array([np.nan, 1.0])


def chain():
    return lx.HMM(
        jnp.array([0.5, 0.5]),
        jnp.array([[0.9, 0.1], [0.1, 0.9]]),
        lx.Poisson(jnp.array([1.0, 5.0])),
    )


def mixture():
    return lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([0.0, 1.0]), jnp.ones(2)))


def pair():
    return lx.Product({"a": lx.Normal(0.0, 1.0), "b": lx.Poisson(1.0)})


CASES = {
    "broadcasting": [
        (lambda: scoring.crps_normal(np.zeros(3), 1.0, np.zeros(2)), "loc must broadcast"),
        (lambda: predictive.distribution(np.zeros((2, 2)), [0.5]), "values must have shape"),
        (lambda: predictive.waic(np.zeros((1, 3))), "S >= 2"),
        (lambda: pair().log_prob({"a": np.ones(3), "b": np.ones(1, int)}), "fields of x"),
        (lambda: lx.MvNormal(jnp.zeros(2), jnp.eye(2)).log_prob(np.ones(3)), r"\(\.\.\., 2\)"),
    ],
    "labels": [
        (lambda: scoring.brier_score([[0.5, 0.5]], [2]), r"labels must be in 0\.\.1; got 2"),
        (lambda: calibration.top_label([[0.5, 0.5]], [-2]), r"labels must be in 0\.\.1; got -2"),
        (
            lambda: calibration.fit_temperature([[0.0, 1.0]], np.array([2**32])),
            "labels holds integers beyond the range",
        ),
        (lambda: mixture().log_prob(lx.Labelled(np.zeros(2), [0, -2])), r"labels must lie in 0"),
    ],
    "shapes of a model": [
        (
            lambda: lx.Mixture(jnp.ones(3) / 3, mixture().components).predict(NAN),
            r"\(3,\) want .* got components.loc",
        ),
        (lambda: lx.Mixture(0.5, mixture().components).mean(), "weights must have 1 axis or more"),
        (
            lambda: lx.Mixture(jnp.ones(2) / 2, mixture().components).condition([0], 1.0),
            "values must",
        ),
        (lambda: mixture().complete_statistics(NAN, np.ones((2, 3))), "shares must have shape"),
        (
            lambda: lx.MvNormal(jnp.zeros(3), jnp.eye(2)).log_prob(np.ones(3)),
            r"scale_tril \(D, D\)",
        ),
        (lambda: lx.MvNormal.from_covariance(np.zeros(2), np.eye(3)), "covariance"),
        (
            lambda: lx.Independent(lx.Poisson(1.0)).log_prob([1]),
            "Independent.component must have a leading axis",
        ),
        (
            lambda: lx.HMM(HALF, np.zeros((4, 2, 2)), chain().emissions).filter([1, 2, 3]),
            r"\(T-1, K, K\) = \(2, 2, 2\)",
        ),
        (lambda: lx.HMM(HALF, np.eye(3), chain().emissions).viterbi([1]), "K = 2 as initial"),
        (lambda: chain().log_prob(np.zeros(0, int)), "at least one step"),
        (lambda: lx.Poisson(1.0).m_step(None), "stats must be an EventCounts"),
        (lambda: lx.Gamma(1.0, 1.0).posterior(3.0), "stats must be an EventCounts"),
    ],
    "lengths": [
        (lambda: hmm.log_partition(*CHAIN, length=-1), "length must lie in 0"),
        (lambda: hmm.filter(*CHAIN, length=1.5), "length must be a scalar integer"),
        (lambda: chain().smoother(lx.Sequences(np.array([1, 2, 3]), 7)), "lengths must be in 0"),
        (
            lambda: fit.em(chain(), lx.Sequences(lx.Sequences(np.ones((1, 3), int), [3]), [2])),
            "Sequences inside Sequences",
        ),
    ],
    "parameters": [
        (lambda: fit.gradient(lx.Normal(0.0, -1.0), np.ones(3)), "Normal.scale must be positive"),
        (lambda: fit.squarem(lx.Normal(np.nan, 1.0), np.ones(3)), "Normal.loc must be finite"),
        (lambda: fit.mle(lx.Categorical([1.0, 1.0]), [0, 1]), "sum to one"),
        (lambda: lx.Normal("a", 1.0), "Normal: loc must be an array of numbers"),
    ],
    "NaN": [
        (lambda: calibration.fit_platt(NAN, [0, 1]), "scores must be finite"),
        (lambda: calibration.fit_conformal_interval(NAN, NAN, NAN), "lower must be a number"),
        (lambda: calibration.fit_isotonic([0.1, 0.2], [0, 1], weights=NAN), "weights must be"),
        (lambda: fit.kmeans(jax.random.key(0), NAN[:, None], 1), "x must be finite"),
        (lambda: fit.at_points(jax.random.key(0), NAN[:, None], 1), "x must be finite"),
        (lambda: fit.from_responsibilities(mixture(), NAN, np.ones((2, 2))), "x holds NaN"),
    ],
    "options": [
        (lambda: calibration.quantile_edges([0.5], 0), "num_bins must be at least 1"),
        (lambda: hmm.banded(0, 0.5), "num_states must be at least 1"),
        (lambda: hmm.sticky(2, -1.0), "extra must be finite and not negative"),
        (lambda: monte_carlo.antithetic(jax.random.key(0), 1.5, 1), "num_points must be an int"),
        (lambda: calibration.clopper_pearson(None), "bins must be a Bins"),
        (lambda: predictive.equal_tailed(np.zeros(3), np.nan), "mass must lie in"),
        (lambda: fit.bic(lx.Normal(0.0, 1.0), np.ones(2), weights=[-1.0, 1.0]), "weights must be"),
    ],
    "empty data": [
        (lambda: fit.em(lx.Normal(0.0, 1.0), ()), "x is empty"),
        (lambda: fit.em(lx.Normal(0.0, 1.0), []), "x is empty"),
        (lambda: predictive.elpd_of([]), "pointwise must have shape"),
        (lambda: calibration.fit_venn_abers([], []), "scores must have at least one row"),
    ],
    "complex": [
        (lambda: lx.Normal(0.0, 1.0).log_prob(np.array([1j])), "x must hold real numbers"),
        (lambda: scoring.crps_normal(0.0, 1.0, 1j), "x must"),
    ],
    "impossible data": [
        (lambda: fit.mle(lx.Poisson(1.0), [0.5]), "probability zero"),
        (lambda: fit.implicit(lx.Poisson(1.0), np.array([0.5])), "probability zero"),
    ],
    "keys": [
        (lambda: lx.Normal(0.0, 1.0).sample(jax.random.PRNGKey(0)), "key must be a typed key"),
        (lambda: lx.Normal(0.0, 1.0).sample(None), "key must be a typed key"),
        (
            lambda: lx.Normal(0.0, 1.0).sample(jax.random.split(jax.random.key(0), 2)),
            "key must be one key",
        ),
        (lambda: lx.Normal(0.0, 1.0).sample(jax.random.key(0), 5), "shape must be a tuple"),
    ],
}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(*case, id=f"{kind}-{i}")
        for kind, rows in CASES.items()
        for i, case in enumerate(rows)
    ],
)
def test_invalid_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_half_precision_gives_float32():
    x = jnp.array([1.0, 2.0, 5.0], jnp.bfloat16)
    assert fit.mle(lx.Normal(0.0, 1.0), x).loc.dtype == jnp.float32
