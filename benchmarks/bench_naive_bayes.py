"""Naive Bayes at a million rows, fitted and asked for log posteriors, beside scikit-learn.

python benchmarks/bench_naive_bayes.py           a minute or two
python benchmarks/bench_naive_bayes.py --quick   fifty thousand rows
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import naive_bayes as sk
from timing import asked_quick, compare, print_setting

from likelax import naive_bayes

NUM_FEATURES, NUM_CLASSES = 20, 5


def table(kind: str, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose features depend on their class, in the dtype each library likes best."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, num_rows)
    level = rng.uniform(0.1, 0.9, (NUM_CLASSES, NUM_FEATURES))[labels]
    draws = {
        "bernoulli": lambda: (rng.uniform(size=level.shape) < level).astype(np.float32),
        "multinomial": lambda: rng.poisson(3 * level).astype(np.float32),
        "categorical": lambda: rng.binomial(3, level).astype(np.int32),
        "gaussian": lambda: (level + rng.normal(size=level.shape)).astype(np.float32),
    }
    return draws[kind](), labels.astype(np.int32)


def run(num_rows: int, kind: str, ours, peer, of_data=lambda x: x, name: str | None = None) -> None:
    x, labels = table(kind, num_rows)
    data = jax.block_until_ready(jax.tree.map(jnp.asarray, of_data(x)))
    device_labels = jnp.asarray(labels)
    fit_and_ask = jax.jit(lambda a, b: ours(a, b).log_responsibilities(a))
    compare(
        f"{name or kind} naive Bayes: fit and log posteriors, N={num_rows} D={NUM_FEATURES} "
        f"K={NUM_CLASSES}",
        lambda: fit_and_ask(data, device_labels),
        {"scikit-learn": lambda: peer().fit(x, labels).predict_log_proba(x)},
        check=lambda answer: np.asarray(answer[:1000]),
        rtol=1e-3,
        repeats=3,
    )


def main() -> None:
    rows = 50_000 if asked_quick(__doc__) else 1_000_000
    print_setting("scikit-learn")
    coins = naive_bayes.bernoulli(NUM_CLASSES, NUM_FEATURES)
    words = naive_bayes.multinomial(NUM_CLASSES, NUM_FEATURES)
    codes = naive_bayes.categorical(NUM_CLASSES, [4] * NUM_FEATURES)
    reals = naive_bayes.gaussian(NUM_CLASSES, NUM_FEATURES)
    run(rows, "bernoulli", lambda x, y: coins.fit(coins.statistics(x, y)), sk.BernoulliNB)
    run(rows, "multinomial", lambda x, y: words.fit(words.statistics(x, y)), sk.MultinomialNB)
    run(
        rows,
        "multinomial",
        lambda x, y: naive_bayes.complement(words.statistics(x, y)),
        sk.ComplementNB,
        name="complement",
    )
    run(
        rows,
        "categorical",
        lambda x, y: codes.fit(codes.statistics(x, y)),
        sk.CategoricalNB,
        of_data=lambda x: tuple(np.ascontiguousarray(c) for c in x.T),
    )
    run(rows, "gaussian", lambda x, y: reals.fit(reals.statistics(x, y)), sk.GaussianNB)


if __name__ == "__main__":
    main()
