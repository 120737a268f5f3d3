"""Draws, log likelihoods and leave-one-out results as objects of ArviZ, and draws back.

It works with ArviZ 0.2x, whose data are an `InferenceData`, and with ArviZ 1, whose data are a
`DataTree`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.data import DataLike, take_mask
from likelax.numerics import as_array
from likelax.numerics.checks import as_numpy, check_size, check_type
from likelax.predictive import Loo
from likelax.predictive.score import check_draws

try:
    import arviz
    import xarray
except ModuleNotFoundError as missing:  # pragma: no cover
    raise ModuleNotFoundError("likelax.interop.arviz wants ArviZ: pip install arviz") from missing

_HAS_TREES = int(arviz.__version__.split(".")[0]) >= 1
"""Whether the data are a `DataTree`, as from ArviZ 1 on."""

_WITHOUT_DRAWS = frozenset({"observed_data", "constant_data"})
"""Groups without draws."""


def to_arviz(
    posterior: Any = None,
    *,
    num_chains: int = 1,
    sample_stats: Any = None,
    log_likelihood: Any = None,
    posterior_predictive: Any = None,
    prior: Any = None,
    prior_predictive: Any = None,
    observed_data: DataLike = None,
    constant_data: DataLike = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
) -> Any:
    """Draws and what belongs to them as ArviZ's data.

    Each argument is a pytree of arrays: draws of a guide or of a conjugate posterior, models whose
    leaves are stacked over the draws, or a dict. A variable has the name of its place in the pytree,
    such as `components.loc`; a pytree that is one array has the name `theta` among the parameters, and
    `x` among data. Infinite values stay as they are; entries that `Masked` data declare missing are NaN.

    Args:
      posterior: leaves (S, ...), the draws of the first chain first.
      num_chains: C, which divides S. Draws of a guide or of a conjugate posterior are independent, so
        they are one chain.
      sample_stats: leaves (S, ...), such as the log density of each draw.
      log_likelihood: leaves (S, *shape of the data): log p(observation | draw), nats.
      posterior_predictive: leaves (S, *shape of the data).
      prior, prior_predictive: leaves (S', ...), as one chain.
      observed_data, constant_data: data without an axis of draws.
      dims: names of the axes of a variable, those of chains and draws left out.
      coords: labels of the entries along an axis that `dims` names.
    Returns:
      An `arviz.InferenceData`, or an `xarray.DataTree` from ArviZ 1 on, with a group for each argument
      that was given and variables of shape (C, S / C, ...).
    Raises:
      TypeError: for a leaf that is no array of numbers.
      ValueError: if nothing is given, the leaves of a group have no common leading axis, or num_chains
        does not divide it.

    Examples:
      >>> draws = {"loc": jnp.zeros((6, 2))}
      >>> data = to_arviz(draws, num_chains=2, dims={"loc": ["city"]}, coords={"city": ["a", "b"]})
      >>> dict(data["posterior"]["loc"].sizes)
      {'chain': 2, 'draw': 3, 'city': 2}
    """
    check_size("num_chains", num_chains)
    given = {
        "posterior": posterior,
        "sample_stats": sample_stats,
        "log_likelihood": log_likelihood,
        "posterior_predictive": posterior_predictive,
        "prior": prior,
        "prior_predictive": prior_predictive,
        "observed_data": observed_data,
        "constant_data": constant_data,
    }
    groups: dict[str, Any] = {
        group: _variables(group, tree, 1 if group.startswith("prior") else num_chains)
        for group, tree in given.items()
        if tree is not None
    }
    if not groups:
        raise ValueError("to_arviz: wanted a posterior or another group, got none")
    names: Any = {"dims": dict(dims or {}), "coords": dict(coords or {})}
    return arviz.from_dict(groups, **names) if _HAS_TREES else arviz.from_dict(**groups, **names)


def from_arviz(data: Any, group: str = "posterior") -> dict[str, Array]:
    """The variables of a group of ArviZ's data, with chains and draws on one leading axis.

    Args:
      data: an `arviz.InferenceData` or an `xarray.DataTree`.
      group: its name.
    Returns:
      A dict with an array (S, ...) for each variable, the draws of the first chain first, as `loo_of`
      and `predictive.simulate` take them; arrays (...) for a group without draws.
    Raises:
      TypeError: for a variable that does not hold numbers.
      ValueError: for a group that the data do not have.

    Examples:
      >>> data = to_arviz({"loc": jnp.arange(6.0)}, num_chains=2)
      >>> print(from_arviz(data)["loc"])
      [0. 1. 2. 3. 4. 5.]
    """
    held = sorted(name.strip("/") for name in (data.groups if _HAS_TREES else data.groups()))
    if group not in held:
        raise ValueError(
            f"from_arviz: group must be one of {[name for name in held if name]}, got {group!r}"
        )
    found = {}
    for name, variable in data[group].data_vars.items():
        if "draw" in variable.dims:
            variable = variable.transpose("chain", "draw", ...)
            values = variable.values.reshape(-1, *variable.shape[2:])
        else:
            values = variable.values
        found[str(name)] = as_array(str(name), values)
    return found


def to_elpd(
    result: Loo, *, num_draws: int, dim: str = "x_dim_0", labels: ArrayLike | None = None
) -> Any:
    """A leave-one-out result as ArviZ's, for `arviz.compare`, `plot_khat` and `plot_compare`.

    A comparison then needs no array of draws by observations, which `loo_of` never makes.

    Args:
      result: of `predictive.loo` or `loo_of` over N observations; also of `waic` for ArviZ 0.2x.
      num_draws: S, the number of draws that it was computed from.
      dim: name of the axis of observations.
      labels: (N,) labels along it; None for 0..N-1.
    Returns:
      An `ELPDData` with the pointwise values. The standard error is ArviZ's, with N where likelax
      has N - 1, so that it may stand beside those of `arviz.loo`. A pointwise value of -inf is kept:
      the sum is -inf and its standard error NaN.
    Raises:
      TypeError: for another result, or one of `waic`, which ArviZ 1 does not have.

    Examples:
      >>> from likelax.predictive import loo
      >>> draws = jax.random.normal(jax.random.key(0), (400, 1)) / 3
      >>> result = loo(-((jnp.linspace(-1.0, 1.0, 9)[None] - draws) ** 2) / 2)
      >>> print(to_elpd(result, num_draws=400).n_data_points)
      9
    """
    check_type("result", result, Loo)
    check_size("num_draws", num_draws)
    pointwise, k_hat = np.asarray(result.pointwise), np.asarray(result.k_hat)
    size = len(pointwise)
    kind = "waic" if np.isnan(k_hat).all() else "loo"
    error = float(result.standard_error)
    if not _HAS_TREES:
        error *= ((size - 1) / size) ** 0.5
    good_k = min(1 - 1 / math.log10(num_draws), 0.7) if num_draws > 1 else 0.7
    totals = float(result.value), error, float(result.num_parameters)
    coords = {dim: np.arange(size) if labels is None else np.asarray(labels)}
    each = xarray.DataArray(pointwise, dims=[dim], coords=coords, name=f"{kind}_i")
    shapes = xarray.DataArray(k_hat, dims=[dim], coords=coords, name="pareto_shape")
    warning = bool(np.any(k_hat > good_k) or not np.isfinite(pointwise).all())
    if not _HAS_TREES:
        fields = {
            **dict(zip((f"elpd_{kind}", "se", f"p_{kind}"), totals, strict=True)),
            "n_samples": num_draws,
            "n_data_points": size,
            "warning": warning,
            f"{kind}_i": each,
            **({"pareto_k": shapes} if kind == "loo" else {}),
            "scale": "log",
            **({"good_k": good_k} if kind == "loo" else {}),
        }
        return arviz.ELPDData(data=list(fields.values()), index=list(fields))
    if kind == "waic":
        raise TypeError("to_elpd: ArviZ 1 has no WAIC; use the result of predictive.loo")
    from arviz_stats.utils import ELPDDataLOO

    return ELPDDataLOO(
        **dict(zip(("elpd", "se", "p"), totals, strict=True)),
        n_samples=num_draws,
        n_data_points=size,
        scale="log",
        warning=warning,
        good_k=good_k,
        elpd_i=each,
        pareto_k=shapes,
    )


def _variables(group: str, tree: Any, num_chains: int) -> dict[str, np.ndarray]:
    """The leaves of a group by name, (C, S / C, ...), or as they are for data."""
    tree, observed = take_mask(tree)
    if observed is not None:
        tree = jax.tree.map(_with_nan, tree, observed)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    alone = "theta" if group in ("posterior", "prior") else "x"
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator=".") or alone: as_numpy(group, leaf)
        for path, leaf in leaves
    }
    if group in _WITHOUT_DRAWS:
        return arrays
    num_draws = check_draws(list(arrays.values()), name=group)
    if num_draws % num_chains:
        raise ValueError(
            f"num_chains must divide the {num_draws} draws of {group}, got {num_chains}"
        )
    return {name: a.reshape(num_chains, -1, *a.shape[1:]) for name, a in arrays.items()}


def _with_nan(values: Any, observed: Any) -> np.ndarray:
    return np.where(observed, values, np.nan)
