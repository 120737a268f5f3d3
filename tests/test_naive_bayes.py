"""Naive Bayes against scikit-learn's five variants, and what scikit-learn has not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets
from sklearn import naive_bayes as sk
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from likelax import fit, naive_bayes
from likelax.data import Labelled, Masked
from likelax.datasets import penguins
from likelax.families import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    GammaPoisson,
    MvNormal,
    Normal,
    NormalInverseGamma,
    NormalInverseWishart,
    Poisson,
)
from likelax.mixture import Mixture, MixturePrior
from likelax.statistics import CategoryCounts, add

TABLES = {
    "digits": datasets.load_digits(return_X_y=True),
    "iris": datasets.load_iris(return_X_y=True),
    "wine": datasets.load_wine(return_X_y=True),
    "cancer": datasets.load_breast_cancer(return_X_y=True),
}


def in_batches(nb, x, y, w):
    """Statistics of two halves, added: scikit-learn's partial_fit."""
    half = len(y) // 2

    def cut(a, part):
        return jax.tree.map(lambda leaf: leaf[part], a)

    parts = [(cut(x, p), y[p], w[p]) for p in (slice(None, half), slice(half, None))]
    return jax.jit(lambda parts: add(*(nb.statistics(*p) for p in parts)))(parts)


@pytest.fixture(params=TABLES)
def table(request, x64):
    x, y = TABLES[request.param]
    return x, y, np.random.default_rng(0).uniform(0.2, 2.0, len(y))


def assert_same(model, x, want):
    got = np.asarray(jax.jit(model.log_responsibilities)(x))
    assert got.shape == want.shape
    # 1e-6 absolute; a log posterior of -1e5 nats may be off by its own rounding
    np.testing.assert_allclose(got, want, atol=1e-6, rtol=1e-9)


@pytest.mark.sampled(0.4)
@pytest.mark.parametrize("smoothing", [1.0, 0.3])
def test_bernoulli_is_sklearns(table, smoothing):
    x, y, w = table
    x = (x > x.mean(0)).astype(float)
    nb = naive_bayes.bernoulli(y.max() + 1, x.shape[1], smoothing=smoothing)
    peer = sk.BernoulliNB(alpha=smoothing).fit(x, y, sample_weight=w)
    assert_same(nb.fit(in_batches(nb, x, y, w)), x, peer.predict_log_proba(x))


def test_multinomial_and_complement_are_sklearns(table):
    x, y, w = table
    x = np.floor(x)  # counts
    nb = naive_bayes.multinomial(y.max() + 1, x.shape[1], smoothing=0.5)
    stats = in_batches(nb, jnp.asarray(x), y, w)
    peer = sk.MultinomialNB(alpha=0.5).fit(x, y, sample_weight=w)
    assert_same(nb.fit(stats), x, peer.predict_log_proba(x))
    np.testing.assert_allclose(
        np.log(nb.fit(stats).components.probs), peer.feature_log_prob_, rtol=1e-10
    )
    for norm in (False, True):
        peer = sk.ComplementNB(alpha=0.5, norm=norm).fit(x, y, sample_weight=w)
        model = naive_bayes.complement(stats, smoothing=0.5, norm=norm)
        assert_same(model, x, peer.predict_log_proba(x))


def test_categorical_is_sklearns(table):
    x, y, w = table
    cuts = [np.quantile(c, [0.25, 0.5, 0.75]) for c in x.T[:12]]
    codes = np.stack([np.digitize(c, q) for c, q in zip(x.T[:12], cuts, strict=True)], 1)
    nb = naive_bayes.categorical(y.max() + 1, [4] * codes.shape[1])
    columns = naive_bayes.columns(codes)
    peer = sk.CategoricalNB(min_categories=4).fit(codes, y, sample_weight=w)
    assert_same(nb.fit(in_batches(nb, columns, y, w)), columns, peer.predict_log_proba(codes))


@pytest.mark.parametrize("priors", [None, "given"])
def test_gaussian_is_sklearns(table, priors):
    x, y, w = table
    num_classes = y.max() + 1
    given = (
        None
        if priors is None
        else np.arange(1.0, num_classes + 1) / np.arange(1, num_classes + 1).sum()
    )
    nb = naive_bayes.gaussian(num_classes, x.shape[1], class_prior=given)
    peer = sk.GaussianNB(priors=given).fit(x, y, sample_weight=w)
    model = naive_bayes.add_variance(nb.fit(in_batches(nb, x, y, w)), 1e-9 * x.var(0).max())
    assert_same(model, x, peer.predict_log_proba(x))


