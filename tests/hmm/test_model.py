"""The hidden Markov node: published fits, wrapped data, forecasts, and what it refuses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import likelax as lx
from likelax import datasets

CLINIC = lx.HMM(
    jnp.array([0.6, 0.4]),
    jnp.array([[0.7, 0.3], [0.4, 0.6]]),
    lx.Categorical(jnp.array([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])),
)


log_prob = jax.jit(lambda model, x: model.log_prob(x))
e_step = jax.jit(lambda model, x: model.e_step(x))


@pytest.fixture(scope="module")
def counts():
    return datasets.earthquakes().counts


def earthquake_start(key, counts, num_states):
    """Rates drawn from the data, states that tend to stay."""
    rates = jax.random.choice(key, jnp.asarray(counts, float), (num_states,), replace=False)
    stay = 0.8 * jnp.eye(num_states) + 0.2 / num_states
    return lx.HMM(jnp.full(num_states, 1 / num_states), stay, lx.Poisson(rates))


def test_clinic_of_wikipedia():
    """Published: log likelihood -3.3725, best path healthy healthy fever, probability .01512."""
    x = jnp.array([0, 1, 2])  # normal, cold, dizzy
    path, log_joint = CLINIC.viterbi(x)
    assert list(path) == [0, 0, 1]
    np.testing.assert_allclose(jnp.exp(log_joint), 0.01512, rtol=1e-4)
    by_hand = sum(
        float(jnp.exp(log_prob(CLINIC, lx.Labelled(x, np.array(z))))) for z in np.ndindex(2, 2, 2)
    )
    np.testing.assert_allclose(log_prob(CLINIC, x), np.log(by_hand), rtol=1e-5)


@pytest.mark.parametrize(("num_states", "published"), [(2, -341.8787), (3, -328.5275)])
def test_earthquakes_reach_the_published_likelihood(x64, counts, num_states, published):
    """Zucchini & MacDonald (2009), table 3.1; from restarts, in one compiled program."""
    fit = lx.fit.restarts(
        jax.random.key(0),
        lambda key: earthquake_start(key, counts, num_states),
        counts,
        num_restarts=8,
    )
    assert abs(fit.objective - published) < 1e-3
    assert fit.status == lx.fit.Status.CONVERGED
    one_rate = lx.fit.mle(lx.Poisson(1.0), counts)
    np.testing.assert_allclose(jnp.sum(one_rate.log_prob(counts)), -391.9189, atol=1e-4)


def test_padding_never_counts():
    """EVIDENCE: a padded sequence with a length is the same as the unpadded one."""
    model = lx.HMM(
        jnp.array([0.5, 0.5]), CLINIC.transition, lx.Normal(jnp.array([0.0, 2.0]), jnp.ones(2))
    )
    x = jnp.array([[0.1, 1.9, 2.2, -0.3], [1.0, 0.0, jnp.nan, jnp.nan]])
    padded = lx.Sequences(x, lengths=jnp.array([4, 2]))
    (first, one), (second, two) = e_step(model, x[0]), e_step(model, x[1, :2])
    parts, alone = [first, second], [one, two]
    chex.assert_trees_all_close(log_prob(model, padded), jnp.stack(alone), rtol=1e-6)
    stats, total = e_step(model, padded)
    chex.assert_trees_all_close(stats, lx.statistics.add(*parts), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total, sum(alone), rtol=1e-6)
    assert lx.fit.em(model, padded, max_steps=3).usable
    post = jax.jit(lambda m, x: m.smoother(x))(model, padded)
    assert jnp.all(post.log_marginals[1, 2:] == -jnp.inf)
    np.testing.assert_allclose(jnp.exp(post.log_marginals[1, :2]).sum(-1), 1, rtol=1e-5)


def test_starts_cut_the_chain():
    x = jnp.array([0, 1, 2, 0, 0])
    joined = lx.Sequences(x, starts=jnp.array([True, False, False, True, False]))
    whole = e_step(CLINIC, joined)
    parts = lx.statistics.add(e_step(CLINIC, x[:3]), e_step(CLINIC, x[3:]))
    chex.assert_trees_all_close(whole, parts, rtol=1e-5, atol=1e-6)


def test_missing_steps_are_marginalised():
    """A missing step equals the sum over all values that it could have had."""
    hole = lx.Masked(jnp.array([0, 99, 2]), jnp.array([True, False, True]))
    filled = [log_prob(CLINIC, jnp.array([0, v, 2])) for v in range(3)]
    np.testing.assert_allclose(log_prob(CLINIC, hole), np.logaddexp.reduce(filled), rtol=1e-6)


def test_impossible_sequence_has_log_prob_minus_infinity_and_no_nan():
    stuck = lx.HMM(jnp.array([1.0, 0.0]), jnp.eye(2), lx.Categorical(jnp.eye(2)))
    x = jnp.array([0, 1, 0])
    assert stuck.log_prob(x) == -jnp.inf
    gradient = jax.grad(lambda m: m.log_prob(x))(stuck)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert lx.fit.em(stuck, x).status == lx.fit.Status.NON_FINITE


def test_supervised_fit_counts_transitions():
    x, z = jnp.array([0, 0, 2, 2, 1]), jnp.array([0, 0, 1, 1, 0])
    model = lx.fit.mle(CLINIC, lx.Labelled(x, z))
    np.testing.assert_allclose(model.transition, [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(model.emissions.probs, [[2 / 3, 1 / 3, 0], [0, 0, 1]], rtol=1e-6)


def test_empty_state_keeps_its_parameters():
    """hmmlearn 169 and 186: a state that nothing visits gave NaN."""
    lonely = lx.HMM(jnp.array([1.0, 0.0]), jnp.array([[1.0, 0.0], [0.3, 0.7]]), CLINIC.emissions)
    fit = lx.fit.em(lonely, jnp.array([0, 1, 2, 1]), max_steps=5)
    np.testing.assert_allclose(fit.model.transition[1], [0.3, 0.7], rtol=1e-6)
    np.testing.assert_allclose(fit.model.emissions.probs[1], CLINIC.emissions.probs[1], rtol=1e-6)


def test_structural_zeros_stay_under_em_in_float32():
    """EVIDENCE: without a prior, dynamax gives NaN from the second step."""
    sparse = lx.HMM(
        jnp.array([1.0, 0.0, 0.0]),
        jnp.array([[0.6, 0.4, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]),
        lx.Categorical(jnp.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])),
    )
    x = jnp.array([[0, 0, 1, 1, 2], [0, 1, 1, 2, 2], [0, 0, 0, 1, 2]])
    fit = lx.fit.em(sparse, x, max_steps=50)
    assert fit.usable and fit.objective.dtype == jnp.float32
    assert np.all(np.diff(fit.objectives) >= 0) and fit.objectives[-1] > fit.objectives[0]
    for before, after in zip(jax.tree.leaves(sparse), jax.tree.leaves(fit.model), strict=True):
        assert np.all(np.asarray(after)[np.asarray(before) == 0] == 0)


def test_forecast_follows_the_chain():
    x = jnp.array([[0, 1, 2], [2, 2, 1]])
    run = jax.jit(lambda x: (CLINIC.forecast(x, 3), CLINIC.filter(x).log_filtered))
    ahead, filtered = run(x)
    now = np.exp(filtered[:, -1])
    for h in range(3):
        now = now @ np.asarray(CLINIC.transition)
        np.testing.assert_allclose(np.exp(ahead[:, h]), now, rtol=1e-5)
    short, _ = run(lx.Sequences(x, lengths=jnp.array([2, 3])))
    np.testing.assert_allclose(short[0], run(x[0, :2])[0], rtol=1e-5)


def test_time_varying_transition():
    moves = jnp.stack([CLINIC.transition, CLINIC.transition.T])
    varying = lx.HMM(CLINIC.initial, moves / moves.sum(-1, keepdims=True), CLINIC.emissions)
    x = jnp.array([0, 1, 2])
    by_hand = sum(
        float(jnp.exp(log_prob(varying, lx.Labelled(x, np.array(z))))) for z in np.ndindex(2, 2, 2)
    )
    np.testing.assert_allclose(jnp.exp(log_prob(varying, x)), by_hand, rtol=1e-5)
    with pytest.raises(ValueError, match=r"needs a transition of shape \(K, K\)"):
        lx.fit.em(varying, x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.array(1), "must be a sequence"),
        (lx.Sequences(jnp.zeros((2, 3), int), lengths=jnp.array([3])), "lengths must have shape"),
        (lx.Sequences(jnp.zeros(3, int), starts=jnp.zeros(2, bool)), "starts must have shape"),
        (lx.Labelled(jnp.zeros(3, int), jnp.zeros(2, int)), "labels must be integers of shape"),
        (lx.Labelled(jnp.zeros(3, int), jnp.full(3, 2)), "labels must lie in 0..1"),
        (jnp.zeros(3), "must be integer codes"),
    ],
    ids=["scalar", "lengths", "starts", "labels", "label range", "dtype"],
)
def test_bad_input_is_one_clear_sentence(x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        lx.fit.em(CLINIC, x)


def test_padding_is_no_pole():
    """Some of these betas are infinite at 1, others 0, and a count is no half."""
    lengths = (1, 3, 0, 2)
    betas = lx.Beta(jnp.array([[1.5, 0.5], [0.7, 2.0]]), jnp.array([[0.9, 0.8], [0.7, 0.6]]))
    counts = lx.Poisson(jnp.array([[1.0, 2.0], [3.0, 0.5]]))
    rng = np.random.default_rng(0)
    for parts, x in ((betas, rng.beta(1, 1, (4, 3))), (counts, rng.poisson(2.0, (4, 3)))):
        model = lx.HMM(
            jnp.ones(2) / 2, jnp.ones((2, 2)) / 2, lx.Mixture(jnp.ones((2, 2)) / 2, parts)
        )
        data = lx.Sequences(x.astype(np.float32), np.array(lengths))

        def alone(model, row, length):
            return model.log_prob(row[:length]) if length else 0.0

        def total(model, x=x, alone=alone):
            rows = zip(jnp.asarray(x, jnp.float32), lengths, strict=True)
            return sum(alone(model, row, length) for row, length in rows)

        got = jax.jit(jax.value_and_grad(lambda m, data=data: jnp.sum(m.log_prob(data))))(model)
        want = jax.jit(jax.value_and_grad(total))(model)
        chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)
        stats, log_prob = model.e_step(data)
        assert np.isfinite(log_prob)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(stats))


def test_sample_needs_a_length():
    with pytest.raises(ValueError, match="must end in the number of steps"):
        CLINIC.sample(jax.random.key(0), ())


def test_samples_and_paths_are_drawn_under_vmap():
    """Chi-square of the pairs of states over many keys; a key is used once even under vmap."""
    draw = jax.jit(jax.vmap(lambda key: CLINIC.sample_labelled(key, (2,))))
    drawn = draw(jax.random.split(jax.random.key(0), 4000))
    seen = np.bincount(np.asarray(drawn.labels) @ [2, 1], minlength=4)
    want = 4000 * np.asarray(CLINIC.initial[:, None] * CLINIC.transition).ravel()
    assert np.sum((seen - want) ** 2 / want) < 16.3  # chi2.isf(1e-3, 3)
    logs = [jnp.log(a) for a in (CLINIC.initial, CLINIC.transition)]
    paths = jax.jit(jax.vmap(lambda key: lx.hmm.sample_paths(key, *logs, jnp.zeros((2, 2)), 1)))(
        jax.random.split(jax.random.key(1), 4000)
    )
    seen = np.bincount(np.asarray(paths)[:, 0] @ [2, 1], minlength=4)
    assert np.sum((seen - want) ** 2 / want) < 16.3


def test_predictive_is_the_mixture_of_emissions_ahead():
    """Against the ratio of the probabilities of the data with and without the next value."""
    x = jnp.array([0, 1, 2])
    ahead = CLINIC.forecast_observations(x, 2)
    got = jax.vmap(lambda m: jnp.exp(m.log_prob(jnp.arange(3))))(ahead)
    run = jax.jit(lambda x, seen: CLINIC.log_prob(lx.Masked(x, seen)))
    seen = jnp.array([True, True, True, False, False])
    base = run(jnp.append(x, jnp.array([0, 0])), seen)
    for h in range(2):
        for value in range(3):
            longer = jnp.append(x, jnp.array([value, value]))
            ratio = jnp.exp(run(longer, seen.at[3 + h].set(True)) - base)
            np.testing.assert_allclose(got[h, value], ratio, rtol=1e-5)
    with pytest.raises(ValueError, match="one sequence"):
        CLINIC.forecast_observations(x[None], 2)


def test_kmeans_starts_a_gaussian_chain():
    """Labels from k-means, one M step with a sticky prior: a start that EM only improves."""
    rng = np.random.default_rng(0)
    states = (np.arange(120) // 20) % 3
    x = (5.0 * states + rng.normal(size=120)).astype(np.float32)
    shape = lx.HMM(
        jnp.full(3, 1 / 3), jnp.full((3, 3), 1 / 3), lx.Normal(jnp.zeros(3), jnp.ones(3))
    )
    prior = lx.HMMPrior(lx.Dirichlet(jnp.full(3, 2.0)), lx.hmm.sticky(3, 5.0, 2.0))
    labels, _ = lx.fit.kmeans(jax.random.key(0), x[:, None], 3)
    fit = lx.fit.em(lx.fit.from_labels(shape, x, labels, prior), x, prior=prior)
    path = fit.model.viterbi(x)[0]
    order = lx.hmm.match_states(jnp.zeros((3, 3)).at[states, path].add(1.0))
    model = lx.hmm.relabel(fit.model, order)
    np.testing.assert_allclose(model.emissions.loc, [0, 5, 10], atol=0.6)  # 4 standard errors
    np.testing.assert_array_equal(model.viterbi(x)[0], states)


@pytest.mark.parametrize("num_states", [1, 2])
@pytest.mark.parametrize("num_steps", [1, 3])
def test_one_state_one_step_and_nothing_seen(num_states, num_steps):
    """All-masked data have probability one and change no parameter; K = 1 and T = 1 too."""
    rates = jnp.array([1.0, 4.0])[:num_states]
    model = lx.HMM(
        jnp.array([0.3, 0.7])[:num_states] if num_states > 1 else jnp.ones(1),
        jnp.full((num_states, num_states), 1 / num_states),
        lx.Poisson(rates),
    )
    hidden = lx.Masked(jnp.zeros(num_steps, int), jnp.zeros(num_steps, bool))
    run = jax.jit(
        lambda m, x: (m.log_prob(x), m.smoother(x), m.viterbi(x), m.m_step(m.e_step(x)[0]))
    )
    log_prob, post, (path, score), stepped = run(model, hidden)
    np.testing.assert_allclose(log_prob, 0, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(post.log_marginals[0]), model.initial, rtol=1e-5)
    np.testing.assert_array_equal(stepped.emissions.rate, rates)
    assert path.shape == (num_steps,) and np.isfinite(score)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            lx.HMM(jnp.array([0.5, 0.4]), jnp.eye(2), CLINIC.emissions),
            jnp.array([0, 1]),
            r"HMM\.initial must be probabilities that sum to one; got \[0\.5 0\.4\], which sums to 0\.9",
        ),
        (
            lx.HMM(jnp.array([0.5, 0.5]), jnp.array([[0.5, 0.6], [0.5, 0.5]]), CLINIC.emissions),
            jnp.array([0, 1]),
            r"HMM\.transition must be .* which sums to 1\.1 at index 0",
        ),
        (
            lx.HMM(jnp.array([1.5, -0.5]), jnp.eye(2), CLINIC.emissions),
            jnp.array([0, 1]),
            "initial must be probabilities that sum to one",
        ),
        (
            lx.HMM(jnp.full(3, 1 / 3), jnp.eye(3), CLINIC.emissions),
            jnp.array([0, 1]),
            r"initial of shape \(3,\).* got emissions.probs of shape \(2, 3\)",
        ),
        (
            CLINIC,
            lx.Sequences(jnp.zeros((2, 3), int), lengths=jnp.array([3, 4])),
            r"lengths must lie in 0..3; got 4",
        ),
    ],
    ids=["initial", "transition", "negative", "wrong K", "length beyond T"],
)
def test_wrong_values_are_refused_at_the_door(model, x, message):
    with pytest.raises(ValueError, match=message):
        lx.fit.em(model, x)


def test_the_log_prior_of_a_chain_is_that_of_its_three_parts():
    initial, transition = (
        lx.Dirichlet(jnp.array([2.0, 3.0])),
        lx.Dirichlet(jnp.array([[3.0, 1.5], [2.0, 4.0]])),
    )
    emissions = lx.Dirichlet(jnp.array([[2.0, 1.0, 3.0], [1.5, 2.5, 1.0]]))
    want = initial.log_prob(CLINIC.initial)
    for row, concentration in zip(CLINIC.transition, transition.concentration, strict=True):
        want = want + lx.Dirichlet(concentration).log_prob(row)
    for row, concentration in zip(CLINIC.emissions.probs, emissions.concentration, strict=True):
        want = want + lx.Dirichlet(concentration).log_prob(row)
    prior = lx.hmm.HMMPrior(initial, transition, emissions)
    np.testing.assert_allclose(CLINIC.log_prior(prior), want, rtol=1e-5)
    assert CLINIC.log_prior(None) == 0
