"""Draw docs/images/mixtures.png from a real fit; run it again after a change."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from likelax import datasets, fit, plots
from likelax.families import MvNormal
from likelax.mixture import Mixture

IMAGE = Path(__file__).with_name("images") / "mixtures.png"


def draw(figure: Figure) -> None:
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
    found = fit.em(start, x).raise_if_failed()
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    plots.membership(left, x[:, 0], x[:, 1], jnp.exp(found.model.posterior(x)))
    path = np.stack([model.components.loc for model in every])
    for k in range(2):
        components = found.model.components
        plots.ellipse(left, components.loc[k], components.scale_tril[k], index=k)
        left.plot(*path[:, k].T, color=plots.ink(), marker="o", markersize=3, linewidth=1)
    left.set_xlabel("eruption, minutes")
    left.set_ylabel("wait to the next, minutes")
    plots.steps(right, found.log_probs[: int(found.num_steps) + 1])


if __name__ == "__main__":
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_bytes(plots.png(plots.figure(draw, size=(9.0, 3.8))))
