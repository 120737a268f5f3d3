"""Small and large triangular systems, and a watchdog for the fault of jaxlib that they avoid."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import numerics
from ranges.points import EPS, assert_within, generator, log_uniform


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 16, 40, 130])
def test_solutions_are_those_of_float64_in_any_unit(size):
    """The residual is a few D units in the last place of |tril| |x|: backward stable."""
    rng, count = generator(f"solve {size}"), 40
    unit = log_uniform(rng, 1e-12, 1e12, (count, size, 1))
    tril = np.tril(rng.standard_normal((count, size, size)), -1) / np.sqrt(size)
    tril = ((tril + np.eye(size) * rng.uniform(0.3, 3, (count, 1, size))) * unit).astype(np.float32)
    b = (rng.standard_normal((count, size, 3)) * unit).astype(np.float32)
    above = tril + np.triu(np.full((size, size), 7e20, np.float32), 1)  # not read
    x = np.asarray(jax.jit(jax.vmap(numerics.solve_lower))(above, b), float)
    reach = np.matmul(np.abs(tril), np.abs(x)) + np.abs(b)
    assert_within(np.matmul(tril.astype(float), x), b, 4 * size * EPS * reach)


def test_derivatives_are_those_of_scipy(x64):
    rng = generator("derivative")
    for size in (3, 11):
        tril = np.tril(rng.standard_normal((size, size))) + 3 * np.eye(size)
        matrix, b = tril @ tril.T, rng.standard_normal(size)

        def ours(m, b=b):
            return jnp.sum(jnp.sin(numerics.solve_lower(numerics.cholesky(m), b)))

        def theirs(m, b=b):
            return jnp.sum(
                jnp.sin(jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(m), b, lower=True))
            )

        got, want = jax.grad(ours)(matrix), jax.grad(theirs)(matrix)
        np.testing.assert_allclose(got + got.T, want + want.T, rtol=1e-9)
        np.testing.assert_allclose(
            numerics.solve_cholesky(tril, b), np.linalg.solve(matrix, b), rtol=1e-9
        )


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"wants tril \(D, D\)"):
        numerics.solve_lower(jnp.eye(2), jnp.ones(3))


JOINT = """
import jax, jax.numpy as jnp
import likelax as lx
from likelax import variational

x = jax.random.normal(jax.random.key(0), (300, dim))

def joint(z):
    one = lx.MvNormal(z["a"], jnp.eye(dim) + jnp.tril(jnp.outer(z["a"], z["b"]), -1) / 100)
    two = lx.MvNormal(z["b"], jnp.eye(dim) * 2 + jnp.tril(jnp.outer(z["b"], z["a"]), -1) / 100)
    return one.log_prob(x).sum() + two.log_prob(x).sum()
"""

WATCHED = f"""
dim = 30
{JOINT}
keys = jax.random.split(jax.random.key(1), 2)
draws = {{name: jax.random.normal(key, (200, dim)) for name, key in zip("ab", keys)}}
run = jax.jit(jax.vmap(jax.value_and_grad(joint)))
for _ in range(5):
    jax.block_until_ready(run(draws))
print("done")
"""

GUIDE = f"""
dim = 20
{JOINT}
guide = variational.full_rank({{"a": jnp.zeros(dim), "b": jnp.zeros(dim)}})
for options in ({{}}, {{"estimator": variational.pathwise, "num_samples": 16, "max_steps": 300}}):
    variational.fit_guide(jax.random.key(1), joint, guide, **options)
print("done")
"""


@pytest.mark.parametrize(
    ("code", "timeout"), [(WATCHED, 120), pytest.param(GUIDE, 300, marks=pytest.mark.slow)]
)
def test_two_multivariate_normals_in_one_program_end(code, timeout):
    """With LAPACK's triangular solves such a program never ended on two cores."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.stdout.strip() == "done", done.stderr[-2000:]
