"""Regressions on inputs far from zero and in any unit: equivariant, and right to float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import fit
from ranges.points import assert_within, few_and_many, generator, log_uniform

ROWS, CHUNK = 60, 100


def inputs(rng, constant, farthest):
    """(CHUNK, ROWS, 3) inputs to `farthest` widths from zero, the second one a constant or not."""
    width = log_uniform(rng, 1e-6, 1e6, (CHUNK, 1, 3)).astype(float)
    offset = log_uniform(rng, 1e-2, farthest, (CHUNK, 1, 3)) * rng.choice([-1, 1], (CHUNK, 1, 3))
    x = (width * (offset + rng.standard_normal((CHUNK, ROWS, 3)))).astype(np.float32)
    if constant:
        x[:, :, 1] = 1
    return x, width[:, 0]


@few_and_many
@pytest.mark.parametrize("constant", [True, False])
def test_least_squares_far_from_zero(constant, count):
    """The gaps are those of float64 to what one rounding of the inputs changes, and sd to 1e-4."""
    rng = generator(f"least squares {constant}")
    model = lx.LinearRegression(jnp.zeros((3, 1)), jnp.eye(1))
    step = jax.jit(jax.vmap(lambda x, y: model.m_step(model.e_step((x, y))[0])))
    for _ in range(count // CHUNK):
        x, width = inputs(rng, constant, 1e4)
        slopes = rng.standard_normal((CHUNK, 3, 1)) / width[:, :, None]
        noise = 0.5 * rng.standard_normal((CHUNK, ROWS))
        y = (np.matmul(x.astype(float), slopes)[..., 0] + noise).astype(np.float32)
        fitted = step(x, y)
        design = x.astype(float) * (1 / np.abs(x).max(1, keepdims=True))
        want = np.stack(
            [
                np.linalg.lstsq(d, t, rcond=None)[0]
                for d, t in zip(design, y.astype(float), strict=True)
            ]
        )
        predicted = np.matmul(design, want[..., None])[..., 0]
        got = np.matmul(x.astype(float), np.asarray(fitted.coefficients, float))[..., 0]
        size = (
            np.abs(x[:, :, :].astype(float) * np.asarray(fitted.coefficients, float)[:, None, :, 0])
            .sum(-1)
            .max(1)
        )
        assert_within(got, predicted, (1e-3 + 1e-6 * size)[:, None] * np.ones(ROWS))
        sd = np.sqrt(((y - predicted) ** 2).mean(1))
        assert_within(np.asarray(fitted.scale_tril, float)[:, 0, 0] / sd, 1.0, 1e-3)


# the model, and up to which linear predictor the likelihood is steep enough to tell fits apart
KINDS = {
    "logistic": (lx.LogisticRegression(jnp.zeros(3)), 6),
    "Poisson": (lx.PoissonRegression(jnp.zeros(3)), 12),
}


@few_and_many
@pytest.mark.parametrize("name", KINDS)
def test_generalised_fits_do_not_depend_on_the_origin(name, count):
    """Inputs at 1000 widths from zero beside a constant: the logistic fit "converged" 5 nats off."""
    rng, (model, steep) = generator(f"origin {name}"), KINDS[name]

    def fitted(x, y):
        found = fit.em(model, (x, y), max_steps=100)
        return found.status, jnp.matmul(x, found.model.coefficients, precision="highest")

    run = jax.jit(jax.vmap(fitted))
    for _ in range(count // CHUNK):
        x, width = inputs(rng, True, 1e3)
        near = x - np.where(np.arange(3) == 1, 0, x.mean(1, keepdims=True))
        near = (near / np.where(np.arange(3) == 1, 1, width[:, None])).astype(np.float32)
        score = 0.7 * near[..., 0] - 0.5 * near[..., 2]
        rate = 1 / (1 + np.exp(-score)) if name == "logistic" else np.exp(score)
        y = ((rng.random(rate.shape) < rate) if name == "logistic" else rng.poisson(rate)).astype(
            np.float32
        )
        (status, got), (want_status, want) = run(x, y), run(near, y)
        usable = np.asarray((status < 2) & (want_status < 2)) & (np.abs(want) < steep).all(1)
        assert usable.mean() > 0.9
        assert_within(np.asarray(got)[usable], np.asarray(want, float)[usable], 3e-2)


e_step = jax.jit(lambda model, x: model.e_step(x))
mean = jax.jit(lambda model, stats, x: model.m_step(stats).mean(x))
log_evidence = jax.jit(lambda prior, model, x: prior.log_evidence(model.e_step(x)[0]))


def test_statistics_with_different_bases_add():
    rng = generator("bases")
    x = (1000 + rng.standard_normal((40, 3))).astype(np.float32)
    x[:, 1] = 1
    y = rng.integers(0, 2, 40).astype(np.float32)
    model = lx.LogisticRegression(jnp.zeros(3))
    parts = [e_step(model, (x[s], y[s]))[0] for s in (slice(20), slice(20, None))]
    joined, whole = lx.statistics.add(*parts), e_step(model, (x, y))[0]
    got, want = (mean(model, s, x) for s in (joined, whole))
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_evidence_does_not_depend_on_the_origin():
    """log p(targets) of a nearly flat prior, at 1e4 widths from zero, against float64."""
    rng = generator("evidence")
    x = (1e4 + rng.standard_normal((50, 2))).astype(np.float32)
    x[:, 1] = 1
    y = (x[:, 0] - 1e4 + rng.standard_normal(50)).astype(np.float32)

    def evidence(dtype):
        eye = jnp.eye(2, dtype=dtype)
        prior = lx.MatrixNormalInverseWishart(
            eye[:, :1] * 0, eye * 1e-6, jnp.asarray(4, dtype), eye[:1, :1]
        )
        model = lx.LinearRegression(eye[:, :1], eye[:1, :1])
        return float(log_evidence(prior, model, (x.astype(dtype), y.astype(dtype))))

    got = evidence(np.float32)
    with jax.enable_x64(True):
        assert got == pytest.approx(evidence(np.float64), abs=0.05)
