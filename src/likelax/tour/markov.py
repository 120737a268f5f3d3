"""Chapters seven and eight: the forward recursion, and Viterbi."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from likelax import datasets, fit, plots
from likelax.families import Categorical, Poisson
from likelax.hmm.model import HMM
from likelax.tour import fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

SEEN = np.array([0, 1, 1])
DAYS = np.array([0, 1, 2])  # the friend walks, shops, cleans


def _notebook() -> HMM:
    return HMM(
        jnp.array([0.6, 0.4]),
        jnp.array([[0.7, 0.3], [0.2, 0.8]]),
        Categorical(jnp.array([[0.9, 0.1], [0.3, 0.7]])),
    )


def _weather() -> HMM:
    """States rain and sun; a friend walks, shops or cleans."""
    return HMM(
        jnp.array([0.6, 0.4]),
        jnp.array([[0.7, 0.3], [0.4, 0.6]]),
        Categorical(jnp.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])),
    )


def _every_path(model: HMM, seen: np.ndarray) -> tuple[float, float]:
    """(sum, largest) joint probability over all paths, one by one and in float64."""
    start, move = np.asarray(model.initial, float), np.asarray(model.transition, float)
    see = np.asarray(model.emissions.probs, float)
    joint = []
    for path in itertools.product(range(len(start)), repeat=len(seen)):
        p = start[path[0]] * math.prod(see[z, x] for z, x in zip(path, seen, strict=True))
        joint.append(p * math.prod(move[i, j] for i, j in itertools.pairwise(path)))
    return math.fsum(joint), max(joint)


def _forward() -> Findings:
    numbers = jax.jit(lambda model, x: model.log_prob(x))
    likelihood = jnp.exp(numbers(_notebook(), SEEN))
    weather = numbers(_weather(), DAYS)

    data = datasets.earthquakes()
    one = fit.mle(Poisson(1.0), data.counts)
    one_log_lik = jnp.sum(one.log_prob(jnp.asarray(data.counts)))
    two, three = fits.earthquakes(2), fits.earthquakes(3)
    model = fits.in_order(three.model)
    shares = np.asarray(jnp.exp(jax.jit(HMM.smoother)(model, data.counts).log_marginals))
    rates = [f"{float(rate):.1f} a year" for rate in model.emissions.rate]

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
        top.bar(data.year, data.counts, color=plots.colors()[0], width=0.8)
        top.set(ylabel="earthquakes")
        top.set_title("Earthquakes of magnitude 7 and more, by year")
        top.grid(axis="x", visible=False)
        plots.state_shares(bottom, data.year, shares, rates)
        bottom.set(ylabel="p(state | all years)")

    return Findings(
        story=(
            "A hidden chain of two states emits 0, 1, 1. The forward recursion adds up all eight "
            "paths without listing them; listing them gives the same number.",
            "For real: 107 years of large earthquakes in the world. One Poisson rate does not do: "
            "calm and busy decades take turns. Hidden states with rates of their own raise the "
            "log likelihood by 50 nats with two states and by 13 more with three. Each fit is "
            "the best of 16 random starts, run as one program.",
        ),
        checks=(
            Check("likelihood of 0, 1, 1", likelihood, 0.116004, "notebook", 5e-7, digits=6),
            Check(
                "the same, all paths listed",
                likelihood,
                _every_path(_notebook(), SEEN)[0],
                "enumeration",
                1e-7,
                digits=6,
            ),
            Check(
                "weather, log likelihood of three days",
                weather,
                math.log(_every_path(_weather(), DAYS)[0]),
                "enumeration",
                1e-5,
            ),
            Check("earthquakes, one rate", one_log_lik, -391.9189, "Zucchini & MacDonald", 1e-3),
            Check(
                "earthquakes, two states", two.objective, -341.8787, "Zucchini & MacDonald", 1e-3
            ),
            Check(
                "earthquakes, three states",
                three.objective,
                -328.5275,
                "Zucchini & MacDonald",
                1e-3,
            ),
        ),
        drawing=Drawing(
            draw,
            "Top: bars of yearly counts from 1900 to 2006, highest near 1945. Bottom: stacked "
            "areas of three state probabilities; the busiest state holds the years near 1945 "
            "and 1970, the calmest the first and last decades.",
            "What all 107 years together say about the state of each year.",
            (7.4, 4.6),
        ),
    )


def _best_path(model: HMM, counts: np.ndarray) -> float:
    """Viterbi score in plain NumPy and float64, as a reference."""
    rate = np.asarray(model.emissions.rate, float)
    with np.errstate(divide="ignore"):
        initial, move = (
            np.log(np.asarray(model.initial, float)),
            np.log(np.asarray(model.transition, float)),
        )
    log_factorial = np.array([math.lgamma(n + 1) for n in counts])
    log_lik = counts[:, None] * np.log(rate) - rate - log_factorial[:, None]
    score = initial + log_lik[0]
    for row in log_lik[1:]:
        score = (score[:, None] + move).max(axis=0) + row
    return float(score.max())


def _viterbi() -> Findings:
    numbers = jax.jit(HMM.viterbi)
    path, log_joint = numbers(_notebook(), SEEN)
    _, weather = numbers(_weather(), DAYS)

    data = datasets.earthquakes()
    model = fits.in_order(fits.earthquakes(3).model)
    states, score = numbers(model, data.counts)
    level = np.asarray(model.emissions.rate)[np.asarray(states)]
    switches = int(np.sum(np.diff(np.asarray(states)) != 0))

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        plots.state_levels(ax, data.year, data.counts, level)
        ax.set(ylabel="earthquakes a year", ylim=(0, None))

    return Findings(
        story=(
            "Of the eight paths, one is the most probable. Its score is its joint probability "
            "with the data, not its posterior.",
            f"For real: the three-state earthquake model splits the century into {switches + 1} "
            "spells, each with the rate of its state.",
        ),
        checks=(
            Check(
                "joint probability of the best path",
                jnp.exp(log_joint),
                0.063504,
                "notebook",
                5e-7,
                digits=6,
            ),
            Check(
                "the same, all paths listed",
                jnp.exp(log_joint),
                _every_path(_notebook(), SEEN)[1],
                "enumeration",
                1e-7,
                digits=6,
            ),
            Check("the best path of 0, 1, 1", path, (0, 1, 1), "enumeration", 0.0, digits=0),
            Check(
                "weather, best path's probability",
                jnp.exp(weather),
                0.01344,
                "Wikipedia, hidden Markov model",
                5e-6,
                digits=5,
            ),
            Check(
                "earthquakes, best path's log joint",
                score,
                _best_path(model, data.counts),
                "NumPy, float64",
                1e-3,
            ),
            Check(
                "it is at most the log likelihood",
                score,
                fits.earthquakes(3).objective,
                "a law",
                0.0,
                "<",
            ),
        ),
        drawing=Drawing(
            draw,
            "Yearly counts as a thin line, and above it the decoded rate as steps between about "
            "13, 20 and 30 a year; the highest steps lie in the 1940s and near 1970.",
            "The most probable sequence of states, each drawn at its rate.",
            (7.4, 3.4),
        ),
    )


CHAPTERS = (
    Chapter(
        "forward",
        "All paths of a hidden chain",
        """
import jax
import jax.numpy as jnp
from likelax import HMM, Poisson, datasets, fit

years = datasets.earthquakes().counts

def start(key):
    stay = jnp.array([[0.9, 0.1], [0.1, 0.9]])
    rates = jax.random.uniform(key, (2,), minval=10.0, maxval=30.0)
    return HMM(jnp.array([0.5, 0.5]), stay, Poisson(rates))

fitted = fit.restarts(jax.random.key(0), start, years, num_restarts=8)
fitted.objective  # -341.88
""",
        _forward,
    ),
    Chapter(
        "viterbi",
        "The most probable path",
        """
import jax.numpy as jnp
from likelax import HMM, Categorical

model = HMM(
    jnp.array([0.6, 0.4]),
    jnp.array([[0.7, 0.3], [0.2, 0.8]]),
    Categorical(jnp.array([[0.9, 0.1], [0.3, 0.7]])),
)
path, log_joint = model.viterbi(jnp.array([0, 1, 1]))  # [0 1 1], log 0.063504
""",
        _viterbi,
    ),
)
