"""Chapters eleven to thirteen: calibration, posterior prediction, the checklist."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import checklist, datasets, fit, plots, predictive
from likelax.data import Labelled, Masked
from likelax.families import Bernoulli, Beta, Gamma, Poisson
from likelax.report import Judgement
from likelax.tour import calibrated, fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

FEW = ("bill_length", "sex")
NUM_DRAWS = 2000


STATISTICS = ("variance / mean", "lag-1 correlation", "largest count")


def _statistics(x: Array) -> Array:
    """(..., T) counts to (..., 3)."""
    x = x.astype(jnp.result_type(float))
    mean = jnp.mean(x, axis=-1, keepdims=True)
    gap = x - mean
    variance = jnp.mean(gap**2, axis=-1)
    lag = jnp.mean(gap[..., 1:] * gap[..., :-1], axis=-1) / variance
    return jnp.stack([variance / mean[..., 0], lag, jnp.max(x, axis=-1)], axis=-1)


def _leave_one_out(counts: np.ndarray) -> tuple[predictive.Loo, float]:
    """(PSIS-LOO of one Poisson rate from draws of its posterior, and the exact value).

    The prior is Gamma(1, 1/20). Without year n the posterior is a gamma and its predictive
    distribution a negative binomial, so leaving out is a formula.
    """
    n, total = len(counts), int(counts.sum())
    shape, rate = 1.0 + total, 0.05 + n

    @jax.jit
    def by_draws(key: Array, counts: Array) -> predictive.Loo:
        rates = Gamma(shape, rate).sample(key, (4000,))
        return predictive.loo(jax.vmap(lambda r: Poisson(r).log_prob(counts))(rates))

    exact = 0.0
    for x in counts.tolist():
        a, b = shape - x, rate - 1
        exact += math.lgamma(a + x) - math.lgamma(a) - math.lgamma(x + 1)
        exact += a * math.log(b / (b + 1)) - x * math.log(b + 1)
    return by_draws(jax.random.key(2), counts), exact


def _posterior_predictive() -> Findings:
    @jax.jit
    def notebook(key: Array) -> predictive.Summary:
        theta_key, toss_key = jax.random.split(key)
        theta = Beta(9.0, 5.0).sample(theta_key, (20_000,))
        tosses = predictive.simulate(toss_key, theta, lambda k, p: Bernoulli(p).sample(k, (10,)))
        heads = jnp.sum(tosses, axis=1)
        return predictive.summarise(heads, 0.9)

    heads = notebook(jax.random.key(0))

    counts = datasets.earthquakes().counts
    models = {"one rate": fit.mle(Poisson(1.0), counts), "three states": fits.earthquakes(3).model}

    @jax.jit
    def simulate(key: Array, models: dict[str, object]) -> dict[str, Array]:
        keys = jax.random.split(key, len(models))
        return {
            name: _statistics(predictive.replicate(k, models[name], counts.shape, NUM_DRAWS))
            for k, name in zip(keys, sorted(models), strict=True)
        }

    simulated = {k: np.asarray(v) for k, v in simulate(jax.random.key(1), models).items()}
    seen = np.asarray(jax.jit(_statistics)(counts))
    tails = {name: (draws >= seen[None]).mean(axis=0) for name, draws in simulated.items()}
    dispersion = counts.var() / counts.mean()
    left_out, exact = _leave_one_out(counts)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 3)
        for i, (ax, title) in enumerate(zip(axes, STATISTICS, strict=True)):
            pairs = [(name, simulated[name][:, i]) for name in models]
            plots.predictive_check(ax, float(seen[i]), pairs)
            ax.set_xlabel(title)
            ax.get_legend().set_visible(i == 0)

    return Findings(
        story=(
            "What will ten more tosses of the first coin show? Draw a probability from Beta(9, 5), "
            "toss, and repeat: 6.43 heads on average, and from 3 to 9 heads in 90% of cases.",
            f"For real: {NUM_DRAWS} centuries are simulated from each of two earthquake models and "
            "compared with the one that happened. One Poisson rate never varies as much as the "
            "real counts do and knows no busy decades; three hidden states do.",
            "How well would one rate predict a year that it has not seen? From draws of a single "
            f"posterior, without fitting again, the answer for all {len(counts)} years is "
            f"{float(left_out.value):.1f} nats; leaving each year out in turn, which has a formula "
            f"here, gives {exact:.1f}.",
        ),
        checks=(
            Check("mean of ten tosses", heads.mean, 90 / 14, "notebook: near 6.43", 0.08, digits=3),
            Check(
                "90% interval",
                (heads.interval.lower, heads.interval.upper),
                (3, 9),
                "notebook",
                0.0,
                digits=0,
            ),
            Check("one rate, PSIS-LOO", left_out.value, exact, "negative binomials", 0.3, digits=2),
            Check("one rate, largest k-hat", left_out.k_hat.max(), 0.7, "can be trusted", 0.0, "<"),
            Check("earthquakes, variance / mean", seen[0], dispersion, "NumPy, float64", 1e-4),
            Check(
                "one rate: share of centuries as dispersed",
                tails["one rate"][0],
                0.01,
                "our own bar",
                0.0,
                "<",
            ),
            Check(
                "one rate: share as correlated", tails["one rate"][1], 0.01, "our own bar", 0.0, "<"
            ),
            *(
                Check(
                    f"three states: tail of {name}",
                    min(tail, 1 - tail),
                    0.02,
                    "our own bar",
                    0.0,
                    ">",
                )
                for name, tail in zip(STATISTICS, tails["three states"], strict=True)
            ),
        ),
        drawing=Drawing(
            draw,
            "Three pairs of histograms. For dispersion and correlation the data lie far outside "
            "what one rate simulates and in the middle of what three states simulate.",
            "Three statistics of simulated centuries, and of the real one (dashed).",
            (7.8, 3.1),
        ),
    )


def _checklist() -> Findings:
    birds = fits.Birds(fits.only(fits.birds().features, FEW), fits.birds().species)
    order = np.random.default_rng(1).permutation(len(birds.species))
    train, heldout = (_rows(birds, rows) for rows in (order[:240], order[240:]))
    start, prior = fits.naive_bayes(FEW)
    classifier = fit.mle(start, train, prior=prior)
    one_key, two_key = jax.random.split(jax.random.key(0))
    good = checklist.run(one_key, classifier, train, heldout, decision=checklist.top_label)

    counts = datasets.earthquakes().counts
    early, late = counts[:80], counts[80:]
    one_rate = fit.mle(Poisson(1.0), early)
    poor = checklist.run(two_key, one_rate, early, late)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        plots.verdicts(
            ax,
            [line.title for line in good.lines],
            [("penguins", good.verdicts), ("one rate", poor.verdicts)],
        )

    passed = sum(v is checklist.Verdict.PASS for v in good.verdicts)
    return Findings(
        story=(
            "The notebook ends with six lines to go through before a model is believed. Here they "
            "are a program: each line is tested and answers with a number and a reason.",
            "For real: a penguin classifier of two features, one of them a sex that is not "
            f"always known, passes {passed} of the six on birds it has not seen. One rate for all "
            "earthquakes is caught: what it simulates does not resemble what happened.",
        ),
        checks=(
            Check("lines answered", len(good.lines), 6, "notebook: six lines", 0.0, digits=0),
            *(
                Check(
                    f"penguins, line {i + 1} passes",
                    good.verdicts[i] is checklist.Verdict.PASS,
                    1,
                    "our own bar",
                    0.0,
                    digits=0,
                )
                for i in (0, 2, 3)
            ),
            Check(
                "one rate, line 5 fails",
                poor.verdicts[4] is checklist.Verdict.FAIL,
                1,
                "our own bar",
                0.0,
                digits=0,
            ),
        ),
        drawing=Drawing(
            draw,
            "A grid of six lines and two models with the verdict of each: "
            + "; ".join(
                f"{a.title}: {a.verdict} and {b.verdict}"
                for a, b in zip(good.lines, poor.lines, strict=True)
            ),
            "The verdicts; the two lists say why, first of the penguins, then of the one rate.",
            (7.6, 2.9),
        ),
        tables=(
            Judgement("Penguin classifier", good.lines),
            Judgement("One rate for all earthquakes", poor.lines),
        ),
    )


def _rows(birds: fits.Birds, rows: np.ndarray) -> Labelled:
    values, observed = birds.features.values, birds.features.observed
    kept = Masked(
        {name: value[rows] for name, value in values.items()},
        {name: value[rows] for name, value in observed.items()},
    )
    return Labelled(kept, birds.species[rows])


CHAPTERS = (
    calibrated.CHAPTER,
    Chapter(
        "posterior-predictive",
        "What the model expects to see",
        """
import jax
from likelax import Bernoulli, Beta, predictive

theta_key, toss_key = jax.random.split(jax.random.key(0))
theta = Beta(9.0, 5.0).sample(theta_key, (20_000,))
tosses = predictive.simulate(toss_key, theta, lambda k, p: Bernoulli(p).sample(k, (10,)))
predictive.summarise(tosses.sum(axis=1), 0.9)  # mean 6.43, interval 3 to 9
""",
        _posterior_predictive,
    ),
    Chapter(
        "checklist",
        "Six lines before a model is believed",
        """
import jax
from likelax import Poisson, checklist, datasets, fit

years = datasets.earthquakes().counts
train, heldout = years[:80], years[80:]
one_rate = fit.mle(Poisson(1.0), train)
print(checklist.run(jax.random.key(0), one_rate, train, heldout))
""",
        _checklist,
    ),
)
