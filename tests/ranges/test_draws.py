"""Samplers over the whole range of their parameters: they end, and follow their law."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import likelax as lx
from likelax.families.registry import FAMILIES
from likelax.numerics import draws

EDGES = [
    0.0,
    1e-38,
    1e-20,
    1e-8,
    1e-3,
    0.25,
    1.0,
    1.1,
    9.9,
    1e3,
    1e6,
    1e9,
    4e9,
    1e20,
    np.inf,
    np.nan,
    -0.1,
]

WATCHED = """
import itertools, jax, jax.numpy as jnp, numpy as np
from likelax.families.registry import FAMILIES
edges = {edges}
for entry in FAMILIES:
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda a: jnp.asarray(a, float), entry.example()))
    draw = jax.jit(lambda model, key: entry.draw(model, key, (20,)))
    scalars = [i for i, leaf in enumerate(leaves) if leaf.ndim == 0][:2] or [0]
    for values in itertools.product(edges, repeat=len(scalars)):
        new = list(leaves)
        for i, value in zip(scalars, values):
            new[i] = jnp.full_like(leaves[i], value)
        jax.block_until_ready(draw(jax.tree.unflatten(structure, new), jax.random.key(1)))
    print(entry.name, flush=True)
"""


def ends(code, timeout):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    try:
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f"a draw never ended; the last that did: {(expired.stdout or b'')[-200:]!r}")


def test_a_binomial_of_infinitely_many_trials_ends():
    """It never did for a probability of 0 or 1e-38, in jax.random.binomial itself."""
    code = (
        "import jax, likelax as lx, jax.numpy as jnp\n"
        "draw = jax.jit(lambda p: lx.Binomial(jnp.inf, p).sample(jax.random.key(0), (3,)))\n"
        "print([draw(p).tolist() for p in (0.0, 1e-38)])"
    )
    done = ends(code, 60)
    assert done.stdout.strip() == "[[-1, -1, -1], [-1, -1, -1]]", done.stderr[-1000:]


@pytest.mark.slow
def test_every_sampler_ends_for_any_parameters():
    done = ends(
        WATCHED.format(edges=repr(EDGES).replace("inf", "np.inf").replace("nan", "np.nan")), 900
    )
    assert done.stdout.split() == [entry.name for entry in FAMILIES], done.stderr[-2000:]


NUM = 20_000
LAWS = {
    "Poisson": (
        lx.Poisson,
        lambda m: stats.poisson(m),
        [(v,) for v in (1e-3, 0.7, 9.5, 10.5, 1e3, 1e6, 1e9)],
    ),
    "Binomial": (
        lx.Binomial,
        lambda n, p: stats.binom(n, p),
        [
            (7, 0.3),
            (1e3, 1e-3),
            (1e3, 0.5),
            (1e6, 1e-5),
            (1e6, 0.3),
            (1e9, 1e-8),
            (1e9, 0.25),
            (1e9, 0.999),
        ],
    ),
    "Gamma": (
        lx.Gamma,
        lambda a, b: stats.gamma(a, scale=1 / b),
        [(v, 2.0) for v in (0.01, 0.5, 1.0, 3.0, 1e4, 1e9)],
    ),
    "Beta": (lx.Beta, stats.beta, [(0.1, 0.2), (1.0, 1.0), (3.0, 7.0), (1e4, 1e4)]),
    "StudentT": (
        lambda d: lx.StudentT(d, 0.0, 1.0),
        stats.t,
        [(v,) for v in (0.5, 1.0, 4.0, 1e3, 1e9)],
    ),
    "NegativeBinomial": (
        lx.NegativeBinomial,
        stats.nbinom,
        [(0.5, 0.3), (3.0, 0.01), (1e3, 0.5), (2.0, 1e-6)],
    ),
    "Geometric": (lx.Geometric, lambda p: stats.nbinom(1, p), [(0.9,), (0.1,), (1e-6,)]),
}


@pytest.mark.parametrize("name", LAWS)
def test_draws_follow_their_law_from_small_to_large(name):
    """Kolmogorov's distance, with room for ties and for the rounding of large draws to float32."""
    make, law, parameters = LAWS[name]
    sample = jax.jit(lambda *p: make(*p).sample(jax.random.key(2), (NUM,)))
    for values in parameters:
        x = np.sort(np.asarray(sample(*(jnp.float32(v) for v in values)), float))
        reference = law(*(float(np.float32(v)) for v in values))
        # draws are rounded, and nothing lies between 0 and the least float
        step = np.maximum(np.spacing(np.abs(x).astype(np.float32)).astype(float), 1.2e-38)
        low, high = reference.cdf(x - step - (x % 1 == 0) * 1e-9), reference.cdf(x + step)
        rank = np.arange(NUM) / NUM
        # the empirical distribution jumps at x from rank to rank + 1 / NUM
        gap = np.maximum(low - (rank + 1 / NUM), rank - high).max()
        assert gap < 1.95 / np.sqrt(NUM), (values, gap)  # probability 1e-3


def test_counts_saturate_and_invalid_parameters_show():
    """A negative binomial of probability 1e-38 drew 0 in silence, where it is nearly infinite."""
    key, most = iter(jax.random.split(jax.random.key(0), 6)), np.iinfo(np.int32).max
    assert lx.Poisson(jnp.array([1e12, jnp.inf, jnp.nan, -1.0])).sample(
        next(key), (4,)
    ).tolist() == [
        most,
        most,
        -1,
        -1,
    ]
    assert lx.NegativeBinomial(1e3, 1e-38).sample(next(key)) == most
    assert lx.Binomial(1e12, 0.5).sample(next(key)) == most
    assert lx.Geometric(jnp.nan).sample(next(key)) == -1
    assert np.isnan(draws.gamma(next(key), jnp.array([-1.0, jnp.nan]), (2,))).all()
    assert draws.gamma(next(key), jnp.array([0.0, jnp.inf]), (2,)).tolist() == [0, np.inf]


def test_counts_of_invalid_parameters_are_marked():
    for n, p in ((5.0, -0.1), (5.0, 1.1), (-1.0, 0.5), (np.inf, 0.5)):
        assert np.isnan(draws.binomial(jax.random.key(0), n, p, (2,))).all(), (n, p)


@pytest.mark.parametrize(
    ("sample", "law"),
    [
        (lambda key, n: draws.poisson(key, 10.0, (n,)), stats.poisson(10.0)),
        (lambda key, n: draws.poisson(key, 25.0, (n,)), stats.poisson(25.0)),
        (lambda key, n: draws.binomial(key, 40.0, 0.3, (n,)), stats.binom(40, np.float32(0.3))),
    ],
)
def test_rejection_accepts_each_count_as_often_as_its_law(sample, law):
    """A factor of the hat that is off by some percent moves a count between the two ways to accept it."""
    number = 400_000
    cells = np.arange(int(law.ppf(1e-4)), int(law.ppf(1 - 1e-4)) + 1)
    counts = np.bincount(np.asarray(sample(jax.random.key(4), number), int), minlength=200)[cells]
    want = number * law.pmf(cells)
    rest = number - want.sum()
    chi2 = ((counts - want) ** 2 / want).sum() + (number - counts.sum() - rest) ** 2 / rest
    assert stats.chi2.sf(chi2, len(cells)) > 1e-6
