"""Laws that every node obeys, whatever it models. `test_laws.py` runs them over `nodes.CASES`."""

import dataclasses
from typing import Any

import chex
import jax
import jax.export
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

import likelax as lx
from likelax.families.local_quadratic import LocalQuadratic
from nodes import NUM_ROWS, Case

# float64: only rounding separates the two sides
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@jax.jit
def log_prob(model: Any, x: Any) -> Any:
    return model.log_prob(x)


@jax.jit
def log_responsibilities(model: Any, x: Any) -> Any:
    return model.log_responsibilities(x)


@jax.jit
def smoother(model: Any, x: Any) -> Any:
    return model.smoother(x)


@jax.jit
def _total(model: Any, x: Any) -> Any:
    return jnp.sum(model.log_prob(x))


@jax.jit
def _e_step(model: Any, x: Any, weights: Any) -> Any:
    return model.e_step(x, weights)


@jax.jit
def _m_step(model: Any, stats: Any, prior: Any) -> Any:
    return model.m_step(stats, prior)


@jax.jit
def _expected(model: Any, stats: Any) -> Any:
    return model.expected_log_prob(stats)


_gradient = jax.jit(jax.grad(_total))
_expected_gradient = jax.jit(jax.grad(_expected))
_hessian = jax.jit(jax.hessian(_total))

WEIGHTS = np.array([1.0, 2.0, 0.0, 3.0, 1.0, 0.5])


def _rows(x: Any, index: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a)[index], x)


def _floats(model: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, float), model)


def free_gradient(model: Any, gradient: Any) -> list[Any]:
    """A gradient along what a fit can change: not held fields, nor the sum of probabilities."""
    free = []
    for role, leaf in zip(lx.parameters.roles(model), jax.tree.leaves(gradient), strict=True):
        if role.moves:
            mean = (
                jnp.mean(leaf, axis=-1, keepdims=True) if role.constraint.name == "simplex" else 0
            )
            free.append(leaf - jnp.broadcast_to(jnp.asarray(mean, leaf.dtype), leaf.shape))
    return free


def fisher_identity(case: Case) -> None:
    """The gradient of log p(x) is that of the expected complete-data log probability."""
    model, x = _floats(case.model()), case.data()
    stats, _ = _e_step(model, x, None)
    got, want = _gradient(model, x), _expected_gradient(model, stats)
    chex.assert_trees_all_close(free_gradient(model, got), free_gradient(model, want), **EXACT)


def e_step_reports_log_prob(case: Case) -> None:
    model, x = case.model(), case.data()
    _, total = _e_step(model, x, WEIGHTS)
    chex.assert_trees_all_close(total, jnp.sum(WEIGHTS * log_prob(model, x)), **EXACT)


def statistics_add(case: Case) -> None:
    model, x = case.model(), case.data()
    both, _ = _e_step(model, x, None)
    half = NUM_ROWS // 2
    parts = [_e_step(model, _rows(x, s), None)[0] for s in (slice(None, half), slice(half, None))]
    assert_same_data(lx.statistics.add(*parts), both)


def assert_same_data(added: Any, whole: Any) -> None:
    """Raise unless the sum of the statistics of parts of some data describes the whole of them.

    A quadratic may be written in other coordinates, and its reach is only a bound.
    """

    def is_quadratic(part: Any) -> bool:
        return isinstance(part, LocalQuadratic)

    def in_inputs(part: Any) -> Any:
        if not is_quadratic(part):
            return part
        plain = jnp.broadcast_to(jnp.eye(part.basis.shape[-1]), part.basis.shape)
        return dataclasses.replace(part._in(plain), reach=jnp.zeros_like(part.reach))

    chex.assert_trees_all_close(
        *(jax.tree.map(in_inputs, stats, is_leaf=is_quadratic) for stats in (added, whole)), **EXACT
    )
    leaves = (jax.tree.leaves(stats, is_leaf=is_quadratic) for stats in (added, whole))
    for one, other in zip(*leaves, strict=True):
        if is_quadratic(one) and np.array_equal(one.basis, other.basis):
            assert np.all(one.reach >= other.reach - 1e-9)


def statistics_scale(case: Case) -> None:
    model, x = case.model(), case.data()
    scaled = lx.statistics.scale(_e_step(model, x, np.ones(NUM_ROWS))[0], 2.5)
    chex.assert_trees_all_close(scaled, _e_step(model, x, np.full(NUM_ROWS, 2.5))[0], **EXACT)


