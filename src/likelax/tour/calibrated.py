"""Chapter eleven: are the probabilities true."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import calibration, plots
from likelax.tour import fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

FLIPPERS = ("flipper_length", "body_mass", "sex")
NUM_BINS = 10


class Forecasts(NamedTuple):
    """How well one classifier's confidence matches what happens, on birds it has not seen."""

    name: str
    confidence: np.ndarray
    correct: np.ndarray
    bins: calibration.Bins
    error: float
    low: np.ndarray
    high: np.ndarray
    tests: tuple[calibration.Significance, calibration.Significance]
    fit: calibration.Isotonic
    corp: calibration.Corp


def _forecasts(name: str, features: tuple[str, ...]) -> Forecasts:
    heldout, species = np.exp(fits.penguin_heldout(features)), fits.birds().species

    @jax.jit
    def judge(probs: Array) -> Any:
        confidence, correct = calibration.top_label(probs, species)
        bins = calibration.bin_statistics(confidence, correct, num_bins=NUM_BINS)
        low, high = calibration.clopper_pearson(bins)
        tests = (
            calibration.spiegelhalter(confidence, correct),
            calibration.kuiper(confidence, correct),
        )
        fit = calibration.fit_isotonic(confidence, correct)
        parts = calibration.corp(confidence, correct)
        return confidence, correct, bins, calibration.ece(bins), low, high, tests, fit, parts

    confidence, correct, bins, error, low, high, tests, fit, parts = judge(heldout)
    return Forecasts(
        name,
        np.asarray(confidence),
        np.asarray(correct),
        bins,
        float(error),
        np.asarray(low),
        np.asarray(high),
        tests,
        fit,
        parts,
    )


def _spiegelhalter_by_numpy(confidence: np.ndarray, correct: np.ndarray) -> float:
    p, y = confidence.astype(float), correct.astype(float)
    variance = np.sum((1 - 2 * p) ** 2 * p * (1 - p))
    return float(np.sum((y - p) * (1 - 2 * p)) / np.sqrt(variance))


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
        *pair, last = figure.subplots(1, 3)
        for ax, f in zip(pair, (full, few), strict=True):
            plots.reliability(
                ax, f.bins.confidence, f.bins.accuracy, f.bins.weight, low=f.low, high=f.high
            )
            ax.set_title(f"{f.name}\nECE {f.error:.3f}")
        plots.corp(last, few.fit.knots, few.fit.values, few.corp[1:])
        last.set_title(f"{few.name}\nBrier score {float(few.corp.score):.3f}")

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
            "No bins are needed to say how large the error is: isotonic regression recalibrates "
            "the forecasts, and what that gains is the miscalibration in their Brier score, "
            f"{float(few.corp.miscalibration):.3f} of {float(few.corp.score):.3f}. Two tests, "
            "Spiegelhalter's and Kuiper's, ask whether chance alone explains it: "
            f"p = {float(few.tests[0].p_value):.2f} and {float(few.tests[1].p_value):.2f}.",
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
            Check(
                f"Spiegelhalter's z, {few.name}",
                few.tests[0].statistic,
                _spiegelhalter_by_numpy(few.confidence, few.correct),
                "NumPy, float64",
                1e-3,
            ),
            Check(
                f"CORP: parts add to the Brier score, {few.name}",
                few.corp.miscalibration - few.corp.discrimination + few.corp.uncertainty,
                float(np.mean((few.confidence.astype(float) - few.correct) ** 2)),
                "NumPy, float64",
                1e-5,
            ),
            Check(
                f"CORP: miscalibration, {few.name}",
                few.corp.miscalibration,
                0.0,
                "cannot be negative",
                0.0,
                ">",
            ),
        ),
        drawing=Drawing(
            draw,
            "Two reliability diagrams and a CORP diagram. With all features nearly all birds sit in "
            "the top right corner. With three features the bins follow the diagonal with some "
            "below it, and so does the isotonic staircase.",
            "Confidence against the share that was right, in ten bins. Numbers are birds, bars "
            "are exact 95% intervals; a bin below the diagonal is too sure of itself. Right: the "
            "same without bins, and the Brier score taken apart.",
            (9.6, 3.9),
        ),
    )


CHAPTER = Chapter(
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
)
