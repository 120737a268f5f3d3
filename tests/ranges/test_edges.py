"""Edges that examples alone would miss: each at random places, of random sizes and in random units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import calibration, fit, monte_carlo, naive_bayes, numerics
from likelax.variational import laplace
from ranges.points import EPS, assert_within, few_and_many, generator, log_uniform

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@few_and_many
def test_an_integer_is_kept_or_refused(count):
    """Row 4 of issue 15: `jnp.asarray` wraps 2**32 to 0."""
    rng = generator("integers")
    for _ in range(count // 10):
        dtype = INTEGERS[rng.integers(len(INTEGERS))]
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        size = np.exp(rng.uniform(0, np.log(float(high)), 10)) * rng.choice(
            [1, -1 if low else 1], 10
        )
        values = np.clip(size, low, float(high) * (1 - 1e-9)).astype(dtype)
        for form, kept in ((values, dtype), (values.tolist(), np.int64)):
            limits = np.iinfo(jax.dtypes.canonicalize_dtype(kept))
            if all(limits.min <= int(v) <= limits.max for v in values):
                got = numerics.as_array("x", form)
                assert np.asarray(got).tolist() == values.tolist()
            else:
                with pytest.raises(ValueError, match="x holds integers beyond"):
                    numerics.as_array("x", form)


def best_temperature(logits, labels):
    """The inverse temperature of the highest likelihood, by bisection in float64: (N,)."""
    logits = logits.astype(float)
    low, high = np.full(len(logits), -20.0), np.full(len(logits), 20.0)
    label = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    used = np.isfinite(label)
    logits = np.where(used[..., None], logits, 0)
    finite = np.where(np.isfinite(logits), logits, 0)
    for _ in range(60):
        middle = (low + high) / 2
        beta = np.exp(middle)[:, None, None]
        weight = np.exp(beta * (logits - logits.max(-1)[..., None]))
        mean = (weight * finite).sum(-1) / weight.sum(-1)
        slope = np.where(used, label - mean, 0).sum(-1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.exp(low)


@few_and_many
def test_temperature_is_that_of_the_classes_that_are_possible(count):
    """Row 6 of issue 15: one logit of -inf gave an inverse temperature of 7.5e-37."""
    rng, rows, chunk = generator("impossible classes"), 100, 100
    fitted = jax.jit(jax.vmap(calibration.fit_temperature))
    for _ in range(count // chunk):
        logits = (rng.standard_normal((chunk, rows, 3)) * 2).astype(np.float32)
        labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(-1)
        share = log_uniform(rng, 1e-3, 0.3, (chunk, 1, 1))
        logits[rng.random(logits.shape) < share] = -np.inf
        logits[..., 0] = np.where(np.isfinite(logits).any(-1), logits[..., 0], 0.0)
        found = fitted(logits, labels)
        assert_within(found.inverse_temperature / best_temperature(logits, labels), 1.0, 2e-3)
        assert not np.asarray(found.at_boundary).any()


@few_and_many
def test_constant_features_leave_the_posterior_as_it_is(count):
    """Row 8 of issue 15: a feature that is constant in every class made every posterior NaN."""
    rng, rows, chunk = generator("constant features"), 12, 100
    labels = np.arange(rows) % 2

    @jax.jit
    @jax.vmap
    def posterior(x):
        nb = naive_bayes.gaussian(2, x.shape[1])
        return nb.fit(nb.statistics(x, labels)).responsibilities(x)

    for _ in range(count // chunk):
        varied = rng.standard_normal((chunk, rows, 2)).astype(np.float32)
        value = log_uniform(rng, 1e-30, 1e30, (chunk, 1, 1)) * rng.choice([-1, 0, 1], (chunk, 1, 1))
        constant = np.broadcast_to(value.astype(np.float32), (chunk, rows, 1))
        got = posterior(np.concatenate([varied, constant], axis=2))
        assert_within(got, posterior(varied), 1e-6)


@few_and_many
def test_one_nan_anywhere_reaches_every_diagnostic(count):
    """Row 16 of issue 15: with one NaN among 400 draws R-hat was .997."""
    rng, chunk = generator("nan draws"), 100

    @jax.jit
    @jax.vmap
    def diagnostics(draws):
        numbers = [f(draws) for f in (monte_carlo.rhat, monte_carlo.ess_bulk, monte_carlo.ess_tail)]
        return jnp.stack([*numbers, *monte_carlo.chain_mean(draws)[:3]])

    for _ in range(count // chunk):
        draws = rng.standard_normal((chunk, 4, 20)).astype(np.float32)
        assert np.isfinite(diagnostics(draws)).all()
        draws[np.arange(chunk), rng.integers(4, size=chunk), rng.integers(20, size=chunk)] = np.nan
        assert np.isnan(diagnostics(draws)).all()


@few_and_many
def test_a_flat_direction_of_any_normal_has_a_status(count):
    """Row 17 of issue 15: the evidence was NaN and the status CONVERGED."""
    rng, chunk = generator("flat"), 100

    @jax.jit
    @jax.vmap
    def fitted(root):
        found = laplace(
            jax.random.key(0), lambda z: -jnp.sum((root @ z) ** 2) / 2, jnp.zeros(3), num_check=2
        )
        return found.log_evidence, found.fit.status

    for _ in range(count // chunk):
        axes = np.linalg.qr(rng.standard_normal((chunk, 3, 3)))[0]
        scales = log_uniform(rng, 0.1, 10.0, (chunk, 3, 1))
        evidence, status = fitted((scales * axes).astype(np.float32))
        want = 1.5 * np.log(2 * np.pi) - np.log(scales[..., 0].astype(float)).sum(-1)
        assert_within(evidence, want, 1e-3 * (1 + abs(want)))
        scales[:, 0] = 0
        evidence, status = fitted((scales * axes).astype(np.float32))
        assert np.isnan(evidence).all()
        assert (np.asarray(status) == fit.Status.COLLAPSED).all()


ENDS = {
    "Beta": (lambda v: lx.Beta(1.0, v), lambda v: 1 - v),
    "Gamma": (lambda v: lx.Gamma(1.0, v), lambda v: -v),
    "Weibull": (lambda v: lx.Weibull(shape=1.0, scale=v), lambda v: -1 / v),
    "Exponential": (lx.Exponential, lambda v: -v),
    "Lomax": (lambda v: lx.Lomax(v, 4.0), lambda v: -(v + 1) / 4),
}


@few_and_many
@pytest.mark.parametrize("name", ENDS)
def test_derivatives_at_zero_are_those_from_inside(name, count):
    """Row 18 of issue 15: the derivative of a Beta(1, 8) at 0 was 0."""
    model, want = ENDS[name]
    v = log_uniform(generator(name), 1e-6, 1e6, count)
    slope = jax.jit(jax.vmap(jax.grad(lambda x, v: model(v).log_prob(x)), in_axes=(None, 0)))
    exact = want(v.astype(float))
    assert_within(slope(0.0, v), exact, 4 * EPS * (1 + abs(exact)))


@few_and_many
@pytest.mark.parametrize("size", [2, 5, 100])
def test_rows_off_the_simplex_have_no_density(size, count):
    """Row 19 of issue 15: rows that summed to .9 or 1.4 had a density."""
    rng = generator(f"simplex {size}")
    rows = rng.dirichlet(np.ones(size), count).astype(np.float32)
    rows = rows / rows.sum(-1, dtype=float, keepdims=True).astype(np.float32)
    off = log_uniform(rng, 1e-7, 0.5, (count, 1)) * rng.choice([-1, 1], (count, 1))
    moved = (rows * (1 + off)).astype(np.float32)
    gap = abs(moved.sum(-1, dtype=float) - 1)
    density = jax.jit(lx.Dirichlet(jnp.full(size, 2.0)).log_prob)
    assert np.isfinite(density(rows)).all()
    got = np.asarray(density(moved))
    slack = 8 * size * EPS
    assert (got[gap > 2 * slack] == -np.inf).all()
    assert np.isfinite(got[gap < slack / 4]).all()
