"""Chapters four to six: naive Bayes, responsibilities, EM."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from likelax import datasets, plots
from likelax.families import Bernoulli, Normal
from likelax.mixture import Mixture
from likelax.product import Product
from likelax.tour import fits
from likelax.tour.chapter import Chapter, Check, Drawing, Findings

POINTS = np.array([-2.0, -1.0, 0.2, 2.0, 3.0])


def _naive_bayes() -> Findings:
    @jax.jit
    def notebook(mail: dict[str, Array]) -> Array:
        words = Product(
            {"offer": Bernoulli(jnp.array([0.7, 0.1])), "urgent": Bernoulli(jnp.array([0.5, 0.2]))}
        )
        return jnp.exp(Mixture(jnp.array([0.4, 0.6]), words).log_responsibilities(mail))

    spam = notebook({"offer": jnp.array(1), "urgent": jnp.array(1)})

    table, species = datasets.penguins(), np.asarray(fits.birds().species)
    model = fits.penguin_classifier()
    measured = model.components.fields
    heldout = fits.penguin_heldout()
    guess = heldout.argmax(axis=1)
    accuracy = np.mean(guess == species)
    loss = -np.mean(heldout[np.arange(len(species)), species])
    bare = np.isnan(table.bill_length)
    by_species = [species == k for k in range(3)]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for k, name in enumerate(table.species_names):
            rows = by_species[k]
            x, y = table.bill_length[rows], table.bill_depth[rows]
            ax.scatter(x, y, s=16, alpha=0.75, label=name, linewidths=0)
            loc = [measured["bill_length"].loc[k], measured["bill_depth"].loc[k]]
            scale = [measured["bill_length"].scale[k], measured["bill_depth"].scale[k]]
            plots.ellipse(ax, np.array(loc), np.diag(np.array(scale)), radii=(2.0,), index=k)
        wrong = (guess != species) & ~bare
        ax.scatter(
            table.bill_length[wrong], table.bill_depth[wrong], s=90, facecolors="none",
            edgecolors=plots.ink(), linewidths=1.3, label="held out, and mistaken",
        )  # fmt: skip
        ax.set(xlabel="bill length, mm", ylabel="bill depth, mm")
        plots.legend_above(ax, columns=4)

    return Findings(
        story=(
            "A mail holds the words offer and urgent. Spam is 40% of all mail; the words occur in "
            "70% and 50% of spam, and in 10% and 20% of the rest. Bayes' rule gives 35 to 3 that "
            "it is spam.",
            "For real: six features of three types (four lengths and weights, an island, a sex) "
            "tell three species of penguins apart. A naive Bayes classifier is a Mixture of a "
            "Product whose labels were seen, so one M step fits it. Nineteen entries are missing "
            "or unknown; they are declared with Masked and the birds stay.",
            f"Held out in {fits.FOLDS} folds, {accuracy:.1%} of the 344 birds are named "
            "correctly. Two of them were never measured and never sexed: they are classified by "
            "their island alone.",
        ),
        checks=(
            Check(
                "p of spam, p of the rest", spam, (0.921053, 0.078947), "notebook", 5e-7, digits=6
            ),
            Check(
                "mean bill length by species",
                measured["bill_length"].loc,
                [np.nanmean(table.bill_length[rows]) for rows in by_species],
                "NumPy nanmean",
                1e-3,
            ),
            Check(
                "sd of body mass by species",
                measured["body_mass"].scale,
                [np.nanstd(table.body_mass[rows]) for rows in by_species],
                "NumPy nanstd",
                1e-2,
                digits=2,
            ),
            Check(
                "share of birds held out and named right", accuracy, 0.97, "our own bar", 0.0, ">"
            ),
            Check("held-out log loss, nats a bird", loss, 0.15, "our own bar", 0.0, "<"),
            Check(
                "each posterior sums to one",
                np.abs(np.exp(heldout.astype(float)).sum(axis=1) - 1).max(),
                0.0,
                "a law",
                1e-5,
                digits=6,
            ),
        ),
        drawing=Drawing(
            draw,
            "Scatter of bill depth against bill length. Three clouds, one a species, each in an "
            "ellipse of two standard deviations; a handful of mistaken birds lie between clouds.",
            "Two of the six features. Ellipses are two standard deviations wide; their axes are "
            "upright because naive Bayes takes features as independent within a species.",
            (7.2, 4.4),
        ),
    )


def _notebook_mixture() -> Mixture:
    scales = jnp.array([0.8, 0.9])
    return Mixture(jnp.array([0.45, 0.55]), Normal(jnp.array([-1.0, 2.0]), scales))


def _responsibilities() -> Findings:
    rows = jax.jit(lambda x: jnp.exp(_notebook_mixture().log_responsibilities(x)))(POINTS)
    wanted = ((1, 0), (0.996, 0.004), (0.688, 0.312), (0.001, 0.999), (0, 1))

    x = fits.geyser_data()
    loc, scale, weights = np.array([[2.0, 55.0], [4.3, 80.0]]), np.array([0.4, 6.0]), [0.4, 0.6]

    @jax.jit
    def rough(x: Array) -> Array:
        fields = tuple(
            Normal(jnp.asarray(loc[:, d]), jnp.full(2, scale[d], jnp.result_type(float)))
            for d in range(2)
        )
        model = Mixture(jnp.array(weights), Product(fields))
        return model.responsibilities((x[:, 0], x[:, 1]))

    ours = np.asarray(rough(x))
    z = (x[:, None, :].astype(float) - loc[None]) / scale
    joint = np.array(weights) * np.exp(-0.5 * (z**2).sum(axis=2))
    bayes = joint / joint.sum(axis=1, keepdims=True)
    unsure = int(np.sum((ours[:, 0] > 0.01) & (ours[:, 0] < 0.99)))

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        plots.membership(ax, x[:, 0], x[:, 1], ours)
        for k in range(2):
            plots.ellipse(ax, loc[k], np.diag(scale), index=k)
        ax.set(xlabel="eruption, minutes", ylabel="wait for the next, minutes")

    return Findings(
        story=(
            "Five points and two bell curves: the responsibility of a curve for a point is Bayes' "
            "rule once more. Each row sums to one.",
            "For real: 272 eruptions of Old Faithful, and a rough guess of two kinds, a short "
            f"one and a long one. {len(x) - unsure} of them belong to one kind with 99% or more.",
        ),
        checks=(
            *(
                Check(f"responsibilities of {point:g}", row, want, "notebook", 5.1e-4, digits=3)
                for point, row, want in zip(POINTS, rows, wanted, strict=True)
            ),
            Check(
                "largest gap of 272 rows to Bayes' rule",
                np.abs(ours - bayes).max(),
                0.0,
                "NumPy, float64",
                1e-5,
                digits=6,
            ),
        ),
        drawing=Drawing(
            draw,
            "Scatter of waiting time against eruption length: a lower left cloud in one colour "
            "and an upper right one in another, a few points between them blended.",
            "Each eruption is coloured by its responsibilities under the rough guess, drawn as "
            "ellipses of one and two standard deviations.",
            (7.2, 3.9),
        ),
    )


def _em() -> Findings:
    @jax.jit
    def notebook(x: Array) -> Array:
        start = _notebook_mixture()
        return start.m_step(start.e_step(x)[0]).components.loc

    means = notebook(POINTS)
    fitted = fits.geyser()
    model, x = fitted.model, fits.geyser_data()
    covariances = [np.array(t) @ np.array(t).T for t in np.asarray(model.components.scale_tril)]
    gains = np.diff(np.asarray(fitted.objectives))
    shares = np.asarray(model.responsibilities(x))
    loc, tril = np.asarray(model.components.loc), np.asarray(model.components.scale_tril)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        plots.membership(left, x[:, 0], x[:, 1], shares)
        for k in range(2):
            plots.ellipse(left, loc[k], tril[k], index=k)
        left.set(xlabel="eruption, minutes", ylabel="wait for the next, minutes")
        left.set_title("Two kinds of eruption")
        plots.steps(right, np.asarray(fitted.objectives)[: int(fitted.num_steps) + 1])
        right.set_title("EM only rises")
        right.set(xlabel="EM step")

    return Findings(
        story=(
            "The same five points: each mean moves to the average of the points, weighted by its "
            "responsibilities. That is one step of EM.",
            "For real: fit.em repeats the step on Old Faithful, on the device, until nothing "
            "moves. It asks the model for e_step and m_step, and knows nothing of mixtures.",
        ),
        checks=(
            Check("means after one step", means, (-1.064, 2.184), "notebook", 5.1e-4, digits=3),
            Check(
                "log likelihood, Old Faithful",
                fitted.objective,
                -1130.26396,
                "scikit-learn, float64",
                2e-3,
                digits=3,
            ),
            Check(
                "share of short eruptions", model.weights[0], 0.35587, "scikit-learn, float64", 1e-4
            ),
            Check(
                "mean of the short kind",
                loc[0],
                (2.03639, 54.47852),
                "scikit-learn, float64",
                2e-3,
                digits=3,
            ),
            Check(
                "mean of the long kind",
                loc[1],
                (4.28966, 79.96812),
                "scikit-learn, float64",
                2e-3,
                digits=3,
            ),
            Check(
                "covariance of the long kind",
                covariances[1][0, 1],
                0.94061,
                "scikit-learn, float64",
                2e-3,
            ),
            Check("smallest rise of any step", gains.min(), 0.0, "EM never falls", 0.0, ">"),
        ),
        drawing=Drawing(
            draw,
            "Left: eruptions in two colours, each cloud in tilted ellipses. Right: the distance "
            "to the final log likelihood falls from tens of nats to a thousandth in a few steps.",
            "The fitted mixture, and how far each step of EM still was from the last one.",
            (7.6, 3.6),
        ),
    )


CHAPTERS = (
    Chapter(
        "naive-bayes",
        "Naive Bayes over mixed features",
        """
