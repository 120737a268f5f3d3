"""Edges of the arithmetic: zeros, infinities, empty sums; values against SciPy."""

import math
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from likelax import numerics
from likelax.numerics.lapack import eigh, pseudo_inverse, qr, svd

scores = st.lists(
    st.one_of(st.just(-np.inf), st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=6
)


# one program for lists of every length: a term of -inf adds nothing
value_and_gradient = jax.jit(jax.value_and_grad(numerics.logsumexp))


@settings(deadline=None, max_examples=40)
@given(scores)
def test_logsumexp_is_scipys_with_finite_gradient(a):
    a = np.array(a + [-np.inf] * (6 - len(a)), np.float32)
    with np.errstate(divide="ignore"):
        want = scipy.special.logsumexp(a.astype(float)) if np.isfinite(a).any() else -np.inf
    value, gradient = value_and_gradient(a)
    np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-6)
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_allclose(jnp.sum(gradient), float(np.isfinite(want)), rtol=1e-5)


def test_gradient_stays_finite_where_jax_gives_nan():
    """EVIDENCE section 3: the gradients of jax.nn.logsumexp and jnp.log are NaN at -inf and 0."""
    nothing = jnp.full(2, -jnp.inf)
    assert jnp.all(jnp.isnan(jax.grad(jax.nn.logsumexp)(nothing)))
    chex.assert_trees_all_close(jax.grad(numerics.logsumexp)(nothing), jnp.zeros(2))
    assert jax.grad(numerics.safe_log)(0.0) == 0
    assert jax.grad(numerics.xlogy, argnums=1)(0.0, 0.0) == 0
    assert jax.grad(numerics.xlog1py, argnums=1)(0.0, -1.0) == 0


@pytest.mark.parametrize("function", ["xlogy", "xlog1py"])
def test_xlog_family_against_scipy(x64, function):
    x, y = np.meshgrid([-1.5, 0.0, 1e-300, 2.0], [0.0, 1e-8, 0.5, 1.0, 30.0])
    y = y - 1 if function == "xlog1py" else y
    got = getattr(numerics, function)(x, y)
    np.testing.assert_allclose(got, getattr(scipy.special, function)(x, y), rtol=1e-14)


def test_normalize_reproduces_the_notebook():
    np.testing.assert_allclose(
        numerics.normalize(jnp.array([4.0, 2.0, 1.0])), [0.5714, 0.2857, 0.1429], atol=5e-5
    )


def test_log_normalize_sums_to_one_however_large_the_scores_are():
    scores = jnp.array([0.5, -0.25, -1.5], jnp.float32)
    want, _ = numerics.log_normalize(scores)
    for offset in (-(2.0**13), 2.0**20):
        np.testing.assert_array_equal(numerics.log_normalize(scores + offset)[0], want)


def test_log_normalize_keeps_an_impossible_row():
    log_probs, total = numerics.log_normalize(jnp.array([[-jnp.inf, -jnp.inf], [0.0, 0.0]]))
    assert jnp.all(log_probs[0] == -jnp.inf) and total[0] == -jnp.inf
    np.testing.assert_allclose(jnp.exp(log_probs[1]), 0.5)


def test_weighted_sum_removes_what_weighs_nothing():
    values = jnp.array([jnp.nan, -jnp.inf, 2.0])
    assert numerics.weighted_sum(jnp.array([0.0, 0.0, 3.0]), values) == 6
    gradient = jax.grad(lambda v: numerics.weighted_sum(jnp.array([0.0, 0.0, 3.0]), v))(values)
    chex.assert_trees_all_close(gradient, jnp.array([0.0, 0.0, 3.0]))


def test_compensated_sum_of_a_million_terms():
    """A plain float32 running sum of 1e6 terms is off by more than 1; this one by 0.01."""
    terms = np.random.default_rng(0).uniform(-2, 0, 1_000_000).astype(np.float32)

    @jax.jit
    def running(terms):
        zero = jnp.float32(0)
        start = numerics.Compensated(zero, zero)
        return jax.lax.scan(lambda acc, t: (numerics.add_compensated(acc, t), None), start, terms)[
            0
        ]

    total = running(terms)
    assert abs(float(total.total) + float(total.error) - terms.astype(float).sum()) < 0.01


