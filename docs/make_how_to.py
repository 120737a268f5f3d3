"""Draws the pictures of the how-to pages: families, naive Bayes, calibration and the checklist.

Run it after a change of these: python docs/make_how_to.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from make_tutorials import save, scope_of

import likelax as lx
from likelax import naive_bayes, plots


def families() -> None:
    """Densities of nine families, with two parameters each."""
    positive, counts = np.linspace(0.01, 6, 300), np.arange(16)
    shown = [
        ("Normal", np.linspace(-4, 4, 300), [lx.Normal(0.0, 1.0), lx.Normal(1.0, 0.5)]),
        ("StudentT", np.linspace(-4, 4, 300), [lx.StudentT(2.0, 0.0, 1.0), lx.StudentT(30.0, 0.0, 1.0)]),
        ("Laplace", np.linspace(-4, 4, 300), [lx.Laplace(0.0, 1.0), lx.Laplace(1.0, 0.5)]),
        ("Gamma", positive, [lx.Gamma(1.0, 1.0), lx.Gamma(5.0, 2.0)]),
        ("LogNormal", positive, [lx.LogNormal(0.0, 1.0), lx.LogNormal(1.0, 0.3)]),
        ("Weibull", positive, [lx.Weibull(shape=1.5, scale=1.5), lx.Weibull(shape=4.0, scale=3.0)]),
        ("Beta", np.linspace(0.005, 0.995, 300), [lx.Beta(2.0, 5.0), lx.Beta(0.7, 0.7)]),
        ("Poisson", counts, [lx.Poisson(2.0), lx.Poisson(8.0)]),
        ("NegativeBinomial", counts, [lx.NegativeBinomial(2.0, 0.4), lx.NegativeBinomial(8.0, 0.6)]),
    ]  # fmt: skip

    def draw(figure: Any) -> None:
        colors = plots.colors()
        for axes, (name, x, models) in zip(figure.subplots(3, 3).flat, shown, strict=True):
            for model, color in zip(models, colors[:2], strict=True):
                density = np.exp(np.asarray(model.log_prob(jnp.asarray(x))))
                if x is counts:
                    axes.vlines(
                        x + 0.2 * (color == colors[1]), 0, density, color=color, linewidth=3
                    )
                else:
                    axes.plot(x, density, color=color)
            axes.set_title(name, fontsize=10)
            axes.set_yticks([])
            axes.set_ylim(bottom=0)

    save("families", draw, (9.0, 5.4))


def bayes() -> None:
    """Penguins by two measures, and how sure a naive Bayes classifier is of each."""
    birds = lx.datasets.penguins()
    measures = np.stack([birds.bill_length, birds.bill_depth], axis=1)
    known = ~np.isnan(measures).any(axis=1)
    x, species = jnp.asarray(measures[known], jnp.float32), jnp.asarray(birds.species[known])
    nb = naive_bayes.gaussian(3, 2)
    probs = np.asarray(nb.fit(nb.statistics(x, species)).responsibilities(x))
    right = probs.argmax(axis=1) == np.asarray(species)

    def draw(figure: Any) -> None:
        left, low = figure.subplots(1, 2)
        plots.membership(left, x[:, 0], x[:, 1], probs)
        left.set_xlabel("bill length, mm")
        left.set_ylabel("bill depth, mm")
        colors = plots.colors()
        edges = np.linspace(0.4, 1.0, 13)
        parts = [probs.max(axis=1)[right], probs.max(axis=1)[~right]]
        low.hist(parts, edges, stacked=True, color=colors[:2], label=["right", "wrong"])
        low.set_xlabel("probability of the species that was chosen")
        low.set_ylabel("birds")
        plots.legend_above(low, columns=2)

    save("naive_bayes", draw, (9.0, 3.8))


def checklist() -> None:
    """Line 5 for one Poisson rate: the data vary more than its simulations."""
    counts = lx.datasets.earthquakes().counts
    model = lx.fit.mle(lx.Poisson(1.0), counts)
    simulated = lx.predictive.replicate(jax.random.key(0), model, counts.shape, 60)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        plots.predictive_overlay(axes, counts, simulated)
        axes.set_xlabel("earthquakes a year")

    save("checklist", draw, (7.2, 3.2))


def calibration() -> None:
    """The example of the page: forecasts that are twice as sure as they should be, and mended."""
    s = scope_of("calibration")

    def draw(figure: Any) -> None:
        for axes, bins, title in zip(
            figure.subplots(1, 2), (s["bins"], s["mended"]), ("as they were", "mended"), strict=True
        ):
            plots.reliability(axes, bins.confidence, bins.accuracy, bins.count)
            axes.set_title(f"{title}: ECE {lx.calibration.ece(bins):.3f}", fontsize=10)

    save("calibration", draw, (9.0, 4.6))


if __name__ == "__main__":
    families()
    bayes()
    calibration()
    checklist()
