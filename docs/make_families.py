"""Write docs/families.md from the code: run `python docs/make_families.py` after a change."""

import dataclasses
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from likelax.families.base import Distribution, Family, Prior
from likelax.families.registry import FAMILIES, Entry
from likelax.families.ridge import RidgePrior
from likelax.model import Density, Model

PAGE = Path(__file__).with_name("families.md")


ANSWERS = (
    *("log_prob", "sample", "mean", "variance", "log_cdf", "quantile", "entropy", "kl_divergence"),
    *("e_step", "m_step", "predictive"),
)


def how_it_learns(entry: Entry) -> str:
    """Whether the parameters stand still after one M step, found out on a small sample."""
    model = entry.example()
    if not isinstance(model, Model):
        return "-"
    x = entry.draw(model, jax.random.key(0), (50,))
    # a start away from the example and from the maximum
    start = model.m_step(model.e_step(jax.tree.map(lambda leaf: leaf[:3], x))[0])
    once = start.m_step(start.e_step(x)[0])
    twice = once.m_step(once.e_step(x)[0])
    still = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-3, atol=1e-4), once, twice)
    if not all(jax.tree.leaves(still)):
        return "EM"
    return "Newton" if "Newton" in (inspect.getdoc(entry.family) or "") else "closed form"


def answers(entry: Entry) -> list[str]:
    """The methods that the family has beyond the defaults of the contract."""
    defaults = [getattr(base, verb, None) for base in (Density, Model) for verb in ANSWERS]
    return [v for v in ANSWERS if getattr(entry.family, v, None) not in (None, *defaults)]


def family_rows() -> list[str]:
    rows = []
    for entry in FAMILIES:
        cls = entry.family
        roles = ["likelihood"] if issubclass(cls, Model | Distribution) else []
        if issubclass(cls, Prior | RidgePrior):
            roles.append("prior")
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(cls))
        verbs = ", ".join(f"`{v}`" for v in answers(entry))
        rows.append(
            f"| `{entry.name}` | {fields} | {', '.join(roles)} | {verbs} | {how_it_learns(entry)} |"
        )
    return rows


def pair_rows() -> list[str]:
    rows = []
    for entry in FAMILIES:
        if entry.prior is None:
            continue
        prior, likelihood = entry.prior(), entry.example()
        x = entry.draw(likelihood, jax.random.key(0))
        stats, _ = likelihood.e_step(x)
        posterior = prior.posterior(stats)
        same = "yes" if type(posterior) is type(prior) else "another type"
        predictive = posterior.predictive(likelihood if entry.inputs is None else x[0])
        evidence = "yes" if jnp.all(jnp.isfinite(prior.log_evidence(stats))) else "no"
        rows.append(
            f"| `{type(prior).__name__}` | `{entry.name}` | {same} "
            f"| `{type(predictive).__name__}` | {evidence} |"
        )
    return sorted(rows)


def missing_pairs() -> list[str]:
    """Likelihoods with a conjugate prior whose entry names none: there must be none."""
    return [e.name for e in FAMILIES if issubclass(e.family, Family) and e.prior is None]


def page() -> str:
    return "\n".join(
        [
            "# Families and conjugate pairs",
            "",
            "Distributions with a closed likelihood, their conjugate priors, and what each can answer.",
            "A conjugate posterior has the prior's form, and its parameters are those of the prior plus",
            "the statistics of the data:",
            "",
            "$$",
            r"p(\theta \mid x) = \frac{p(x \mid \theta) \, p(\theta)}{p(x)}, \qquad",
            r"p(x) = \int p(x \mid \theta) \, p(\theta) \, d\theta",
            "$$",
            "",
            "![Densities of nine families](images/families.png)",
            "",
            "## Families",
            "",
            "Every one is a pytree with one distribution's parameters; K of them are the same with a",
            "leading axis under `jax.vmap`. EM means that `fit.em` finds the maximum, step by step;",
            "the others need one `m_step`. The rows are those of `likelax.families.registry`; see",
            "[Add a family](add_a_family.md).",
            "",
            "| family | fields | is a | answers | maximum likelihood |",
            "| --- | --- | --- | --- | --- |",
            *family_rows(),
            "",
            "## Conjugate pairs",
            "",
            "P: the posterior is a model of the prior's type. PP: the predictive distribution, a",
            "model too. L: the log evidence, differentiable by the prior's parameters.",
            "",
            "| prior | likelihood | P | PP | L |",
            "| --- | --- | --- | --- | --- |",
            *pair_rows(),
            "",
            "This page is made by `docs/make_families.py` from the code; a test says when it is stale.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