def test_as_float_takes_the_widest_float_and_ignores_integers(x64):
    a, b = numerics.as_float(np.float32(1), np.arange(3))
    assert a.dtype == b.dtype == jnp.float32
    a, b = numerics.as_float(np.float32(1), np.ones(2))
    assert a.dtype == b.dtype == jnp.float64
    assert numerics.as_float(1, 2.0)[0].dtype == jnp.float64


def test_divide_by_an_empty_statistic():
    got = numerics.divide(jnp.array([1.0, 0.0, 3.0]), jnp.array([2.0, 0.0, 0.0]), 7.0)
    chex.assert_trees_all_close(got, jnp.array([0.5, 7.0, 7.0]))
    gradient = jax.grad(lambda d: numerics.divide(0.0, d, 7.0))(0.0)
    assert gradient == 0


def test_normalising_along_another_axis():
    a = jnp.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])
    got = numerics.normalize(a, axis=0)
    np.testing.assert_allclose(got[:, :2], [[0.25, 0.5], [0.75, 0.5]])
    log_probs, total = numerics.log_normalize(jnp.log(a), axis=0)
    np.testing.assert_allclose(jnp.exp(log_probs[:, :2]), [[0.25, 0.5], [0.75, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(total, jnp.log(jnp.array([4.0, 4.0, 0.0])), rtol=1e-6)


@pytest.mark.parametrize("dim", [2, 16, 64])
@pytest.mark.parametrize(
    ("kernel", "plain"),
    [
        (numerics.cholesky, jnp.linalg.cholesky),
        (eigh, jnp.linalg.eigh),
        (qr, jnp.linalg.qr),
        (svd, jnp.linalg.svd),
        (pseudo_inverse, jnp.linalg.pinv),
    ],
)
def test_no_batch_is_so_large_that_a_cpu_shares_it_out(kernel, plain, dim):
    # two such calls of one program wait for each other for good in jaxlib 0.10
    size = {2: 100_000, 16: 200, 64: 6}[dim]
    half = jax.random.normal(jax.random.key(0), (2, size // 2, dim, dim))
    matrices = half @ half.mT + jnp.eye(dim)[None, None]
    run = jax.jit(jax.vmap(jax.vmap(kernel)))
    text = run.lower(matrices).as_text()
    # the branch for other devices stays out of a program for a CPU
    batches = re.findall(r"custom_call @lapack_\w+\(.*?tensor<((?:\d+x)*)\d+x\d+xf32>", text)
    assert batches
    assert all(math.prod(map(int, b.split("x")[:-1])) * dim**3 / 3 < 200_000 for b in batches)
    jax.tree.map(
        lambda found, want: np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4),
        jax.tree.leaves(run(matrices)),
        jax.tree.leaves(plain(matrices)),
    )


def test_factorisations_are_asked_for_in_one_place():
    # such a batch elsewhere could hang
    root = Path(numerics.__file__).parent.parent
    own = root / "numerics" / "lapack.py"
    # not in a docstring
    plain = re.compile(r"^(?! *>>>)[^`\n]*(jnp|lax|jax\.scipy)\.linalg\.(?!norm)", re.MULTILINE)
    found = [p for p in root.rglob("*.py") if p != own and plain.search(p.read_text("utf-8"))]
    assert not found


def test_a_batch_of_factorisations_has_derivatives_of_all_orders():
    half = jax.random.normal(jax.random.key(1), (3000, 6, 6))
    matrices = half @ half.mT + jnp.eye(6)[None]

    def log_det(matrix):
        return 2 * jnp.sum(jnp.log(jnp.diagonal(numerics.cholesky(matrix))))

    inverse = jax.jit(jax.vmap(jax.grad(log_det)))(matrices)
    np.testing.assert_allclose(inverse, jnp.linalg.inv(matrices), rtol=2e-3, atol=1e-3)
    along = jnp.broadcast_to(jnp.eye(6)[None], matrices.shape)
    bend = jax.jit(
        lambda m: jax.jvp(jax.grad(lambda a: jnp.sum(jax.vmap(log_det)(a))), (m,), (along,))[1]
    )
    np.testing.assert_allclose(bend(matrices), -inverse @ inverse, rtol=2e-2, atol=5e-3)