def weight_is_duplication(case: Case) -> None:
    """Integer weights count as copies, and a zero weight as removal."""
    model, x = case.model(), case.data()
    weights = np.array([1.0, 2.0, 0.0, 1.0, 2.0, 0.0])  # six rows again, so nothing recompiles
    copies = _rows(x, np.repeat(np.arange(NUM_ROWS), weights.astype(int)))
    weighed, copied = _e_step(model, x, weights), _e_step(model, copies, np.ones(NUM_ROWS))
    chex.assert_trees_all_close(weighed, copied, **EXACT)


def rows_of_zero_weight_may_hold_anything(case: Case) -> None:
    """NaN, or a point where the density is infinite, in a row of zero weight changes nothing."""
    model, x = case.model(), case.data()
    weights = np.array([1.0, 2.0, 0.0, 1.0, 2.0, 0.0])

    def filled(value: float) -> Any:
        """x with the value in the rows of zero weight, where it holds floats."""

        def fill(a: Any) -> Any:
            a = jnp.asarray(a)
            if not jnp.issubdtype(a.dtype, jnp.floating):
                return a
            used = jnp.broadcast_to((weights != 0).reshape(-1, *[1] * (a.ndim - 1)), a.shape)
            return jnp.where(used, a, value)

        return jax.tree.map(fill, x)

    def hole(a: Any) -> Any:
        """The first entry of the first row was not seen."""
        seen = np.ones(jnp.shape(a), bool)
        seen.reshape(-1)[0] = False
        return seen

    def masked(data: Any) -> Any:
        return lx.Masked(data, jax.tree.map(hole, data))

    for wrapped in (lambda data: data, masked):
        want = _e_step(model, wrapped(x), weights)
        for value in (np.nan, np.inf, 1.0):
            chex.assert_trees_all_close(
                _e_step(model, wrapped(filled(value)), weights), want, **EXACT
            )


def unseen_rows_do_not_count(case: Case) -> None:
    """A row of which nothing was seen is as good as none, NaN or not."""
    model, x = case.model(), case.data()
    seen = np.array([True, True, False, True, True, False])

    def hide(a: Any) -> Any:
        a = jnp.asarray(a)
        gone = jnp.broadcast_to(seen.reshape(-1, *[1] * (a.ndim - 1)), a.shape)
        return jnp.where(gone, a, jnp.nan) if jnp.issubdtype(a.dtype, jnp.floating) else a

    def mask(a: Any) -> Any:
        return np.broadcast_to(seen.reshape(-1, *[1] * (jnp.ndim(a) - 1)), jnp.shape(a))

    masked = lx.Masked(jax.tree.map(hide, x), jax.tree.map(mask, x))
    got = log_prob(model, masked)
    chex.assert_trees_all_close(got[~seen], jnp.zeros(2), **EXACT)
    chex.assert_trees_all_close(got[seen], log_prob(model, x)[seen], **EXACT)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(_gradient(model, masked)))
    if not isinstance(model, lx.Mixture | lx.HMM):
        stats = _e_step(model, masked, np.ones(NUM_ROWS))[0]
        chex.assert_trees_all_close(stats, _e_step(model, x, seen.astype(float))[0], **EXACT)


def jit_is_eager(case: Case) -> None:
    model, x = case.model(), case.data()
    chex.assert_trees_all_close(log_prob(model, x), model.log_prob(x), **EXACT)


def one_export_serves_every_number_of_rows(case: Case) -> None:
    """A program exported once, for a number of rows that isn't known, gives the answers of every number."""
    model, x = case.model(), jax.tree.map(jnp.asarray, case.data())
    leaves, tree = jax.tree.flatten(x)

    def answers(*leaves: Any) -> Any:
        x = jax.tree.unflatten(tree, leaves)
        stats, _ = model.e_step(x)
        return model.log_prob(x), jax.tree.leaves(stats)

    (n,) = jax.export.symbolic_shape("n")
    shapes = [jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype) for a in leaves]
    program = jax.export.export(jax.jit(answers))(*shapes)
    chex.assert_trees_all_close(program.call(*leaves), answers(*leaves), **EXACT)


def vmap_is_a_loop(case: Case) -> None:
    """K models are one model with a leading axis on every leaf."""
    one, x = _floats(case.model()), case.data()
    two = _m_step(one, _e_step(one, x, WEIGHTS)[0], None)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)
    mapped = jax.jit(jax.vmap(lambda m: m.e_step(x)))(stacked)
    looped = jax.tree.map(lambda *s: jnp.stack(s), *[_e_step(m, x, None) for m in (one, two)])
    chex.assert_trees_all_close(mapped, looped, **EXACT)


