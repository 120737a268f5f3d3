"""Laws over sampled nestings: every leaf, wrapper, node and data wrapper in every combination.

`make test` samples a few by a seed that it prints; TEST_SEED=... runs those again. The slow test
samples 200.
"""

import os
from typing import Any

import chex
import jax
import numpy as np
import pytest

import likelax as lx
from laws import assert_same_data, free_gradient
from nestings import NUM_ROWS, NUM_STEPS, Nesting, latent_paths, sample_nestings

SEED = int(os.environ["TEST_SEED"])
WEIGHTS = np.array([1.0, 2.0, 0.0, 0.5, 1.0, 1.0, 3.0, 1.0])
# float64: rounding only; families fitted by Newton steps end at their own tolerance
# statistics that give the log likelihood at the model that took them, but not its gradient
LOCAL = ("Weibull",)
EXACT = {"rtol": 1e-8, "atol": 1e-8}


def _total(model: Any, x: Any) -> Any:
    return lx.numerics.weighted_sum(WEIGHTS, model.log_prob(x))


@jax.jit
def _answers(model: Any, x: Any) -> dict[str, Any]:
    """All that the laws compare, in one program."""
    stats, log_prob = model.e_step(x, WEIGHTS)
    halves = [
        model.e_step(jax.tree.map(lambda a, s=s: a[s], x), WEIGHTS[s])[0]
        for s in (slice(None, 3), slice(3, None))
    ]
    after = model.m_step(stats)
    return {
        "log_prob": model.log_prob(x),
        "e_step": log_prob,
        "stats": stats,
        "sum of halves": lx.statistics.add(*halves),
        "gradient": jax.grad(_total)(model, x),
        "expected gradient": jax.grad(lambda m: m.expected_log_prob(stats))(model),
        "after": after,
        "total after": _total(after, x),
    }


@jax.jit
def _with_labels(model: Any, x: Any, paths: Any) -> Any:
    """(P, N) log p(x, labels) for every value of the outermost latent variable."""
    return jax.vmap(lambda labels: model.log_prob(lx.Labelled(x, labels)))(paths)


def check(nesting: Nesting) -> None:
    """Raise AssertionError if a law does not hold for this nesting."""
    model = nesting.model()
    x = nesting.wrapped(nesting.values())
    got = _answers(model, x)
    assert np.all(np.isfinite(got["log_prob"]))
    chex.assert_trees_all_close(got["e_step"], np.sum(WEIGHTS * got["log_prob"]), **EXACT)
    assert_same_data(got["sum of halves"], got["stats"])
    roles = lx.parameters.roles(model)
    moving = [free_gradient(model, got[name]) for name in ("expected gradient", "gradient")]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(moving))
    if nesting.leaf not in LOCAL:
        chex.assert_trees_all_close(*moving, rtol=1e-6, atol=1e-7)
    # a few rows can leave a component without spread, whose density is infinite
    collapsed = any(
        role.constraint.name in ("positive", "scale_tril")
        and not np.all(np.isfinite(leaf) & ((leaf > 0) | (role.constraint.name == "scale_tril")))
        for leaf, role in zip(jax.tree.leaves(got["after"]), roles, strict=True)
    )
    assert collapsed or got["total after"] >= got["e_step"] - 1e-7
    for role, before, after in zip(
        roles,
        jax.tree.leaves(model),
        jax.tree.leaves(got["after"]),
        strict=True,
    ):
        if not role.moves:
            np.testing.assert_array_equal(after, before)
        if role.tied is not None:
            assert np.all(np.ptp(after, axis=role.tied) == 0)
    if nesting.node != "none":
        paths = latent_paths(nesting)
        serial = nesting.node.startswith("HMM")
        shape = (NUM_ROWS, NUM_STEPS) if serial else (NUM_ROWS,)
        labels = np.broadcast_to(paths[:, None, :] if serial else paths, (len(paths), *shape))
        each = _with_labels(model, x, labels)
        if serial and nesting.data == "Sequences":
            # padded steps take any label, so each path of the real steps is counted several times
            each = each - ((NUM_STEPS - np.asarray(x.lengths)) * np.log(2))[None, :]
        np.testing.assert_allclose(
            jax.nn.logsumexp(each, axis=0), got["log_prob"], rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("nesting", sample_nestings(SEED, 8), ids=lambda n: f"{n}")
def test_laws_hold_for_sampled_nestings(x64, nesting):
    check(nesting)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(9))
def test_laws_hold_for_many_nestings(x64, part):
    """90 in each run, chosen by its seed."""
    for nesting in sample_nestings(SEED, 90)[part::9]:
        check(nesting)
        jax.clear_caches()
