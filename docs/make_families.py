"""Write docs/families.md from the code: run `python docs/make_families.py` after a change."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from likelax import families as f
from likelax.families.base import Estimable, Family, Prior
from likelax.model import Model

PAGE = Path(__file__).with_name("families.md")

# A prior and a likelihood whose parameter it describes, with one observation. What the pair
# answers is found out by asking it.
PAIRS: list[tuple[Any, Any, Any]] = [
    (f.Beta(1.0, 1.0), f.Bernoulli(0.5), 1),
    (f.Beta(1.0, 1.0), f.Binomial(3, 0.5), 1),
    (f.Beta(1.0, 1.0), f.Geometric(0.5), 1),
    (f.Beta(1.0, 1.0), f.NegativeBinomial(2.0, 0.5), 1),
    (f.Beta(jnp.ones(2), jnp.ones(2)), f.MvBernoulli(jnp.full(2, 0.5)), jnp.ones(2)),
    (f.Dirichlet(jnp.ones(2)), f.Categorical(jnp.full(2, 0.5)), 1),
    (f.Dirichlet(jnp.ones(2)), f.Multinomial(jnp.full(2, 0.5)), jnp.ones(2)),
    (f.Gamma(1.0, 1.0), f.Poisson(1.0), 1),
    (f.Gamma(1.0, 1.0), f.Exponential(1.0), 1.0),
    (f.Gamma(1.0, 1.0), f.GammaKnownShape(2.0, 1.0), 1.0),
    (f.InverseGamma(1.0, 1.0), f.NormalKnownLoc(0.0, 1.0), 1.0),
    (f.NormalMean(0.0, 1.0), f.NormalKnownScale(0.0, 1.0), 1.0),
    (f.NormalInverseGamma(0.0, 1.0, 1.0, 1.0), f.Normal(0.0, 1.0), 1.0),
    (
        f.NormalInverseWishart(jnp.zeros(2), 1.0, 3.0, jnp.eye(2)),
        f.MvNormal(jnp.zeros(2), jnp.eye(2)),
        jnp.ones(2),
    ),
    (f.Pareto(scale=1.0, shape=1.0), f.UniformFromZero(1.0), 1.0),
    (
        f.MatrixNormalInverseWishart(jnp.zeros((1, 1)), jnp.eye(1), 2.0, jnp.eye(1)),
        f.LinearRegression(jnp.zeros((1, 1)), jnp.eye(1)),
        (jnp.ones(1), jnp.ones(1)),
    ),
]


def how_it_learns(cls: type) -> str:
    """What the class says of its own maximum likelihood."""
    if not issubclass(cls, Estimable) and not hasattr(cls, "m_step"):
        return "-"
    doc = inspect.getdoc(cls) or ""
    if "fit.em" in doc:
        return "EM"
    return "Newton" if "Newton" in doc else "closed form"


def family_rows() -> list[str]:
    rows = []
    for name in f.__all__:
        cls = getattr(f, name)
        role = "likelihood" if hasattr(cls, "log_prob") else ""
        if issubclass(cls, Prior):
            role = "likelihood, prior" if issubclass(cls, Estimable) else "prior"
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(cls))
        answers = [
            v
            for v in ("log_prob", "sample", "e_step", "m_step", "predictive")
            if getattr(cls, v, None) not in (None, Model.predictive)
        ]
        verbs = ", ".join(f"`{v}`" for v in answers)
        rows.append(f"| `{name}` | {fields} | {role} | {verbs} | {how_it_learns(cls)} |")
    return rows


def pair_rows() -> list[str]:
    rows = []
    for prior, likelihood, x in PAIRS:
        stats, _ = likelihood.e_step(x)
        posterior = prior.posterior(stats)
        same = "yes" if type(posterior) is type(prior) else "another type"
        if isinstance(likelihood, f.LinearRegression):
            predictive = posterior.predictive(x[0])
        else:
            predictive = posterior.predictive(likelihood)
        evidence = "yes" if jnp.all(jnp.isfinite(prior.log_evidence(stats))) else "no"
        rows.append(
            f"| `{type(prior).__name__}` | `{type(likelihood).__name__}` | {same} "
            f"| `{type(predictive).__name__}` | {evidence} |"
        )
    return rows


def missing_pairs() -> list[str]:
    """Likelihoods with a conjugate prior that `PAIRS` leaves out: none, or this page is stale."""
    listed = {type(likelihood).__name__ for _, likelihood, _ in PAIRS}
    named = [n for n in f.__all__ if issubclass(getattr(f, n), Family)]
    # its predictive says that it offers none
    named.remove("SphericalNormal")
    return [n for n in named if n not in listed]


def page() -> str:
    return "\n".join(
        [
            "# Families and conjugate pairs",
            "",
            "Made by `docs/make_families.py` from the code; a test says when it is stale.",
            "",
            "## Families",
            "",
            "Every one is a pytree with one distribution's parameters; K of them are the same with a",
            "leading axis under `jax.vmap`. EM means that `fit.em` finds the maximum, step by step;",
            "the others need one `m_step`.",
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
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