def gradient_is_finite_difference(case: Case) -> None:
    """Along a random direction that keeps structural zeros; step 1e-6, so 1e-5 is its error."""
    model, x = _floats(case.model()), case.data()
    leaves, tree = jax.tree.flatten(model)
    rng = np.random.default_rng(0)
    direction = [np.where(np.asarray(a) == 0, 0, rng.normal(size=a.shape)) for a in leaves]
    # a held count is whole, and probabilities sum to one
    for d, a, role in zip(direction, leaves, lx.parameters.roles(model), strict=True):
        d *= role.moves
        if role.constraint.name == "simplex":
            d -= (
                np.where(np.asarray(a) == 0, 0, 1)
                * np.sum(d, -1, keepdims=True)
                / np.sum(np.asarray(a) != 0, -1, keepdims=True)
            )
    step = 1e-6

    def at(side: float) -> Any:
        moved = [a + side * step * d for a, d in zip(leaves, direction, strict=True)]
        return _total(tree.unflatten(moved), x)

    want = (at(1.0) - at(-1.0)) / (2 * step)
    gradient = jax.tree.leaves(_gradient(model, x))
    got = sum(jnp.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def hessian_is_finite_and_symmetric(case: Case) -> None:
    model, x = _floats(case.model()), case.data()
    flat, rebuild = jax.flatten_util.ravel_pytree(model)
    hessian = jax.jit(jax.hessian(lambda p: _total(rebuild(p), x)))(flat)
    assert jnp.all(jnp.isfinite(hessian))
    chex.assert_trees_all_close(hessian, hessian.T, **EXACT)


def m_step_does_not_lower(case: Case) -> None:
    """One EM step never lowers the log probability, nor with a prior the log joint."""
    model, x, prior = _floats(case.model()), case.data(), case.prior()
    stats, before = _e_step(model, x, None)
    after = _total(_m_step(model, stats, None), x)
    assert after >= before - 1e-9
    new = _m_step(model, stats, prior)
    assert _total(new, x) + new.log_prior(prior) >= before + model.log_prior(prior) - 1e-9


def m_step_maximises(case: Case) -> None:
    """No mixture of the optimum and another model has a higher expected log probability."""
    model, x = _floats(case.model()), case.data()
    stats, _ = _e_step(model, x, None)
    best = _m_step(model, stats, None)
    top = _expected(best, stats)
    for share in (0.5, 0.1, 0.01):
        other = jax.tree.map(lambda a, b, s=share: (1 - s) * a + s * b, best, model)
        assert _expected(other, stats) <= top + 1e-9


def empty_statistics_keep_the_model(case: Case) -> None:
    model, x = _floats(case.model()), case.data()
    stats, log_prob = _e_step(model, x, np.zeros(NUM_ROWS))
    chex.assert_trees_all_close(_m_step(model, stats, None), model, **EXACT)
    assert log_prob == 0


def samples_come_from_the_model(case: Case) -> None:
    """Fitted to its own large sample by one EM step, the model stays where it is (5 sigma)."""
    model = _floats(case.model())
    x = jax.jit(lambda key: case.draw(model, key, case.sample_shape))(jax.random.key(0))
    refit = _m_step(model, jax.jit(model.e_step)(x)[0], None)
    chex.assert_trees_all_close(refit, model, rtol=0.15, atol=0.08)


def float32_is_near_float64(case: Case) -> None:
    """Called in float64: the same numbers in float32 differ by rounding of a few thousand ulps."""

    def cast(tree: Any) -> Any:
        def one(a: Any) -> Any:
            a = jnp.asarray(a)
            return a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a

        return jax.tree.map(one, tree)

    model, x = _floats(case.model()), case.data()
    narrow = _e_step(cast(model), cast(x), None)
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(narrow))
    wide = _e_step(model, x, None)
    chex.assert_trees_all_close(narrow, cast(wide), rtol=2e-4, atol=2e-4)


LAWS = [
    fisher_identity,
    e_step_reports_log_prob,
    statistics_add,
    statistics_scale,
    weight_is_duplication,
    rows_of_zero_weight_may_hold_anything,
    unseen_rows_do_not_count,
    jit_is_eager,
    one_export_serves_every_number_of_rows,
    vmap_is_a_loop,
    gradient_is_finite_difference,
    hessian_is_finite_and_symmetric,
    m_step_does_not_lower,
    m_step_maximises,
    empty_statistics_keep_the_model,
    samples_come_from_the_model,
    float32_is_near_float64,
]