def test_multinomial_probability_is_conditional_on_the_length_for_each_class(x64):
    x, y = TABLES["digits"]
    nb = naive_bayes.multinomial(10, 64)

    @jax.jit
    def gap(x, y):
        model = nb.fit(nb.statistics(x, y))
        joint = model.log_prob(Labelled(x[:5], y[:5]))
        return (
            joint - model.log_prob(x[:5]) - model.log_responsibilities(x[:5])[jnp.arange(5), y[:5]]
        )

    np.testing.assert_allclose(gap(x, y), 0, atol=1e-9)


def test_the_notebooks_posterior(x64):
    # EVIDENCE.md, section 4: 40% spam; two words, in 70% and 50% of spam, 10% and 20% of the rest
    model = naive_bayes.bernoulli(2, 2).model
    coins = type(model.components)(jnp.array([[0.7, 0.5], [0.1, 0.2]]))
    posterior = type(model)(jnp.array([0.4, 0.6]), coins).log_responsibilities(jnp.array([1, 1]))
    np.testing.assert_allclose(np.exp(posterior), [0.921053, 0.078947], atol=5e-7)


def test_missing_features_are_left_out_of_the_product(x64):
    x, y = TABLES["iris"]
    nb = naive_bayes.gaussian(3, 4)
    seen = np.random.default_rng(1).uniform(size=x.shape) < 0.6
    masked = Masked(jnp.where(seen, x, jnp.nan), jnp.asarray(seen))
    model = nb.fit(nb.statistics(masked, y))
    for k in range(3):
        for d in range(4):
            column = x[(y == k) & seen[:, d], d]
            got = jax.tree.map(lambda leaf, k=k, d=d: leaf[k, d], model.components.component)
            np.testing.assert_allclose(
                [got.loc, got.scale], [column.mean(), column.std()], rtol=1e-10
            )
    row = Masked(jnp.array([[5.0, jnp.nan, jnp.nan, 0.2]]), jnp.array([[True, False, False, True]]))
    pair = jax.tree.map(lambda leaf: leaf[:, jnp.array([0, 3])], model.components)
    want = type(model)(model.weights, pair).log_responsibilities(jnp.array([[5.0, 0.2]]))
    np.testing.assert_allclose(model.log_responsibilities(row), want, rtol=1e-12)


def test_a_row_of_which_nothing_was_seen_has_the_classes_weights(x64):
    nb = naive_bayes.bernoulli(2, 3)
    model = nb.fit(
        nb.statistics(jnp.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]]), jnp.array([0, 0, 1]))
    )
    blank = Masked(jnp.zeros((1, 3)), jnp.zeros((1, 3), bool))
    np.testing.assert_allclose(model.responsibilities(blank), [[2 / 3, 1 / 3]], rtol=1e-12)


def test_unseen_codes_are_impossible_or_forgotten(x64):
    nb = naive_bayes.categorical(2, [2, 3])
    x = (jnp.array([0, 1, 1]), jnp.array([0, 2, 2]))
    model = nb.fit(nb.statistics(x, jnp.array([0, 1, 1])))
    strange = (jnp.array([1]), jnp.array([9]))
    assert np.all(np.asarray(model.log_responsibilities(strange)) == -np.inf)
    forgotten = model.log_responsibilities(naive_bayes.forget_unseen(strange, [2, 3]))
    first = Masked(strange, (jnp.array([True]), jnp.array([False])))
    first = Masked((strange[0], jnp.array([0])), first.observed)
    np.testing.assert_allclose(forgotten, model.log_responsibilities(first), rtol=1e-12)


def test_unknown_labels_drop_their_row_and_empty_classes_keep_probability(x64):
    nb = naive_bayes.bernoulli(3, 1)
    x, y = jnp.array([[1], [0], [1], [1]]), jnp.array([0, 1, -1, 0])
    stats = nb.statistics(x, y)
    chex.assert_trees_all_close(
        stats, nb.statistics(x, jnp.where(y < 0, 0, y), jnp.array([1.0, 1, 0, 1]))
    )
    model = nb.fit(stats)
    np.testing.assert_allclose(model.weights, [2 / 3, 1 / 3, 0])
    assert np.all(np.isfinite(model.components.probs))
    assert np.asarray(model.log_responsibilities(x))[0, 2] == -np.inf


