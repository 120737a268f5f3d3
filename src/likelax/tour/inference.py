"""Chapters nine and ten: Monte Carlo, and the evidence lower bound."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import datasets, fit, monte_carlo, plots, variational
from likelax.families import Normal
from likelax.fit._gradient import maximize_noisy
from likelax.product import Independent
from likelax.tour import fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

LONG_WAIT = 90.0
CHECKPOINTS = np.unique(np.geomspace(50, 50_000, 60).astype(int))


def _monte_carlo() -> Findings:
    @jax.jit
    def notebook(key: Array) -> monte_carlo.Estimate:
        return monte_carlo.expectation(key, Normal(3.0, 2.0).sample, lambda x: x**2, 100_000)

    second = notebook(jax.random.key(0))

    mixture = fits.geyser().model

    @jax.jit
    def share_of_long_waits(key: Array) -> tuple[monte_carlo.Estimate, Array]:
        draws = mixture.sample(key, (int(CHECKPOINTS[-1]),))
        long = (draws[:, 1] > LONG_WAIT).astype(draws.dtype)
        return monte_carlo.mean(long), jnp.cumsum(long)

    estimate, running = share_of_long_waits(jax.random.key(1))
    exact = _exact_share()
    p = np.asarray(running, float)[CHECKPOINTS - 1] / CHECKPOINTS
    error = np.sqrt(exact * (1 - exact) / CHECKPOINTS)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        hues = plots.colors()
        ax.fill_between(
            CHECKPOINTS, exact - 2 * error, exact + 2 * error, color=hues[1], alpha=0.2,
            linewidth=0, label="exact, two standard errors either side",
        )  # fmt: skip
        ax.axhline(exact, color=hues[1], linewidth=1.3)
        ax.plot(CHECKPOINTS, p, color=hues[0], label="estimate")
        ax.set(xscale="log", xlabel="draws", ylabel=f"p(wait > {LONG_WAIT:g} minutes)")
        plots.legend_above(ax, columns=2)

    return Findings(
        story=(
            "The mean of the squares of draws from a normal distribution with mean 3 and standard "
            "deviation 2 estimates 3 x 3 + 2 x 2 = 13. Every estimate comes with its standard "
            "error, so that its distance to the truth can be judged.",
            f"For real: how often must a visitor wait more than {LONG_WAIT:g} minutes for Old "
            "Faithful? Draws from the fitted mixture estimate it; the normal distribution "
            "function gives the exact answer to compare with.",
        ),
        checks=(
            Check(
                "E[X^2], in standard errors from 13",
                abs(float(second.value) - 13) / float(second.standard_error),
                4.0,
                "notebook: 13",
                0.0,
                "<",
                digits=2,
            ),
            Check("E[X^2] of 100 000 draws", second.value, 13.0, "notebook", 0.25, digits=3),
            Check(
                "its standard error",
                second.standard_error,
                math.sqrt((4 * 9 * 4 + 2 * 16) / 100_000),
                "formula",
                1e-3,
            ),
            Check("effective sample size", second.ess, 100_000, "independent draws", 0.5, digits=0),
            Check(
                "geyser, in standard errors from exact",
                abs(float(estimate.value) - exact) / float(estimate.standard_error),
                4.0,
                "normal distribution function",
                0.0,
                "<",
                digits=2,
            ),
            Check(
                "p(wait > 90 minutes)", estimate.value, exact, "normal distribution function", 4e-3
            ),
        ),
        drawing=Drawing(
            draw,
            "A wandering estimate that settles on a horizontal line inside a band narrowing like "
            "one over the square root of the number of draws.",
            "The running estimate against the exact share. Ten times the precision costs a "
            "hundred times the draws.",
            (7.2, 3.2),
        ),
    )


def _exact_share() -> float:
    """p(wait > 90) under the fitted mixture, by the normal distribution function."""
    model = fits.geyser().model
    loc = np.asarray(model.components.loc, float)[:, 1]
    tril = np.asarray(model.components.scale_tril, float)
    sd = np.sqrt((tril[:, 1, :] ** 2).sum(axis=1))
    tails = [
        math.erfc((LONG_WAIT - m) / (s * math.sqrt(2))) / 2 for m, s in zip(loc, sd, strict=True)
    ]
    return float(np.asarray(model.weights, float) @ tails)


def _log_joint(z: Array, effect: Array, error: Array) -> Array:
    """Eight schools, non-centred: z holds mu / 5, log tau and eight standardised effects.

    mu ~ N(0, 5), tau ~ half-Cauchy(5), effect of school j ~ N(mu, tau), seen with its error.
    """
    mu, log_tau, raw = 5 * z[0], z[1], z[2:]
    tau = jnp.exp(log_tau)
    half_cauchy = math.log(2 / (5 * math.pi)) - jnp.log1p((tau / 5) ** 2) + log_tau
    seen = jax.vmap(lambda m, s, y: Normal(m, s).log_prob(y))(mu + tau * raw, error, effect)
    standard = Normal(0.0, 1.0)
    return standard.log_prob(z[0]) + half_cauchy + jnp.sum(standard.log_prob(raw)) + jnp.sum(seen)


def _schools_by_quadrature(y: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """(log evidence, posterior mean of mu): effects and mu in closed form, tau on a fine grid."""
    log_tau = np.linspace(-12, 8, 8001)
    tau = np.exp(log_tau)
    variance = error**2 + tau[:, None] ** 2
    precision = (1 / variance).sum(axis=1) + 1 / 25
    pull = (y / variance).sum(axis=1)
    log_lik = -0.5 * (np.log(2 * np.pi * variance) + y**2 / variance).sum(axis=1)
    log_lik += -0.5 * np.log(25 * precision) + pull**2 / (2 * precision)
    log_prior = math.log(2 / (5 * math.pi)) - np.log1p((tau / 5) ** 2) + log_tau
    terms = log_lik + log_prior
    mass = np.exp(terms - terms.max())
    log_evidence = terms.max() + math.log(mass.sum() * (log_tau[1] - log_tau[0]))
    return log_evidence, float(mass @ (pull / precision) / mass.sum())


def _elbo() -> Findings:
    exact = jax.jit(variational.exact_elbo)(
        np.log(np.array([0.1, 0.2, 0.3])), np.log(np.array([0.3, 0.3, 0.4]))
    )

    data = datasets.eight_schools()
    effect, error = jnp.asarray(data.effect), jnp.asarray(data.standard_error)
    start = Independent(Normal(jnp.zeros(10), jnp.full(10, 0.5)))

    def log_joint(z: Array) -> Array:
        return _log_joint(z, effect, error)

    def objective(key: Array, guide: Independent) -> Array:
        return variational.elbo(key, log_joint, guide, 16).value

    fitted = maximize_noisy(jax.random.key(0), objective, start, max_steps=3000)

    @jax.jit
    def judge(key: Array, guide: Independent) -> tuple[monte_carlo.Estimate, Array]:
        score_key, draw_key = jax.random.split(key)
        z = guide.sample(draw_key, (4000,))
        schools = 5 * z[:, :1] + jnp.exp(z[:, 1:2]) * z[:, 2:]
        return variational.elbo(score_key, log_joint, guide, 4000), schools

    bound, schools = judge(jax.random.key(1), fitted.model)
    log_evidence, mu = _schools_by_quadrature(data.effect, data.standard_error)
    schools = np.asarray(schools)
    gap = log_evidence - float(bound.value)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        low, high = np.quantile(schools, [0.1, 0.9], axis=0)
        spread = 1.2816 * data.standard_error
        plots.intervals(
            ax,
            [f"School {name}" for name in data.school],
            [
                ("seen alone", data.effect, data.effect - spread, data.effect + spread),
                ("together", schools.mean(axis=0), low, high),
            ],
        )
        plots.label_line(ax, mu, "", height=1.0)
        ax.set(xlabel="effect of coaching, points (80% intervals)")

    return Findings(
        story=(
            "A latent with three states has joint probabilities .1, .2, .3 with the data; a guess "
            "q of .3, .3, .4 is not the posterior. The bound falls short of the log evidence by "
            "exactly the divergence between the two.",
            "For real: eight schools coached their pupils for a test. A normal guide over the ten "
            "unknowns is fitted with optax by raising the ELBO. Here the log evidence is known, "
            "by quadrature over one variable, so the gap can be shown: it is what the guide, "
            f"which takes the unknowns as independent, cannot say ({gap:.2f} nats).",
        ),
        checks=(
            Check("log p(x)", exact.log_evidence, -0.510826, "notebook", 1e-6, digits=6),
            Check("ELBO", exact.elbo, -0.566296, "notebook", 1e-6, digits=6),
            Check("the gap, KL(q || posterior)", exact.kl, 0.055470, "notebook", 1e-6, digits=6),
            Check(
                "eight schools, ELBO below log evidence",
                bound.value,
                log_evidence,
                "quadrature, float64",
                float(3 * bound.standard_error),
                "<",
            ),
            Check("eight schools, the gap in nats", gap, 0.5, "our own bar", 0.0, "<"),
            Check(
                "mean effect over schools",
                5 * fitted.model.component.loc[0],
                mu,
                "quadrature, float64",
                0.5,
                digits=2,
            ),
            Check(
                "status of the fit",
                fitted.status,
                fit.Status.CONVERGED,
                "fit.Status",
                0.0,
                digits=0,
            ),
        ),
        drawing=Drawing(
            draw,
            "Eight pairs of intervals. Each school alone has a wide interval, from minus 20 to "
            "over 40 points; together they shrink towards a common effect of about 4 points.",
            "Each school alone, and as one of eight. The dashed line is the exact posterior mean "
            "of the common effect.",
            (7.2, 4.2),
        ),
    )


CHAPTERS = (
    Chapter(
        "monte-carlo",
        "An expectation and its error",
        """
import jax
from likelax import Normal, monte_carlo

estimate = monte_carlo.expectation(
    jax.random.key(0), Normal(3.0, 2.0).sample, lambda x: x**2, 100_000
)
estimate.value, estimate.standard_error  # 13, give or take 0.04
""",
        _monte_carlo,
    ),
    Chapter(
        "elbo",
        "A bound on the evidence",
        """
import jax.numpy as jnp
from likelax import variational

joint = jnp.log(jnp.array([0.1, 0.2, 0.3]))
guess = jnp.log(jnp.array([0.3, 0.3, 0.4]))
variational.exact_elbo(joint, guess)  # elbo -0.566296, kl 0.055470
""",
        _elbo,
    ),
)
