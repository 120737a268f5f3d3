"""Hidden Markov models of dynamax as likelax models, and back.

Both describe a model by arrays, so nothing is fitted again and nothing is approximated.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from likelax.families import (
    Categorical,
    Gamma,
    LinearRegression,
    LogisticRegression,
    Multinomial,
    MvBernoulli,
    MvNormal,
    Normal,
    Poisson,
    SoftmaxRegression,
    SphericalNormal,
)
from likelax.hmm import HMM
from likelax.interop.external import lenient
from likelax.mixture import Mixture
from likelax.numerics import cholesky
from likelax.numerics.checks import check_type
from likelax.product import Independent
from likelax.wrappers import Tied

try:
    from dynamax import hidden_markov_model as theirs
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError(
        "likelax.interop.dynamax wants dynamax: pip install dynamax"
    ) from missing


def from_dynamax(model: Any, params: Any) -> HMM:
    """A hidden Markov model of dynamax, with its parameters, as a likelax model.

    Args:
      model: an instance of one of dynamax's classes, which knows its kind of emissions.
      params: what its `initialize` or a fit returned.
    Returns:
      An `HMM` of the same log density for the same emissions (T, D). Emissions of a regression are pairs
      (inputs, targets), and their inputs have a constant 1 appended, whose coefficient is the bias.
    Raises:
      TypeError: for another class.

    Examples:
      >>> from dynamax.hidden_markov_model import PoissonHMM
      >>> model = PoissonHMM(2, 1)
      >>> params, _ = model.initialize(jax.random.PRNGKey(0))
      >>> x = jnp.array([[1.0], [4.0]])
      >>> bool(jnp.isclose(from_dynamax(model, params).log_prob(x), model.marginal_log_prob(params, x)))
      True
    """
    kind = type(model).__name__
    if kind not in _EMISSIONS:
        raise TypeError(f"from_dynamax: model must be one of {sorted(_EMISSIONS)}, got {kind}")
    with lenient():
        emissions = _EMISSIONS[kind](model, params.emissions)
    initial, transitions = params.initial.probs, params.transitions.transition_matrix
    return HMM(jnp.asarray(initial), jnp.asarray(transitions), emissions)


def to_dynamax(model: HMM) -> tuple[Any, Any]:
    """A likelax hidden Markov model as one of dynamax.

    Args:
      model: with fixed transitions, and emissions `MvNormal`, `Tied` of it, `SphericalNormal`, `MvBernoulli`,
        `Gamma`, a regression, `Normal`, `Poisson`, `Categorical` or `Multinomial` or `Independent` of
        those, or a `Mixture` of multivariate normals or of `Independent` normals.
    Returns:
      (model, params) of dynamax. An emission of one number becomes one of shape (1,), and a
      multinomial (C,) one of shape (1, C); the last input of a regression, a constant 1, becomes its bias.
    Raises:
      TypeError: for another model or other emissions.

    Examples:
      >>> chain = HMM(jnp.array([0.5, 0.5]), jnp.eye(2), Poisson(jnp.array([1.0, 4.0])))
      >>> model, params = to_dynamax(chain)
      >>> x = jnp.array([1.0, 4.0])
      >>> bool(jnp.isclose(model.marginal_log_prob(params, x[:, None]), chain.log_prob(x)))
      True
    """
    check_type("model", model, HMM)
    made, emissions = _made(model.num_states, model.emissions)
    with lenient():
        start, _ = made.initialize(jax.random.PRNGKey(0))
    params = start._replace(
        initial=start.initial._replace(probs=model.initial_probs()),
        transitions=start.transitions._replace(transition_matrix=model.transition_probs()),
        emissions=start.emissions._replace(**emissions),
    )
    return made, params


def _normals(loc: Any, covariance: Any) -> MvNormal:
    return MvNormal.from_covariance(loc, covariance)


def _with_bias(weights: Array, biases: Array) -> Array:
    """Coefficients (K, D + 1, ...) from weights (K, ..., D) and biases (K, ...)."""
    return jnp.concatenate([jnp.moveaxis(weights, -1, 1), biases[:, None]], axis=1)


def _shared(model: Any, p: Any) -> Tied:
    return Tied(_normals(p.means, jnp.broadcast_to(p.cov, (*p.means.shape, p.cov.shape[-1]))))


def _low_rank(model: Any, p: Any) -> MvNormal:
    factor = p.cov_low_rank_factors
    spread = factor @ jnp.swapaxes(factor, -1, -2)
    return _normals(p.means, spread + p.cov_diag_factors[..., None] * jnp.eye(p.means.shape[-1]))


def _trials(model: Any, p: Any) -> Independent:
    total = jnp.full(p.probs.shape[:-1], model.emission_component.num_trials)
    return Independent(Multinomial(p.probs, total_count=total))


def _regression(model: Any, p: Any) -> LinearRegression:
    return LinearRegression(_with_bias(p.weights, p.biases), cholesky(p.covs))


_EMISSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "BernoulliHMM": lambda model, p: MvBernoulli(p.probs),
    "CategoricalHMM": lambda model, p: Independent(Categorical(p.probs)),
    "CategoricalRegressionHMM": lambda model, p: SoftmaxRegression(_with_bias(p.weights, p.biases)),
    "DiagonalGaussianHMM": lambda model, p: Independent(Normal(p.means, p.scale_diags)),
    "DiagonalGaussianMixtureHMM": lambda model, p: Mixture(
        p.weights, Independent(Normal(p.means, p.scale_diags))
    ),
    "GammaHMM": lambda model, p: Gamma(p.concentration, p.rate),
    "GaussianHMM": lambda model, p: _normals(p.means, p.covs),
    "GaussianMixtureHMM": lambda model, p: Mixture(p.weights, _normals(p.means, p.covs)),
    "LinearAutoregressiveHMM": _regression,
    "LinearRegressionHMM": _regression,
    "LogisticRegressionHMM": lambda model, p: LogisticRegression(_with_bias(p.weights, p.biases)),
    "LowRankGaussianHMM": _low_rank,
    "MultinomialHMM": _trials,
    "PoissonHMM": lambda model, p: Independent(Poisson(p.rates)),
    "SharedCovarianceGaussianHMM": _shared,
    "SphericalGaussianHMM": lambda model, p: SphericalNormal(p.means, p.scales),
}
"""From (model, parameters of the emissions) to emissions of likelax, by dynamax's class."""