def test_semi_supervised_fit_raises_the_likelihood_of_all_rows():
    x, y = TABLES["iris"]
    x = jnp.asarray(x, jnp.float32)
    labels = jnp.asarray(np.where(np.arange(150) % 10 == 0, y, -1))
    prior = NormalInverseGamma(0.0, 1e-3, 2.0, 0.1)
    nb = naive_bayes.gaussian(3, 4, prior=prior)
    start = nb.fit(nb.statistics(x, labels))
    found = fit.em(start, Labelled(x, labels), prior=nb.prior)
    assert found.usable
    accuracy = (np.argmax(found.model.log_responsibilities(x), 1) == y).mean()
    assert found.model.log_prob(x).sum() > start.log_prob(x).sum()
    assert accuracy >= (np.argmax(start.log_responsibilities(x), 1) == y).mean()
    assert accuracy > 0.9


def test_predictive_is_the_ratio_of_evidences(x64):
    """p(class | x, data) by integrating the parameters: evidence with the row, over without."""
    x, y = TABLES["iris"]
    nb = naive_bayes.gaussian(
        3, 4, prior=NormalInverseGamma(3.0, 0.1, 2.0, 0.5), class_prior=[0.2, 0.3, 0.5]
    )
    x, new = x[::7], x[3:5]
    stats = jax.jit(lambda x, y: nb.statistics(x, y))(x, y[::7])
    got = jax.jit(lambda stats, new: nb.predictive(stats).log_responsibilities(new))(stats, new)

    @jax.jit
    def evidence(row, label):
        return nb.log_evidence(add(stats, nb.statistics(row[None], label[None])))

    joint = np.array([[evidence(row, np.array(k)) for k in range(3)] for row in new]) + np.log(
        [0.2, 0.3, 0.5]
    )
    np.testing.assert_allclose(
        got, joint - np.logaddexp.reduce(joint, axis=1, keepdims=True), atol=1e-9
    )


def test_gradients_pass_through_fit_and_posterior(x64):
    x, y = TABLES["iris"]

    above = jnp.asarray(x > 3)

    @jax.jit
    def loss(smoothing):
        nb = naive_bayes.bernoulli(3, 4, smoothing=smoothing)
        return nb.fit(nb.statistics(above, y)).log_responsibilities(above[:9])[:, 0].sum()

    rise = (loss(0.7 + 1e-6) - loss(0.7 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.7), rise, rtol=1e-5)


def penguin_classifier():
    """Island, and a body whose four measurements have a Gaussian for each sex: a class is a
    `Product` of a categorical and a `Mixture` whose labels, the sexes, were mostly seen.
    """
    loc, spread = jnp.array([44.0, 17.0, 200.0, 42.0]), jnp.diag(jnp.array([9.0, 1.0, 40.0, 20.0]))

    def both(leaf):
        return jnp.stack([leaf, leaf])

    body = Mixture(jnp.array([0.5, 0.5]), MvNormal(both(loc), both(jnp.linalg.cholesky(spread))))
    weak = NormalInverseWishart(both(loc), jnp.full(2, 0.01), jnp.full(2, 20.0), both(17 * spread))
    return naive_bayes.mixed(
        3,
        {"island": Categorical(jnp.full(3, 1 / 3)), "body": body},
        {
            "island": Dirichlet(jnp.full(3, 1.5)),
            "body": MixturePrior(Dirichlet(jnp.full(2, 2.0)), weak),
        },
    )


def test_penguins_with_gaps_and_mixed_columns_beat_the_complete_cases(x64):
    table = penguins()
    size = np.stack(
        [table.bill_length, table.bill_depth, table.flipper_length, table.body_mass / 100], 1
    )
    species, seen = np.asarray(table.species), ~np.isnan(size)
    complete = seen.all(1) & (table.sex >= 0)
    filled = Masked(jnp.asarray(np.nan_to_num(size)), jnp.asarray(seen))
    x = {"island": jnp.asarray(table.island), "body": Labelled(filled, jnp.asarray(table.sex))}
    nb = penguin_classifier()

    @jax.jit
    def classify(in_training):
        model = nb.fit(nb.statistics(x, species, in_training))
        return jnp.argmax(model.log_responsibilities(x), axis=-1)

    flat = np.concatenate([size, np.eye(3)[table.island], table.sex[:, None]], 1)
    rng, ours, rival = np.random.default_rng(0), [], []
    for _ in range(2):
        order = rng.permutation(len(species))
        for fold in range(5):
            held_out = np.isin(np.arange(len(species)), order[fold::5])
            ours.append((np.asarray(classify(jnp.asarray(~held_out, float))) == species)[held_out])
            # of naive Bayes, logistic regression, LDA, QDA and a random forest the best one here
            peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            peer.fit(flat[~held_out & complete], species[~held_out & complete])
            rows = held_out & complete
            rival.append(peer.predict(flat[rows]) == species[rows])
    # ours names every bird; the rival is asked only for those without a gap
    assert np.concatenate(ours).mean() >= np.concatenate(rival).mean()