import jax.numpy as jnp
from likelax import Bernoulli, Mixture, Product

words = Product({
    "offer": Bernoulli(jnp.array([0.7, 0.1])),
    "urgent": Bernoulli(jnp.array([0.5, 0.2])),
})
mail = Mixture(jnp.array([0.4, 0.6]), words)
mail.responsibilities({"offer": 1, "urgent": 1})  # [0.921053 0.078947]
""",
        _naive_bayes,
    ),
    Chapter(
        "responsibilities",
        "Which curve made which point",
        """
import jax.numpy as jnp
from likelax import Mixture, Normal

curves = Normal(jnp.array([-1.0, 2.0]), jnp.array([0.8, 0.9]))
model = Mixture(jnp.array([0.45, 0.55]), curves)
model.responsibilities(jnp.array([-2.0, -1.0, 0.2, 2.0, 3.0]))
""",
        _responsibilities,
    ),
    Chapter(
        "em",
        "Learning without labels",
        """
import jax.numpy as jnp
from likelax import Mixture, MvNormal, datasets, fit

data = datasets.faithful()
x = jnp.stack([data.eruption, data.waiting], axis=1)
spread = jnp.diag(jnp.array([0.5, 6.0]))
guess = MvNormal(jnp.array([[2.0, 55.0], [4.0, 80.0]]), jnp.stack([spread, spread]))
fitted = fit.em(Mixture(jnp.array([0.5, 0.5]), guess), x).raise_unless_converged()
fitted.model.weights  # [0.356 0.644]
""",
        _em,
    ),
)