def _made(size: int, emissions: Any) -> tuple[Any, dict[str, Any]]:
    """(dynamax's model, the parameters of its emissions by name)."""
    made = _of_vectors(size, emissions) or _of_numbers(size, emissions)
    if made is None:
        inner = getattr(emissions, "component", getattr(emissions, "components", None))
        name = type(emissions).__name__
        name += f" of {type(inner).__name__}" if inner is not None else ""
        raise TypeError(f"to_dynamax: dynamax has no emissions for {name}")
    return made


def _covariance(normal: MvNormal) -> Array:
    tril = normal.scale_tril
    return tril @ jnp.swapaxes(tril, -1, -2)


def _of_vectors(size: int, e: Any) -> tuple[Any, dict[str, Any]] | None:
    if isinstance(e, MvNormal):
        return theirs.GaussianHMM(size, e.loc.shape[-1]), {"means": e.loc, "covs": _covariance(e)}
    if isinstance(e, Tied) and isinstance(e.model, MvNormal):
        made = theirs.SharedCovarianceGaussianHMM(size, e.model.loc.shape[-1])
        return made, {"means": e.model.loc, "cov": _covariance(e.model)[0]}
    if isinstance(e, SphericalNormal):
        made = theirs.SphericalGaussianHMM(size, e.loc.shape[-1])
        return made, {"means": e.loc, "scales": e.scale}
    if isinstance(e, MvBernoulli):
        return theirs.BernoulliHMM(size, e.probs.shape[-1]), {"probs": e.probs}
    if isinstance(e, Mixture) and isinstance(e.components, MvNormal):
        _, num_parts, num_dims = e.components.loc.shape
        made = theirs.GaussianMixtureHMM(size, num_parts, num_dims)
        covs = _covariance(e.components)
        return made, {"weights": e.weights, "means": e.components.loc, "covs": covs}
    if isinstance(e, Mixture) and isinstance(getattr(e.components, "component", None), Normal):
        normal = e.components.component
        made = theirs.DiagonalGaussianMixtureHMM(size, *normal.loc.shape[1:])
        return made, {"weights": e.weights, "means": normal.loc, "scale_diags": normal.scale}
    if isinstance(e, LinearRegression | LogisticRegression | SoftmaxRegression):
        return _of_regression(size, e)
    return None


def _of_regression(size: int, e: Any) -> tuple[Any, dict[str, Any]]:
    num_inputs = e.coefficients.shape[1] - 1
    weights = jnp.moveaxis(e.coefficients[:, :-1], 1, -1)
    found = {"weights": weights, "biases": e.coefficients[:, -1]}
    if isinstance(e, LogisticRegression):
        return theirs.LogisticRegressionHMM(size, num_inputs), found
    if isinstance(e, SoftmaxRegression):
        return theirs.CategoricalRegressionHMM(size, weights.shape[1], num_inputs), found
    covs = e.scale_tril @ jnp.swapaxes(e.scale_tril, -1, -2)
    return theirs.LinearRegressionHMM(size, num_inputs, weights.shape[1]), {**found, "covs": covs}


def _of_numbers(size: int, e: Any) -> tuple[Any, dict[str, Any]] | None:
    """Emissions of numbers or categories, each by itself or several independent ones."""
    if isinstance(e, Gamma):
        return theirs.GammaHMM(size), {"concentration": e.concentration, "rate": e.rate}
    alone = not isinstance(e, Independent)
    part = e if alone else e.component

    def several(a: Array) -> Array:
        return a[:, None] if alone else a

    if isinstance(part, Normal):
        means = several(part.loc)
        made = theirs.DiagonalGaussianHMM(size, means.shape[1])
        return made, {"means": means, "scale_diags": several(part.scale)}
    if isinstance(part, Poisson):
        rates = several(part.rate)
        return theirs.PoissonHMM(size, rates.shape[1]), {"rates": rates}
    if isinstance(part, Categorical):
        probs = several(part.probs)
        return theirs.CategoricalHMM(size, *probs.shape[1:]), {"probs": probs}
    if isinstance(part, Multinomial):
        probs, totals = several(part.probs), np.unique(np.asarray(part.total_count))
        if part.total_count is None or len(totals) > 1:
            raise TypeError("to_dynamax: multinomial emissions want one total_count for all states")
        made = theirs.MultinomialHMM(size, *probs.shape[1:], num_trials=int(totals[0]))
        return made, {"probs": probs}
    return None
