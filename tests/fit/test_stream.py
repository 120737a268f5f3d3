import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelax import fit
from likelax.families import Bernoulli, Beta, MvNormal, Normal
from likelax.fit import Status
from likelax.fit._stream import _Ahead
from likelax.mixture import Mixture

rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(-3, 1, 200), rng.normal(3, 1, 200)]).astype(np.float32)
START = Mixture(jnp.array([0.5, 0.5]), Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))


def close(got, want, rtol):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)


def test_a_stream_is_em_on_all_rows():
    parts = np.split(rng.permutation(X), [100, 200, 300])
    got = fit.stream(START, lambda: parts, tol=0.0, max_passes=2)
    want = fit.em(START, X, tol=0.0, max_steps=2)
    close(got.objectives, want.objectives, 1e-5)
    close(got.model, want.model, 1e-4)
    assert (got.status, got.num_steps) == (Status.MAX_STEPS, 2)


def test_a_parquet_file_is_streamed_in_its_batches(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x = np.stack([X, rng.normal(size=len(X)).astype(np.float32)], axis=1)[rng.permutation(len(X))]
    table = arrow.table({"x": x[:, 0], "other": np.arange(len(x)), "y": x[:, 1]})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=150)
    sizes = []

    def batches():
        file = parquet.ParquetFile(tmp_path / "rows.parquet")
        for part in file.iter_batches(60, columns=["x", "y"]):
            sizes.append(part.num_rows)
            yield np.stack([part[name].to_numpy() for name in ("x", "y")], axis=1)

    start = Mixture(jnp.array([0.5, 0.5]), MvNormal(x[:2], jnp.stack([jnp.eye(2)] * 2)))
    got = fit.stream(start, batches, tol=0.0, max_passes=3)
    want = fit.em(start, x, tol=0.0, max_steps=3)
    assert sum(sizes) == 4 * len(x) and len(set(sizes)) > 1  # batches of several lengths
    close(got.objectives, want.objectives, 1e-5)
    close(got.model, want.model, 1e-4)


def test_a_stream_converges_and_weighs_its_prior():
    assert fit.stream(START, lambda: [X]).status == Status.CONVERGED
    got = fit.stream(
        Bernoulli(0.5), lambda: [jnp.array([1, 1]), jnp.array([0])], prior=Beta(2.0, 2.0)
    )
    close(got.model.probs, 3 / 5, 1e-6)
    want = fit.em(Bernoulli(0.5), jnp.array([1, 1, 0]), prior=Beta(2.0, 2.0))
    close(got.objective, want.objective, 1e-5)


def test_a_killed_stream_goes_on_where_it_was(tmp_path):
    file, parts = tmp_path / "fit.npz", np.split(X, 4)
    want = fit.stream(START, lambda: parts, tol=0.0, max_passes=6)

    def killed(step, nats):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.stream(START, lambda: parts, tol=0.0, max_passes=6, checkpoint=file, progress=killed)
    passes = []
    got = fit.stream(
        START,
        lambda: parts,
        tol=0.0,
        max_passes=6,
        checkpoint=file,
        progress=lambda step, nats: passes.append(step),
    )
    assert passes == list(range(3, int(want.num_steps) + 1))
    close(got, want, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]


def test_a_stream_does_not_go_on_from_another_start_or_prior(tmp_path):
    file, parts = tmp_path / "fit.npz", [jnp.array([1, 1]), jnp.array([0])]

    def run(probs, prior):
        return fit.stream(
            Bernoulli(probs), lambda: parts, prior=prior, max_passes=1, checkpoint=file
        )

    run(0.5, Beta(2.0, 2.0))
    for other in [(0.25, Beta(2.0, 2.0)), (0.5, Beta(3.0, 2.0)), (0.5, None)]:
        with pytest.raises(ValueError, match="another start or prior"):
            run(*other)


def test_stepwise_em_nears_the_optimum_in_one_pass():
    rows = np.split(np.random.default_rng(1).permutation(np.repeat(X, 5)), 40)
    want = fit.em(START, X).model
    *_, (got, log_prob) = fit.stepwise(START, rows)
    close(got.components.loc, want.components.loc, 0.1)  # the noise of the last few batches
    assert np.isfinite(log_prob)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit.stream(START, list), "gave no batch"),
        (lambda: fit.stream(START, lambda: [X], max_passes=-1), "max_passes must be 0 or more"),
        (lambda: fit.stream(START, lambda: [np.array([np.nan])]), "x holds NaN"),
        (lambda: list(fit.stepwise(START, [X], power=0.5)), r"power must lie in \(0.5, 1\]"),
        (lambda: list(fit.stepwise(START, [X], prior=Beta(1.0, 1.0))), "needs num_rows"),
    ],
)
def test_bad_input_gets_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_batches_are_read_ahead_and_no_further():
    read, seen = [], []

    def batches():
        for i in range(9):
            read.append(i)
            yield X[:50]

    def watch(step, nats):
        seen.append(len(read))

    fit.stream(START, batches, max_passes=1, read_ahead=1, progress=watch)
    assert seen == [9, 18]
    with _Ahead(batches(), 2) as parts:
        next(iter(parts))
        time.sleep(0.3)
        assert len(read) <= 18 + 1 + 2 + 1  # one taken, two waiting, one in hand
    stopped = len(read)
    time.sleep(0.3)
    assert len(read) == stopped


def test_an_error_of_the_batches_reaches_the_caller():
    def batches():
        yield X
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit.stream(START, batches)


MEMORY = """
import resource, sys
import jax.numpy as jnp, numpy as np
import likelax as lx

rng = np.random.default_rng(0)
start = lx.Mixture(jnp.array([.5, .5]), lx.Normal(jnp.array([-1., 1.]), jnp.ones(2)))
size = 500_000

def batches(count):
    def all_of_them():
        for _ in range(count):
            yield rng.normal(rng.choice([-3., 3.], size), 1).astype(np.float32)
    return all_of_them

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

lx.fit.stream(start, batches(4), max_passes=0)
few = peak()
found = lx.fit.stream(start, batches(40), max_passes=0)
many = peak()
print(few, many, float(found.objective))
"""


@pytest.mark.slow
def test_memory_is_flat_over_many_rows():
    """2e7 rows, 80 MB, in batches of 2 MB: the peak is that of a tenth of them."""
    out = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    few, many, objective = map(float, out.stdout.split())
    assert many - few < 16  # MB
    assert np.isfinite(objective)


def test_a_stream_that_falls_returns_the_model_before():
    """The second pass gets other data, which the first M step makes unlikely."""
    passes = [jnp.zeros(20), jnp.full(20, 50.0)]
    start = Normal(jnp.array(1.0), jnp.array(2.0))

    def batches():
        return [passes.pop(0)]

    found = fit.stream(start, batches, max_passes=5)
    assert int(found.status) in (Status.DECREASED, Status.COLLAPSED)
    np.testing.assert_allclose(found.model.loc, start.loc)
    assert np.all(np.diff(found.objectives) >= 0)
