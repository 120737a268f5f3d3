"""Chapters one to three: normalise, Bernoulli maximum likelihood, Beta-Bernoulli."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import datasets, fit, numerics, plots
from likelax.data import Masked
from likelax.families import Bernoulli, Beta
from likelax.statistics import add
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

COIN = np.array([1, 1, 1, 1, 1, 0, 0])


def _normalise() -> Findings:
    birds = datasets.penguins()
    table = np.zeros((3, 3))
    np.add.at(table, (birds.species, birds.island), 1)

    @jax.jit
    def numbers(scores: Array, counts: Array) -> tuple[Array, Array, Array]:
        # the same scores as logs, a thousand nats down, where exp gives 0 / 0
        log_probs, _ = numerics.log_normalize(jnp.log(scores) - 1000)
        rows = numerics.normalize(counts, axis=1)
        return numerics.normalize(scores), jnp.exp(log_probs), rows

    probs, from_logs, shares = numbers(np.array([4.0, 2.0, 1.0]), table)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 3, sharey=True)
        for ax, name, row in zip(axes, birds.species_names, np.asarray(shares), strict=True):
            plots.bars(ax, birds.island_names, row)
            ax.set_title(name)
            ax.set_xlim(0, 1.25)
        axes[0].tick_params(axis="y", labelsize=10)
        figure.supxlabel("share of the species", fontsize=10)

    return Findings(
        story=(
            "Scores become probabilities when they are divided by their sum: 4, 2 and 1 become "
            "4/7, 2/7 and 1/7.",
            "Where scores are only known as logs, the sum is taken without leaving the logs. "
            "A thousand nats below zero exp gives 0 / 0; log_normalize gives the same three "
            "probabilities as before.",
            "For real: 344 penguins of three species were counted on three islands. Each row of "
            "counts, divided by its sum, says where a species lives. The zeros are exact.",
        ),
        checks=(
            Check("p of scores 4, 2, 1", probs, (0.5714, 0.2857, 0.1429), "notebook", 5e-5),
            Check(
                "p of the same, as logs - 1000",
                from_logs,
                (4 / 7, 2 / 7, 1 / 7),
                "4/7, 2/7, 1/7",
                1e-4,
            ),
            Check(
                "Adelie by island",
                shares[0],
                np.array([44, 56, 52]) / 152,
                "counting by hand",
                1e-6,
            ),
            Check("Chinstrap by island", shares[1], (0.0, 1.0, 0.0), "counting by hand", 0.0),
        ),
        drawing=Drawing(
            draw,
            "Bars: Adelie penguins live on all three islands in nearly equal shares, all "
            "Chinstrap on Dream, all Gentoo on Biscoe.",
            "Where each species lives. Two of the three rows hold exact zeros, and every method "
            "of the tour keeps them exact.",
            (7.2, 2.3),
        ),
    )


def _bernoulli() -> Findings:
    sex = datasets.penguins().sex
    p = np.linspace(0.01, 0.99, 197)

    @jax.jit
    def numbers(x: Masked) -> tuple[Array, Array, Array]:
        best = fit.mle(Bernoulli(0.5), x)
        log_lik = jax.vmap(lambda q: jnp.sum(Bernoulli(q).log_prob(x)))(jnp.asarray(p))
        curve = jnp.exp(log_lik - jnp.max(log_lik))
        return best.probs, jnp.sum(best.log_prob(x)), curve

    heads, log_lik, coin_curve = numbers(Masked(COIN, COIN >= 0))
    male, male_log_lik, sex_curve = numbers(Masked(sex, sex >= 0))

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        plots.curves(ax, p, [coin_curve, sex_curve], ["7 tosses", "333 penguins"], fill=True)
        ax.set(xlabel="probability of heads, or of a male", ylabel="likelihood / its maximum")

    return Findings(
        story=(
            "Seven tosses show five heads. The probability that makes them most likely is 5/7.",
            "For real: of 344 penguins 333 were sexed. The other eleven are declared missing "
            "with Masked and add nothing, neither to the likelihood nor to the counts. More data "
            "make the likelihood narrower: a percentage of males near one half is all that "
            "remains plausible.",
        ),
        checks=(
            Check("probability of heads, 5 of 7", heads, 0.7143, "notebook", 5e-5),
            Check("log likelihood there", log_lik, -4.18789, "notebook", 5e-6, digits=5),
            Check("share of males, 11 birds missing", male, 168 / 333, "168 / 333", 1e-6),
            Check(
                "log likelihood there",
                male_log_lik,
                168 * math.log(168 / 333) + 165 * math.log(165 / 333),
                "formula, float64",
                1e-3,
            ),
        ),
        drawing=Drawing(
            draw,
            "Two likelihood curves: a broad one with its top at 0.71 for seven tosses, and a "
            "narrow one with its top at 0.50 for 333 penguins.",
            "The likelihood of each probability, beside the best one.",
            (7.2, 3.0),
        ),
    )


def _beta_bernoulli() -> Findings:
    long = (datasets.faithful().eruption > 3.0).astype(np.int32)
    portions = (long[:10], long[10:50], long[50:])
    p = np.linspace(0.0, 1.0, 401)

    @jax.jit
    def notebook(coin: Array, four: Array) -> tuple[Beta, Array, Array]:
        posterior = Beta(4.0, 3.0).posterior(Bernoulli(0.5).e_step(coin)[0])
        evidence = Beta(1.0, 1.0).log_evidence(Bernoulli(0.5).e_step(four)[0])
        return posterior, posterior.mean(), evidence

    @jax.jit
    def geyser(portions: tuple[Array, ...]) -> tuple[list[Beta], Beta, Array, list[Array]]:
        flat = Beta(1.0, 1.0)
        pieces = [Bernoulli(0.5).e_step(part)[0] for part in portions]
        after = list(itertools.accumulate(pieces, lambda b, s: b.posterior(s), initial=flat))[1:]
        total = functools.reduce(add, pieces)
        densities = [jnp.exp(beta.log_prob(jnp.asarray(p))) for beta in after]
        return after, flat.posterior(total), flat.log_evidence(total), densities

    posterior, mean, log_twentieth = notebook(COIN, np.array([0, 1, 1, 1]))
    after, batch, log_evidence, densities = geyser(portions)
    heads, tails = int(long.sum()), int((1 - long).sum())
    exact = math.lgamma(1 + heads) + math.lgamma(1 + tails) - math.lgamma(2 + heads + tails)
    names = ["after 10", "after 50", "after all 272"]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        plots.curves(ax, p, densities, names, fill=True)
        ax.set(xlabel="probability that an eruption lasts over 3 minutes", ylabel="density")
        ax.set_xlim(0.2, 1.0)

    return Findings(
        story=(
            "Before the seven tosses we believed Beta(4, 3). The statistics of the tosses, five "
            "and two, are added to it: Beta(9, 5). Nothing else happens in a conjugate update.",
            "For real: how often does Old Faithful erupt for more than three minutes? Starting "
            "from a flat prior, the 272 eruptions are shown in three portions. Updating one "
            "portion after the other gives the same posterior as all at once.",
        ),
        checks=(
            Check(
                "posterior Beta(alpha, beta)",
                (posterior.alpha, posterior.beta),
                (9, 5),
                "notebook",
                0.0,
                digits=0,
            ),
            Check("its mean", mean, 0.642857, "notebook", 5e-7, digits=6),
            Check(
                "log evidence of 0111, flat prior",
                log_twentieth,
                math.log(0.05),
                "log 0.05",
                1e-5,
                digits=6,
            ),
            Check(
                "geyser, three updates",
                (after[-1].alpha, after[-1].beta),
                (1 + heads, 1 + tails),
                "counting",
                0.0,
                digits=0,
            ),
            Check(
                "geyser, one update",
                (batch.alpha, batch.beta),
                (1 + heads, 1 + tails),
                "counting",
                0.0,
                digits=0,
            ),
            Check("geyser, log evidence", log_evidence, exact, "formula, float64", 1e-3),
        ),
        drawing=Drawing(
            draw,
            "Three densities of the probability of a long eruption, narrower and narrower, the "
            "last centred near 0.64.",
            "What is believed after 10, 50 and all 272 eruptions.",
            (7.2, 3.0),
        ),
    )


CHAPTERS = (
    Chapter(
        "normalise",
        "Scores become probabilities",
        """
import jax.numpy as jnp
from likelax import numerics

numerics.normalize(jnp.array([4.0, 2.0, 1.0]))  # [0.5714 0.2857 0.1429]
""",
        _normalise,
    ),
    Chapter(
        "bernoulli",
        "The most likely coin",
        """
import jax.numpy as jnp
from likelax import families, fit

coin = fit.mle(families.Bernoulli(0.5), jnp.array([1, 1, 1, 1, 1, 0, 0]))
coin.probs  # 0.7143
""",
        _bernoulli,
    ),
    Chapter(
        "beta-bernoulli",
        "What to believe after seven tosses",
        """
import jax.numpy as jnp
from likelax import families

stats, _ = families.Bernoulli(0.5).e_step(jnp.array([1, 1, 1, 1, 1, 0, 0]))
families.Beta(4.0, 3.0).posterior(stats)  # Beta(9, 5)
""",
        _beta_bernoulli,
    ),
)
