"""Default fits of targets whose best bound is known: where they end, and what they say of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from likelax import variational
from likelax.fit import Status
from likelax.model import pytree
from reference import elbo_targets as targets

COMMON = 0.1  # nats, plus .1%


def arrays(target):
    return [leaf for leaf in target if isinstance(leaf, np.ndarray)]


def rebuilt(target, leaves):
    leaves = iter(leaves)
    return type(target)(*(next(leaves) if isinstance(v, np.ndarray) else v for v in target))


def fit_all(group, make=variational.full_rank, seed=0):
    """Default fits of targets of one shape, by one compiled program."""
    stacked, first = targets.stacked(group), group[0]

    def one(key, leaves):
        log_joint = rebuilt(first, leaves).log_joint
        return variational.fit_guide(key, log_joint, make(jnp.zeros(first.dim)))

    keys = jax.random.split(jax.random.key(seed), len(group))
    found = jax.jit(jax.vmap(one))(keys, arrays(stacked))
    return [jax.tree.map(lambda leaf, at=i: leaf[at], found) for i in range(len(group))]


WIDE = "poisson 30x40"


def shortfall(target, found, name=""):
    """Nats below the best bound of the family, without Monte Carlo error, and what is allowed."""
    loc, tril = (np.asarray(a, np.float64) for a in (found.guide.base.loc, found.guide.base.root()))
    own = target.elbo(loc, tril)
    best = target.best()
    # beside walls the fixed points of the reference stop up to 2 nats early
    if name == WIDE:
        best = np.fmax(best, own)
    assert np.isfinite(best), name
    return best - own, COMMON + 1e-3 * abs(best), best


def check(target, found):
    off, allowed, best = shortfall(target, found)
    assert found.fit.status == Status.CONVERGED
    assert -1e-3 * (1 + abs(best)) < off < allowed
    assert abs(found.elbo.value - (best - off)) < 4 * found.elbo.standard_error
    assert found.gap <= 0.05


@pytest.mark.parametrize("dim", [8, 32])
def test_normal_targets_of_the_table(dim):
    # in one family with the posterior, the bound reaches the log evidence
    rng = np.random.default_rng(dim)
    group = [targets.gaussian(rng, dim, condition, 0.0) for condition in (1, 1e2, 1e4, 1e6)]
    for target, found in zip(group, fit_all(group), strict=True):
        check(target, found)
        assert found.k_hat < 0.7
        assert found.num_gradients <= 6 * max(48, 4 * dim)


def test_regression_with_scales_from_1_to_30():
    target = targets.regression(np.random.default_rng(0), "logistic", 500, 20, 30.0)
    (found,) = fit_all([target])
    check(target, found)


def test_mean_field_reaches_its_own_best_bound():
    rng = np.random.default_rng(3)
    group = [targets.gaussian(rng, 8, condition, 1.0) for condition in (1, 1e2, 1e4)]
    for target, found in zip(group, fit_all(group, variational.mean_field), strict=True):
        scale = 1 / np.sqrt(np.diag(np.asarray(target.precision, np.float64)))
        best = target.elbo(np.asarray(target.loc, np.float64), np.diag(scale))
        base = found.guide.base
        got = target.elbo(np.asarray(base.loc, np.float64), np.diag(np.asarray(base.scale)))
        assert found.fit.status == Status.CONVERGED
        assert best - got < COMMON
        assert abs(found.elbo.value - got) < 4 * found.elbo.standard_error


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_of_random_targets_98_percent_are_fitted_and_none_is_claimed_wrongly(part):
    near, count, misses, above = 0, 0, [], 0
    for seed, (name, group) in list(enumerate(targets.random_groups()))[part::3]:
        if name.startswith("hierarchy"):
            continue
        for target, found in zip(group, fit_all(group, seed=seed), strict=True):
            with np.errstate(over="ignore"):
                off, allowed, best = shortfall(target, found, name)
            if found.fit.status == Status.CONVERGED:
                assert off < 1 + 0.01 * abs(best), name
            above += bool(found.elbo.value > best + 3 * found.elbo.standard_error)
            assert not found.elbo.value > best + 4 * found.elbo.standard_error, name
            count += 1
            near += off < allowed
            if not off < allowed:
                misses.append((name, off))
    assert near >= 0.98 * count, misses
    # 3 errors hold for all but a few
    assert above <= 3


HIERARCHIES = [group for group in targets.random_groups() if group[0].startswith("hierarchy")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "group"), HIERARCHIES, ids=[name for name, _ in HIERARCHIES])
def test_hierarchies_end_at_the_bound_of_a_longer_fit(name, group):
    # the expectations have no closed form here: 120 more sets of draws from where the fit ended;
    # those of 20 groups in batches of a tenth of the rows too
    stacked, first = targets.stacked(group), group[0]
    start = variational.full_rank(jnp.zeros(first.dim))

    def one(key, leaves):
        target = rebuilt(first, leaves)
        keys = jax.random.split(key, 4)
        found = [variational.fit_guide(keys[0], target.log_joint, start)]
        if " 20 " in name:
            joint = as_minibatch(target, first.x.size // 10)
            found.append(variational.fit_guide(keys[3], joint, start))
        longer = variational.fit_guide(
            keys[1], target.log_joint, found[0].guide, tol=-1.0, max_steps=120, num_check=8
        )
        # all on the same draws
        noise = jnp.concatenate([z := jax.random.normal(keys[2], (5000, first.dim)), -z])
        *own, best = (
            jnp.mean(jax.vmap(target.log_joint)(q.from_noise(noise)) - q.log_prob_of_noise(noise))
            for q in (f.guide.base for f in (*found, longer))
        )
        return [f.fit.status for f in found], own, best

    keys = jax.random.split(jax.random.key(0), len(group))
    with jax.debug_key_reuse(False):  # it takes a mapped scan over keys for a second use
        *found, best = jax.jit(jax.vmap(one))(keys, arrays(stacked))
    for status, own in zip(*found, strict=True):
        off = np.asarray(best - own)
        assert np.mean(off < COMMON + 1e-3 * np.abs(best)) >= 0.9, off
        converged = np.asarray(status) == Status.CONVERGED
        assert np.all(off[converged] < 1 + 0.01 * np.abs(best[converged]))
        assert np.all(np.isin(status, [Status.CONVERGED, Status.MAX_STEPS, Status.UNRELIABLE]))


@pytest.mark.slow
def test_a_hierarchy_with_200_groups():
    target = targets.hierarchy(np.random.default_rng(0), 200, False)
    (found,) = fit_all([target])
    assert found.fit.status == Status.CONVERGED
    longer = variational.fit_guide(
        jax.random.key(1), target.log_joint, found.guide, tol=-1.0, max_steps=60, num_check=20_000
    )
    error = np.hypot(found.elbo.standard_error, longer.elbo.standard_error)
    assert found.elbo.value > longer.elbo.value - COMMON - 3 * error


def test_no_bound_is_above_the_evidence_for_thousands_of_targets_and_guides():
    # guides from the posterior itself to hundreds of posterior sds away from it, in float32
    dim = 8

    def one(key):
        keys = jax.random.split(key, 6)
        axes = jnp.linalg.qr(jax.random.normal(keys[0], (dim, dim)))[0]
        eigenvalues = 10 ** (jnp.linspace(0, 6, dim) * jax.random.uniform(keys[1]))
        root = (axes * jnp.sqrt(eigenvalues)[None]).T  # precision = root' root
        log_evidence = (dim * targets.LOG_2PI - jnp.sum(jnp.log(eigenvalues))) / 2
        tril = jnp.linalg.cholesky((axes / eigenvalues[None]) @ axes.T)
        size = 10 ** jax.random.uniform(keys[2], minval=-4, maxval=2)
        tril = tril * (1 + size * jax.random.normal(keys[3], (dim, dim)))
        tril = jnp.tril(tril, -1) + jnp.diag(jnp.abs(jnp.diagonal(tril)))
        guide = variational.FullRank(size * jax.random.normal(keys[4], (dim,)), tril)
        found = variational.elbo(keys[5], lambda z: -jnp.sum((root @ z) ** 2) / 2, guide, 200)
        return found.value - log_evidence, found.standard_error, log_evidence

    above, error, scale = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4000))
    rounding = 1e-5 * (1 + jnp.abs(scale))
    assert jnp.all(above <= 4 * error + rounding)
    assert jnp.mean(above <= 3 * error + rounding) > 0.998


def test_a_density_from_the_noise_keeps_the_digits_that_a_solve_loses():
    tril = np.tril(np.random.default_rng(0).normal(size=(60, 60)))
    guide = variational.FullRank(jnp.zeros(60), jnp.asarray(tril, jnp.float32))  # condition 1e9
    noise = guide.noise(jax.random.key(0), (10,))
    want = -np.sum(np.asarray(noise, np.float64) ** 2, axis=1) / 2 - 30 * targets.LOG_2PI
    want -= np.log(np.abs(np.diag(tril))).sum()
    found = variational.estimators.pathwise(
        jax.random.key(0), lambda z: jnp.sum(z) * 0, _Upright(guide), 10
    )
    np.testing.assert_allclose(-found, want, rtol=1e-5)


@pytree
class _Upright(variational.FullRank):
    """A guide whose scale has negative entries on the diagonal, for a random triangle."""

    def __init__(self, guide):
        object.__setattr__(self, "loc", guide.loc)
        object.__setattr__(
            self, "scale_tril", guide.scale_tril * jnp.sign(jnp.diagonal(guide.scale_tril))[None]
        )


def as_minibatch(target, batch_size):
    """The rows of a regression or of a hierarchy, as a log joint of which steps see a part."""
    if isinstance(target, targets.Regression):
        empty = target._replace(features=target.features[:0], target=target.target[:0])
        rows = target.features, target.target

        def log_lik(z, rows):
            features, y = rows
            return targets.log_likelihood(target.kind, y, features @ z, jnp)

    else:
        empty = target._replace(x=target.x[:, :0], y=target.y[:, :0])
        group = jnp.repeat(jnp.arange(target.x.shape[0]), target.x.shape[1])
        rows = group, jnp.asarray(target.x).reshape(-1), jnp.asarray(target.y).reshape(-1)

        def log_lik(z, rows):
            group, x, y = rows
            effect = (1.0 if target.centred else jnp.exp(z[2])) * z[3:][group]
            return targets.log_likelihood("poisson", y, z[0] + z[1] * x + effect, jnp)

    return variational.Minibatch(empty.log_joint, log_lik, rows, batch_size)


def test_natural_steps_on_minibatched_data_reach_the_best_bound():
    target = targets.regression(np.random.default_rng(1), "logistic", 200, 5, 30.0)
    start = variational.full_rank(jnp.zeros(target.dim))
    check(target, variational.fit_guide(jax.random.key(0), as_minibatch(target, 16), start))


@pytest.mark.slow
def test_minibatched_regressions_by_default_and_by_stochastic_steps():
    near, count = 0, 0
    for seed, kind in enumerate(("logistic", "poisson", "negative binomial")):
        rng = np.random.default_rng(100 + seed)
        group = [targets.regression(rng, kind, 500, 10, 30 ** rng.uniform(0, 1)) for _ in range(12)]
        stacked, first = targets.stacked(group), group[0]
        for optimizer in (None, optax.adam(0.01)):

            def one(key, leaves, first=first, optimizer=optimizer):
                joint = as_minibatch(rebuilt(first, leaves), 50)
                start = variational.full_rank(jnp.zeros(first.dim))
                return variational.fit_guide(
                    key, joint, start, optimizer=optimizer, max_steps=2000, num_check=200
                )

            keys = jax.random.split(jax.random.key(seed), len(group))
            with jax.debug_key_reuse(False):  # it takes a mapped scan over keys for a second use
                found = jax.jit(jax.vmap(one))(keys, arrays(stacked))
            for i, target in enumerate(group):
                one_found = jax.tree.map(lambda leaf, at=i: leaf[at], found)
                off, allowed, best = shortfall(target, one_found)
                if one_found.fit.status == Status.CONVERGED:
                    assert off < 1 + 0.01 * abs(best), kind
                if optimizer is None:
                    count += 1
                    near += off < allowed
    assert near >= 0.98 * count


@pytest.mark.slow
def test_of_many_walls_none_is_left_out_of_a_claim():
    # with 4 searches in the check one of these fits claimed a bound of -157.3, where its ELBO was -6e26
    seed, group = next((i, g) for i, (n, g) in enumerate(targets.random_groups()) if n == WIDE)
    stacked, first = targets.stacked(group), group[0]

    def one(key, leaves):
        joint = as_minibatch(rebuilt(first, leaves), 4)
        return variational.fit_guide(key, joint, variational.full_rank(jnp.zeros(first.dim)))

    keys = jax.random.split(jax.random.key(seed), len(group))
    with jax.debug_key_reuse(False):
        found = jax.jit(jax.vmap(one))(keys, arrays(stacked))
    for i, target in enumerate(group):
        one_found = jax.tree.map(lambda leaf, at=i: leaf[at], found)
        with np.errstate(over="ignore"):
            off, _, best = shortfall(target, one_found, WIDE)
        assert one_found.fit.status != Status.CONVERGED or off < 1 + 0.01 * abs(best)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 0.01, 0.05])
def test_a_minibatched_hierarchy_with_200_groups_claims_no_bound_that_it_has_not(rate):
    target = targets.hierarchy(np.random.default_rng(0), 200, False)
    joint, start = as_minibatch(target, 100), variational.full_rank(jnp.zeros(target.dim))
    best = variational.fit_guide(jax.random.key(0), target.log_joint, start).elbo
    optimizer = None if rate is None else optax.adam(rate)
    steps = None if rate is None else 4000
    found = variational.fit_guide(
        jax.random.key(0), joint, start, optimizer=optimizer, max_steps=steps
    )
    short = best.value - found.elbo.value - 3 * best.standard_error
    if rate is None:
        assert found.fit.status == Status.CONVERGED
        assert short < COMMON
    else:
        assert found.fit.status != Status.CONVERGED or short < 1 + 0.01 * abs(best.value)
