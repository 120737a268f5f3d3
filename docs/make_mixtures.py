"""Draw docs/images/mixtures.png and penguins.png from real fits; run it again after a change."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from likelax import datasets, fit, plots
from likelax.families import MvNormal
from likelax.mixture import Mixture

IMAGES = Path(__file__).with_name("images")


def draw_geyser(figure: Figure) -> None:
    """The path of the means, the responsibilities and ellipses at its end, and the rise."""
    geyser = datasets.faithful()
    x = jnp.asarray(np.stack([geyser.eruption, geyser.waiting], axis=1), jnp.float32)
    tril = jnp.diag(jnp.std(x, axis=0)) / 2
    start = Mixture(
        jnp.array([0.5, 0.5]),
        MvNormal(jnp.array([[2.0, 80.0], [3.5, 50.0]]), jnp.stack([tril, tril])),
    )
    step = jax.jit(lambda model: model.m_step(model.e_step(x)[0]))
    every = [start]
    for _ in range(15):
        every.append(step(every[-1]))
    found = fit.em(start, x).raise_unless_converged()
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    plots.membership(left, x[:, 0], x[:, 1], found.model.responsibilities(x))
    path = np.stack([model.components.loc for model in every])
    for k in range(2):
        components = found.model.components
        plots.ellipse(left, components.loc[k], components.scale_tril[k], index=k)
        left.plot(*path[:, k].T, color=plots.ink(), marker="o", markersize=3, linewidth=1)
    left.set_xlabel("eruption, minutes")
    left.set_ylabel("wait to the next, minutes")
    plots.steps(right, found.objectives[: int(found.num_steps) + 1])


def draw_penguins(figure: Figure) -> None:
    """Three components found without the species, and how the species fall into them."""
    table = datasets.penguins()
    x = np.stack([table.flipper_length, table.bill_length, table.bill_depth], axis=1)
    seen = ~np.isnan(x).any(axis=1)
    x = jnp.asarray(x[seen], jnp.float32)
    found = fit.restarts(
        jax.random.key(0), lambda key: fit.at_points(key, x, 3), x, num_restarts=16
    )
    model = found.raise_unless_converged().model
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    plots.membership(left, x[:, 0], x[:, 1], model.responsibilities(x))
    shown = model.marginal([0, 1]).components
    for k in range(3):
        plots.ellipse(left, shown.loc[k], shown.scale_tril[k], index=k)
    left.set_xlabel("flipper, mm")
    left.set_ylabel("bill, mm")
    species, assigned = table.species[seen], np.asarray(model.predict(x))
    counts = np.array([np.bincount(assigned[species == s], minlength=3) for s in range(3)])
    before = np.zeros(3)
    for k in range(3):
        right.barh(np.arange(3), counts[:, k], left=before, color=plots.colors()[k], height=0.6)
        before += counts[:, k]
    right.set_yticks(np.arange(3), table.species_names)
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    right.set_xlabel("birds in each component")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name, draw in (("mixtures", draw_geyser), ("penguins", draw_penguins)):
        figure = plots.figure(draw, size=(9.0, 3.8))
        (IMAGES / f"{name}.png").write_bytes(plots.png(figure))
