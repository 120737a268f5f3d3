"""Draw docs/images/monte_carlo.png from real runs; run it again after a change."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from likelax import monte_carlo, plots

IMAGES = Path(__file__).with_name("images")
NUM_RUNS, DIM = 64, 3
SIZES = 2 ** np.arange(4, 15, 2)
NOISES = {
    "independent": monte_carlo.uniform,
    "antithetic": monte_carlo.antithetic,
    "Latin hypercube": monte_carlo.latin_hypercube,
    "Sobol": monte_carlo.sobol,
}


def integrand(u: jax.Array) -> jax.Array:
    """Smooth, of mean exactly one, and no coordinate alone explains it."""
    return jnp.prod(1 + (jnp.exp(u) - (jnp.e - 1)) / 2)


@partial(jax.jit, static_argnums=(1, 2))
def means(key: jax.Array, noise: monte_carlo.Noise, num_points: int) -> jax.Array:
    """Independent runs of the mean over so many points."""
    run = lambda k: jnp.mean(jax.vmap(integrand)(noise(k, num_points, DIM)))  # noqa: E731
    return jax.lax.map(run, jax.random.split(key, NUM_RUNS))


def draw(figure: Figure) -> None:
    """Errors against the number of points, and 256 points of two kinds."""
    left, middle, right = figure.subplots(1, 3, width_ratios=[2, 1, 1])
    for color, (name, noise) in zip(plots.colors(), NOISES.items(), strict=False):
        errors = []
        for i, size in enumerate(SIZES):
            found = np.asarray(means(jax.random.key(i), noise, int(size)))
            errors.append(np.sqrt(np.mean((found - 1) ** 2)))
        slope = np.polyfit(np.log(SIZES[1:]), np.log(errors[1:]), 1)[0]
        print(f"{name}: slope {slope:.2f}, error at {SIZES[-1]} points {errors[-1]:.1e}")
        left.loglog(SIZES, errors, color=color, marker="o", markersize=4)
        left.annotate(
            f"{name}, n^{slope:.2f}", (SIZES[-1], errors[-1]), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    left.set_xlim(right=SIZES[-1] * 60)
    left.set_xticks([10.0**k for k in (1, 2, 3, 4)])
    left.set_xlabel("points")
    left.set_ylabel("root mean square error")
    for axes, name, noise in (
        (middle, "independent", monte_carlo.uniform),
        (right, "scrambled Sobol", monte_carlo.sobol),
    ):
        points = np.asarray(noise(jax.random.key(0), 256, 2))
        axes.scatter(*points.T, s=5, color=plots.ink(), linewidths=0)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
        axes.set_title(f"256 {name} points", fontsize=9)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    figure = plots.figure(draw, size=(9.6, 3.6))
    (IMAGES / "monte_carlo.png").write_bytes(plots.png(figure))