def test_rows_that_do_not_match_their_labels_are_refused():
    nb = naive_bayes.bernoulli(2, 3)
    # more rows than a chunk, so that no chunk may hide the difference
    with pytest.raises(
        ValueError, match=r"labels: wanted one for each row of x, \(600,\); got \(500,\)"
    ):
        nb.statistics(jnp.ones((600, 3)), jnp.zeros(500, int))
    with pytest.raises(ValueError, match=r"labels must lie in 0..1, or be -1 for unknown; got 7"):
        nb.statistics(jnp.ones((6, 3)), jnp.full(6, 7))


def test_a_column_without_prior_keeps_its_plug_in_and_has_no_evidence():
    fields, priors = {"calls": Poisson(1.0), "size": Normal(0.0, 1.0)}, {"calls": Gamma(1.0, 1.0)}
    nb = naive_bayes.mixed(2, fields, priors)
    x = {"calls": jnp.array([1, 2, 3, 4]), "size": jnp.array([0.0, 1.0, 2.0, 3.0])}
    stats = nb.statistics(x, jnp.array([0, 0, 1, 1]))
    wider = nb.predictive(stats).components.fields
    np.testing.assert_allclose(wider["size"].loc, nb.fit(stats).components.fields["size"].loc)
    assert isinstance(wider["calls"], GammaPoisson)
    with pytest.raises(ValueError, match=r"the fields \['size'\] have no prior"):
        nb.log_evidence(stats)


def test_given_class_probabilities_are_where_em_starts():
    nb = naive_bayes.gaussian(2, 1, class_prior=[9.0, 1.0])
    np.testing.assert_allclose(nb.model.weights, [0.9, 0.1], rtol=1e-6)


def test_smoothing_may_differ_by_feature_and_by_class():
    x, y = jnp.array([[2, 0, 1], [0, 1, 1], [1, 1, 5]]), jnp.array([0, 1, 1])
    by_feature, by_class = np.array([0.5, 1.0, 2.0]), np.array([[0.5, 1.0, 2.0], [3.0, 0.0, 1.0]])
    counts = np.array([[2, 0, 1], [1, 2, 6]])
    for smoothing in (by_feature, by_class):
        nb = naive_bayes.multinomial(2, 3, smoothing=smoothing)
        wanted = counts + smoothing
        wanted = wanted / wanted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(nb.fit(nb.statistics(x, y)).components.probs, wanted, rtol=1e-6)
    peer = sk.MultinomialNB(alpha=by_feature).fit(x, y)
    nb = naive_bayes.multinomial(2, 3, smoothing=by_feature)
    found = nb.fit(nb.statistics(x, y)).components.probs
    np.testing.assert_allclose(np.log(found), peer.feature_log_prob_, rtol=1e-5)
    peer = sk.ComplementNB(alpha=by_feature).fit(x, y)
    found = naive_bayes.complement(nb.statistics(x, y), smoothing=by_feature).components.weights
    np.testing.assert_allclose(found, peer.feature_log_prob_, rtol=1e-5)


