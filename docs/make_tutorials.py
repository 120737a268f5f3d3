"""Draws the pictures of the tutorials from what the code of their pages leaves behind.

Run it after a change of a page: python docs/make_tutorials.py
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from build import DOCS, blocks

from likelax import plots

IMAGES = DOCS / "images"


def scope_of(page: str) -> dict[str, Any]:
    """All names after the code of a page has run; blocks of other libraries are left out."""
    scope: dict[str, Any] = {}
    path = DOCS / f"{page}.md"
    for _, source, needs in blocks(path.read_text(encoding="utf-8")):
        if needs in ([], ["optax"]):
            exec(compile(source, str(path), "exec"), scope)
    return scope


def save(name: str, draw: Any, size: tuple[float, float] = (7.2, 3.2)) -> None:
    """Draw a figure and write it."""
    path = Path(IMAGES / f"{name}.png")
    path.write_bytes(plots.png(plots.figure(draw, size=size)))
    print(path)


def neural_hmm() -> None:
    """Points by true state, and the probability of each state along one series."""
    s = scope_of("tutorials/neural_hmm")
    x, states = np.asarray(s["x_test"]), np.asarray(s["states_test"])
    parts = s["potentials"](s["params"], s["x_test"][0])
    smoothed = jnp.exp(s["lx"].hmm.smoother(*parts).log_marginals)
    alone = jax.nn.softmax(parts[2], axis=-1)

    def draw(figure: Any) -> None:
        colors = plots.colors()
        grid = figure.add_gridspec(2, 2, width_ratios=[1, 2])
        cloud, top, low = (
            figure.add_subplot(grid[place]) for place in ((slice(None), 0), (0, 1), (1, 1))
        )
        for k in range(3):
            some = x[:4][states[:4] == k]
            cloud.plot(
                some[:, 0], some[:, 1], ".", color=colors[k], markersize=4, label=f"state {k}"
            )
        cloud.set_aspect("equal")
        plots.legend_above(cloud, columns=3)
        for axes, shares, title in (
            (top, alone, "network alone"),
            (low, smoothed, "with the layer"),
        ):
            plots.state_shares(
                axes, np.arange(100), np.asarray(shares), [f"state {k}" for k in range(3)]
            )
            axes.set_ylabel(title)
            axes.set_yticks([])

    save("neural_hmm", draw, (9.0, 4.0))


def glm_hmm() -> None:
    """Choices against the stimulus by decoded state, and the state of one session."""
    s = scope_of("tutorials/glm_hmm")
    probs, states = np.asarray(s["probs"]), np.asarray(s["states"])
    weights = {"put in": s["choices"].coefficients, "found": s["model"].emissions.coefficients}
    grid = np.linspace(-1, 1, 101)

    def draw(figure: Any) -> None:
        colors = plots.colors()
        left, right = figure.subplots(1, 2, width_ratios=[1, 2])
        for (name, w), style in zip(weights.items(), ("--", "-"), strict=True):
            for k in range(2):
                curve = 1 / (1 + np.exp(-(w[k, 0] + w[k, 1] * grid)))
                left.plot(
                    grid, curve, style, color=colors[k], label=f"{('engaged', 'biased')[k]}, {name}"
                )
        left.set_xlabel("stimulus")
        left.set_ylabel("probability of a choice to the right")
        left.legend(fontsize=7, frameon=False)
        right.fill_between(
            np.arange(300),
            states[0],
            color=colors[1],
            alpha=0.25,
            step="mid",
            label="biased, truly",
        )
        right.plot(probs[0, :, 1], color=colors[1], label="probability of biased, decoded")
        right.set_xlabel("trial")
        plots.legend_above(right, columns=2)

    save("glm_hmm", draw, (9.0, 3.6))


def many_fits() -> None:
    """Rates that were found against those that were put in."""
    s = scope_of("tutorials/many_fits")
    rates, good = np.asarray(s["rates"]), np.asarray(s["good"])

    def draw(figure: Any) -> None:
        colors = plots.colors()
        axes = figure.subplots()
        for i, (name, true) in enumerate((("low", s["low"]), ("high", s["high"]))):
            axes.plot(
                true[good], rates[good, i], "o", color=colors[i], markersize=4, label=f"{name} rate"
            )
        axes.plot([0, 13], [0, 13], color=plots.soft(), linewidth=1)
        axes.set_xlabel("rate of the neuron")
        axes.set_ylabel("rate that was found")
        plots.legend_above(axes, columns=2)

    save("many_fits", draw, (5.0, 4.0))


def elbo() -> None:
    """Effects of the schools: as reported, and after the others were taken into account."""
    s = scope_of("tutorials/elbo")
    theta, y, sigma = np.asarray(s["draws"]["theta"]), np.asarray(s["y"]), np.asarray(s["sigma"])

    def draw(figure: Any) -> None:
        colors = plots.colors()
        axes = figure.subplots()
        rows = np.arange(8)
        axes.errorbar(
            y, rows + 0.15, xerr=sigma, fmt="o", color=colors[0], label="reported, and its error"
        )
        low, high = np.quantile(theta, [0.16, 0.84], axis=0)
        mean = theta.mean(axis=0)
        axes.errorbar(
            mean,
            rows - 0.15,
            xerr=[mean - low, high - mean],
            fmt="o",
            color=colors[1],
            label="posterior, two thirds of it",
        )
        axes.set_yticks(rows, list(s["schools"].school))
        axes.invert_yaxis()
        axes.set_xlabel("effect, points")
        plots.legend_above(axes, columns=2)

    save("elbo", draw, (7.2, 3.6))


def calibrated_classifier() -> None:
    """The picture of the page itself."""
    save("calibrated_classifier", scope_of("tutorials/calibrated_classifier")["draw"], (8.0, 3.8))


if __name__ == "__main__":
    neural_hmm()
    glm_hmm()
    many_fits()
    elbo()
    calibrated_classifier()
