"""Naive Bayes at a million rows, fitted and asked for log posteriors, beside scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import naive_bayes as sk
from timing import compare, print_setting

from likelax import naive_bayes

NUM_ROWS, NUM_FEATURES, NUM_CLASSES = 1_000_000, 20, 5


def table(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose features depend on their class, in the dtype each library likes best."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, NUM_ROWS)
    level = rng.uniform(0.1, 0.9, (NUM_CLASSES, NUM_FEATURES))[labels]
    draws = {
        "bernoulli": lambda: (rng.uniform(size=level.shape) < level).astype(np.float32),
        "multinomial": lambda: rng.poisson(3 * level).astype(np.float32),
        "categorical": lambda: rng.binomial(3, level).astype(np.int32),
        "gaussian": lambda: (level + rng.normal(size=level.shape)).astype(np.float32),
    }
    return draws[kind](), labels.astype(np.int32)


def run(kind: str, ours, peer, of_data=lambda x: x, name: str | None = None) -> None:
    x, labels = table(kind)
    data = jax.block_until_ready(jax.tree.map(jnp.asarray, of_data(x)))
    device_labels = jnp.asarray(labels)
    fit_and_ask = jax.jit(lambda a, b: ours(a, b).log_responsibilities(a))
    compare(
        f"{name or kind} naive Bayes: fit and log posteriors, N={NUM_ROWS} D={NUM_FEATURES} "
        f"K={NUM_CLASSES}",
        lambda: fit_and_ask(data, device_labels),
        {"scikit-learn": lambda: peer().fit(x, labels).predict_log_proba(x)},
        check=lambda answer: np.asarray(answer[:1000]),
        rtol=1e-3,
        repeats=3,
    )


def main() -> None:
    print_setting("scikit-learn")
    coins = naive_bayes.bernoulli(NUM_CLASSES, NUM_FEATURES)
    words = naive_bayes.multinomial(NUM_CLASSES, NUM_FEATURES)
    codes = naive_bayes.categorical(NUM_CLASSES, [4] * NUM_FEATURES)
    reals = naive_bayes.gaussian(NUM_CLASSES, NUM_FEATURES)
    run("bernoulli", lambda x, y: coins.fit(coins.statistics(x, y)), sk.BernoulliNB)
    run("multinomial", lambda x, y: words.fit(words.statistics(x, y)), sk.MultinomialNB)
    run(
        "multinomial",
        lambda x, y: naive_bayes.complement(words.statistics(x, y)),
        sk.ComplementNB,
        name="complement",
    )
    run(
        "categorical",
        lambda x, y: codes.fit(codes.statistics(x, y)),
        sk.CategoricalNB,
        of_data=lambda x: tuple(np.ascontiguousarray(c) for c in x.T),
    )
    run("gaussian", lambda x, y: reals.fit(reals.statistics(x, y)), sk.GaussianNB)


if __name__ == "__main__":
    main()