def test_smoothing_of_coins_and_codes_by_class():
    coins = jnp.array([[1, 0], [0, 0], [1, 1]])
    y, smoothing = jnp.array([0, 1, 1]), np.array([[0.0, 1.0], [2.0, 0.5]])
    nb = naive_bayes.bernoulli(2, 2, smoothing=smoothing)
    hits, rows = np.array([[1, 0], [1, 1]]), np.array([[1], [2]])
    wanted = (hits + smoothing) / (rows + 2 * smoothing)
    np.testing.assert_allclose(nb.fit(nb.statistics(coins, y)).components.probs, wanted, rtol=1e-6)
    codes = naive_bayes.columns(jnp.array([[0, 2], [1, 0], [0, 1]]))
    nb = naive_bayes.categorical(2, [2, 3], smoothing=[smoothing, 0.5])
    first, second = nb.fit(nb.statistics(codes, y)).components.fields
    wanted = np.array([[1, 0], [1, 1]]) + smoothing
    np.testing.assert_allclose(first.probs, wanted / wanted.sum(1, keepdims=True), rtol=1e-6)
    wanted = np.array([[0, 0, 1], [1, 1, 0]]) + 0.5
    np.testing.assert_allclose(second.probs, wanted / wanted.sum(1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: naive_bayes.bernoulli(2, 3, smoothing=-1.0), "must not be negative"),
        (
            lambda: naive_bayes.multinomial(2, 3, smoothing=[1.0, 1.0]),
            r"of shape \(3,\) or \(2, 3\)",
        ),
        (
            lambda: naive_bayes.categorical(2, [2, 3], smoothing=[1.0]),
            "one entry for each of the 2",
        ),
    ],
)
def test_bad_smoothing_is_one_clear_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_statistics_of_codes_grow_with_new_codes():
    y = jnp.array([0, 1, 1])
    before = naive_bayes.categorical(2, [2]).statistics((jnp.array([0, 1, 1]),), y)
    after = naive_bayes.categorical(2, [4])
    wider = before._replace(components=tuple(s.widen(4) for s in before.components))
    news = after.statistics((jnp.array([3, 2, 0]),), y)
    together = after.statistics((jnp.array([0, 1, 1, 3, 2, 0]),), jnp.concatenate([y, y]))
    chex.assert_trees_all_close(add(wider, news), together)
    with pytest.raises(ValueError, match="num_categories must be 4 or more; got 3"):
        news.components[0].widen(3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_classifier_has_the_floating_type_of_its_data(dtype, x64):
    y = jnp.array([0, 1, 1])
    for nb, x in [
        (naive_bayes.gaussian(2, 1), jnp.array([[0.0], [1.0], [3.0]], dtype)),
        (naive_bayes.bernoulli(2, 1, class_prior=[0.5, 0.5]), jnp.array([[0], [1], [1]], dtype)),
        (naive_bayes.multinomial(2, 1), jnp.array([[0], [1], [1]], dtype)),
    ]:
        stats = nb.statistics(x, y)
        for leaf in jax.tree.leaves((stats, nb.fit(stats))):
            assert leaf.dtype == dtype


def test_a_row_of_no_weight_may_hold_anything():
    # an infinite count, in a row without label, must not reach the sums of any class
    x = jnp.array([[1.0, 2.0], [3.0, 0.0], [jnp.inf, 1.0]])
    for nb in (naive_bayes.multinomial(2, 2), naive_bayes.gaussian(2, 2)):
        with_it = nb.statistics(x, jnp.array([0, 1, -1]))
        without = nb.statistics(x[:2], jnp.array([0, 1]))
        if isinstance(without.components, CategoryCounts):  # rows share an origin of the peak
            peaks = [stats.components.log_peak for stats in (with_it, without)]
            np.testing.assert_allclose(*peaks, rtol=1e-6, atol=1e-6)
            components = without.components
            with_it = with_it._replace(
                components=CategoryCounts(with_it.components.counts, components.log_peak)
            )
        chex.assert_trees_all_equal(with_it, without)


def test_classes_are_smoothed_or_given(x64):
    x, labels = jnp.array([0, 1, 1, 0]), jnp.array([0, 0, 0, 1])
    kind = Bernoulli(jnp.array([0.5, 0.5]))
    smooth = naive_bayes.build(3, Bernoulli(0.5), class_smoothing=0.5)
    fitted = smooth.fit(smooth.statistics(x, labels))
    np.testing.assert_allclose(fitted.weights, np.array([3.5, 1.5, 0.5]) / 5.5, rtol=1e-6)
    given = naive_bayes.build(2, Bernoulli(0.5), class_prior=jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(given.fit(given.statistics(x, labels)).weights, [0.25, 0.75])
    held = naive_bayes.NaiveBayes(
        Mixture(jnp.array([0.5, 0.5]), kind), MixturePrior(), class_prior=jnp.array([0.1, 0.9])
    )
    np.testing.assert_allclose(held.fit(held.statistics(x, labels)).weights, [0.1, 0.9])


def test_the_evidence_of_classes_is_that_of_their_order(x64):
    """With a Dirichlet over the classes: the chance of this sequence of labels besides."""
    x, labels = jnp.array([1, 1, 0, 1]), jnp.array([0, 1, 1, 0])
    kind, prior = Bernoulli(0.5), Beta(1.0, 1.0)
    plain, both = (naive_bayes.build(2, kind, prior, class_smoothing=s) for s in (None, 0.0))
    gap = both.log_evidence(both.statistics(x, labels)) - plain.log_evidence(
        plain.statistics(x, labels)
    )
    # uniform prior: B(3, 3) = 1 / 30
    np.testing.assert_allclose(gap, -np.log(30), rtol=1e-9)


def test_the_first_code_that_is_none_is_forgotten():
    known = naive_bayes.forget_unseen([jnp.array([-1, 0, 2, 3])], [3]).observed[0]
    np.testing.assert_array_equal(known, [False, True, True, False])
