"""Chapters eleven to thirteen: calibration, posterior prediction, the checklist."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import calibration, checklist, datasets, fit, plots, predictive
from likelax.data import Labelled, Masked
from likelax.families import Bernoulli, Beta, Poisson
from likelax.report import Table
from likelax.tour import fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

FLIPPERS = ("flipper_length", "body_mass", "sex")
FEW = ("bill_length", "sex")
NUM_BINS = 10
NUM_DRAWS = 2000


class Forecasts(NamedTuple):
    """How well one classifier's confidence matches what happens, on birds it has not seen."""

    name: str
    confidence: np.ndarray
    correct: np.ndarray
    bins: calibration.Bins
    error: float
    low: np.ndarray
    high: np.ndarray


def _forecasts(name: str, features: tuple[str, ...]) -> Forecasts:
    heldout, species = np.exp(fits.penguin_heldout(features)), fits.birds().species

    @jax.jit
    def judge(probs: Array) -> Any:
        confidence, correct = calibration.top_label(probs, species)
        bins = calibration.bin_statistics(confidence, correct, num_bins=NUM_BINS)
        low, high = calibration.clopper_pearson(bins)
        return confidence, correct, bins, calibration.ece(bins), low, high

    confidence, correct, bins, error, low, high = judge(heldout)
    return Forecasts(
        name,
        np.asarray(confidence),
        np.asarray(correct),
        bins,
        float(error),
        np.asarray(low),
        np.asarray(high),
    )


def _ece_by_loop(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The expected calibration error, bin by bin in plain NumPy and float64."""
    edges, total = np.linspace(0, 1, NUM_BINS + 1).astype(np.float32), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = confidence[inside].astype(float).mean() - correct[inside].astype(float).mean()
            total += inside.mean() * abs(gap)
    return total


def _calibration() -> Findings:
    @jax.jit
    def notebook(confidence: Array, outcome: Array) -> tuple[Array, Array, Array]:
        bins = calibration.bin_statistics(confidence, outcome, edges=np.array([0, 0.5, 0.75, 1]))
        return bins.accuracy, bins.confidence, calibration.ece(bins)

    accuracy, confidence, error = notebook(
        np.array([0.3, 0.4, 0.55, 0.65, 0.8, 0.9]), np.array([0, 0, 1, 1, 1, 0])
    )
    full, few = _forecasts("all six features", fits.ALL), _forecasts("flipper, mass, sex", FLIPPERS)

    def draw(figure: Figure) -> None:
        for ax, f in zip(figure.subplots(1, 2), (full, few), strict=True):
            plots.reliability(
                ax, f.bins.confidence, f.bins.accuracy, f.bins.weight, low=f.low, high=f.high
            )
            ax.set_title(f"{f.name}: ECE {f.error:.3f}")

    shares = [f.correct.mean() for f in (full, few)]
    return Findings(
        story=(
            "Six forecasts in three bins: those made with confidence .35 never came true, those "
            "with .60 always, those with .85 half of the time. A calibrated forecaster's bins "
            "agree with the diagonal; these do not.",
            "For real: the penguin classifier judged on birds it has not seen. With all six "
            f"features {shares[0]:.0%} are right and nearly every confidence is close to one. "
            f"With flipper, mass and sex only, {shares[1]:.0%} are right, and the confidence says "
            "so: it is lower where mistakes are made.",
        ),
        checks=(
            *(
                Check(
                    f"bin {b + 1}: accuracy, confidence",
                    (accuracy[b], confidence[b]),
                    want,
                    "notebook",
                    1e-6,
                    digits=2,
                )
                for b, want in enumerate(((0, 0.35), (1, 0.6), (0.5, 0.85)))
            ),
            Check("ECE of the three bins", error, (0.35 + 0.4 + 0.35) / 3, "by hand", 1e-6),
            *(
                Check(
                    f"held-out ECE, {f.name}",
                    f.error,
                    _ece_by_loop(f.confidence, f.correct),
                    "NumPy, float64",
                    1e-5,
                )
                for f in (full, few)
            ),
            Check("held-out ECE, all six features", full.error, 0.03, "our own bar", 0.0, "<"),
        ),
        drawing=Drawing(
            draw,
            "Two reliability diagrams. With all features nearly all birds sit in the top right "
            "corner. With three features the bins follow the diagonal with some below it.",
            "Confidence against the share that was right, in ten bins. Numbers are birds, bars "
            "are exact 95% intervals; a bin below the diagonal is too sure of itself.",
            (7.6, 3.9),
        ),
    )


STATISTICS = ("variance / mean", "lag-1 correlation", "largest count")


def _statistics(x: Array) -> Array:
    """(..., T) counts to (..., 3)."""
    x = x.astype(jnp.result_type(float))
    mean = jnp.mean(x, axis=-1, keepdims=True)
    gap = x - mean
    variance = jnp.mean(gap**2, axis=-1)
    lag = jnp.mean(gap[..., 1:] * gap[..., :-1], axis=-1) / variance
    return jnp.stack([variance / mean[..., 0], lag, jnp.max(x, axis=-1)], axis=-1)


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
    table = Table(
        "Six lines, two models",
        ("Line", "Penguin classifier", "One rate for all earthquakes"),
        [
            (f"{a.number}. {a.title}", f"{a.verdict}: {a.reason}", f"{b.verdict}: {b.reason}")
            for a, b in zip(good.lines, poor.lines, strict=True)
        ],
    )

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
            "The verdicts; the table says why.",
            (7.6, 2.9),
        ),
        tables=(table,),
    )


def _rows(birds: fits.Birds, rows: np.ndarray) -> Labelled:
    values, observed = birds.features.values, birds.features.observed
    kept = Masked(
        {name: value[rows] for name, value in values.items()},
        {name: value[rows] for name, value in observed.items()},
    )
    return Labelled(kept, birds.species[rows])


CHAPTERS = (
    Chapter(
        "calibration",
        "Are the probabilities true",
        """
import jax.numpy as jnp
from likelax import calibration

bins = calibration.bin_statistics(
    jnp.array([0.3, 0.4, 0.55, 0.65, 0.8, 0.9]),
    jnp.array([0, 0, 1, 1, 1, 0]),
    edges=[0, 0.5, 0.75, 1],
)
bins.accuracy, bins.confidence  # (0, 1, .5) and (.35, .6, .85)
calibration.ece(bins)  # 0.3667
""",
        _calibration,
    ),
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
