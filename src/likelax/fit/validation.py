"""Eager validation of the arguments of `fit.*`. Kernels do not validate values."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from likelax.constraints import FieldChain, field_chains
from likelax.data import DataLike, check_data, convert, take_series, unlabelled
from likelax.families.registry import FAMILIES
from likelax.hmm.model import HMM
from likelax.mixture import Mixture
from likelax.model import Density, Model, check_part, check_possible, check_registration
from likelax.numerics import as_array
from likelax.numerics.checks import first_index, is_concrete
from likelax.one_of import OneOf
from likelax.parameters import check_parameters
from likelax.product import Independent, Product
from likelax.wrappers import Fixed, Wrapper


def check(
    name: str,
    model: Density,
    x: DataLike,
    weights: ArrayLike | None = None,
    *,
    by_m_step: bool = True,
    stacked: bool = False,
) -> tuple[DataLike, Array | None]:
    """Convert data and weights to JAX arrays; raise for invalid ones, or an invalid model.

    Values of traced arrays are not validated.

    Args:
      name: the function that was called, for the message.
      model: the start.
      x: data, plain or wrapped.
      weights: of the observations, or None.
      by_m_step: whether the fit calls `e_step` and `m_step`, which a `Density` does not have.
      stacked: whether `model` is several starts with a leading axis.
    Returns:
      (x, weights), converted by `data.convert`.
    Raises:
      TypeError: a model that does not derive from `likelax.Model`, or a class that JAX can confuse
        with another one (`model.check_registration`).
      ValueError: parameters out of range, a batch of models in place of one, empty data, a NaN that
        was not declared missing, an observation that is impossible whatever the parameters, a
        negative or NaN weight, a label that the model has no component for, or sequences of one
        step for an `HMM` whose transition is to be fitted.
    """
    check_models(name, model, by_m_step)
    _check_one_model(name, jax.tree.leaves(model), field_chains(model), stacked)
    x = convert(f"{name}: x", x)
    weights = None if weights is None else as_array(f"{name}: weights", weights)
    check_data(name, x)
    check_parameters(name, model)
    model.check_labels(name, x)
    _check_steps(name, model, x)
    one = jax.tree.map(lambda leaf: leaf[0], model) if stacked else model
    check_possible(name, one, x, weights)
    if weights is not None and is_concrete(weights):
        check_weights(f"{name}: weights", weights)
    return x, weights


def check_weights(name: str, weights: ArrayLike) -> None:
    """Raise for weights, whose values are known, that are negative, infinite or NaN.

    Raises:
      ValueError: naming the first of them.
    """
    array = np.asarray(weights)
    wrong = ~(array >= 0) | np.isinf(array)
    if wrong.any():
        raise ValueError(
            f"{name} must be finite and not negative; "
            f"got {array[wrong][0]} at index {first_index(wrong)}"
        )


def check_prior(name: str, model: Density, prior: Any) -> None:
    """Raise for a prior that is none of this model.

    Args:
      name: the function that was called, for the message.
      model: the start.
      prior: any object, or None for no prior.
    Raises:
      TypeError: starting with `name`.
    """
    if prior is None or not isinstance(model, Model):
        return
    try:
        jax.eval_shape(model.log_prior, prior)
    except AttributeError:
        raise TypeError(
            f"{name}: prior must be a prior of {type(model).__name__}; got {type(prior).__name__}"
        ) from None


def check_options(
    name: str, tol: Any, max_steps: Any, *, fewest: int, steps: str = "max_steps"
) -> None:
    """Raise for a tolerance or a number of steps that is out of range. Traced ones are let through.

    Args:
      name: the function that was called, for the message.
      tol: any number but NaN, or None.
      max_steps: an integer.
      fewest: the smallest valid max_steps.
      steps: what max_steps is called.
    Raises:
      TypeError: for something else than a number.
      ValueError: for a number out of range.
    """
    if tol is not None and is_concrete(tol):
        if np.asarray(tol).dtype.kind not in "iuf":
            raise TypeError(f"{name}: tol must be a number or None; got {tol!r}")
        if np.isnan(tol).any():
            raise ValueError(f"{name}: tol must be a number; got nan")
    if not is_concrete(max_steps):
        return
    if np.asarray(max_steps).dtype.kind not in "iu" or np.ndim(max_steps) != 0:
        raise TypeError(f"{name}: {steps} must be an integer; got {max_steps!r}")
    if max_steps < fewest:
        raise ValueError(f"{name}: {steps} must be {fewest} or more; got {max_steps}")


def check_scale_floor(name: str, floor: ArrayLike | None) -> None:
    """Raise unless a floor for scales is None or a positive number. Traced ones are let through.

    Raises:
      ValueError: naming what came.
    """
    if floor is None or not is_concrete(floor):
        return
    value = as_array(f"{name}: scale_floor", floor)
    if value.ndim != 0 or not 0 < value < np.inf:
        raise ValueError(f"{name}: scale_floor must be one positive number; got {floor!r}")


def _check_m_step(name: str, model: Density, chains: list[FieldChain]) -> None:
    """Raise for a part whose `e_step` and `m_step` the model calls and that does not have them."""
    if isinstance(model, Model) and all(
        isinstance(node, Model) for chain in chains for node, _, _ in chain
    ):
        return
    parts = {id(model): model}
    for chain in chains:
        for (node, field, _), (part, _, _) in itertools.pairwise(chain):
            if not isinstance(node, Density) or not isinstance(part, Density):
                break
            if field.name not in (*node.stacks, *node.repeats) and not isinstance(node, _WHOLE):
                break  # such as the prior of a variational node
            parts[id(part)] = part
    for part in parts.values():
        if not isinstance(part, Model):
            raise TypeError(
                f"{name}: {type(part).__name__} has no M step; fit the model by fit.gradient, or "
                "derive its class from likelax.Model"
            )


# Nodes whose methods call the same method of every part.
_WHOLE = (OneOf, Product, Wrapper)


def check_models(name: str, model: Density, by_m_step: bool) -> None:
    """Raise unless a start, or several stacked, is a model that the fit can use.

    Args:
      name, model, by_m_step: as for `check`.
    Raises:
      TypeError: as `check`.
    """
    check_part(name, "model", model)
    check_registration(name, model)
    if by_m_step:
        _check_m_step(name, model, field_chains(model))


# nodes that declare which of their fields hold several models; one of the user need not
_NODES = (HMM, Independent, Mixture, OneOf, Product, Wrapper)

# families whose field may have any number of axes
_OF_ANY_SHAPE = ("Delta", "NormalInverseGamma", "RidgePrior")


@functools.cache
def _axes_of_one() -> dict[tuple[type, str], int]:
    """The number of axes of each field of one distribution, by class and field."""
    found: dict[tuple[type, str], int] = {(Mixture, "weights"): 1}
    for entry in FAMILIES:
        # shapes alone: to make the arrays would compile
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(entry.example)):
            if entry.name not in _OF_ANY_SHAPE:
                found[entry.family, path[-1].name] = leaf.ndim
    return found


def _check_one_model(name: str, leaves: list[Any], chains: list[FieldChain], stacked: bool) -> None:
    """Raise for a field with more axes than its place in the model explains."""
    for leaf, chain in zip(leaves, chains, strict=True):
        last = chain[-1] if chain else None
        axes = _axes_of_one().get((type(last.node), last.field.name)) if last else None
        if last is None or axes is None or not all(isinstance(s.node, _NODES) for s in chain[:-1]):
            continue
        depth = sum(
            field.name in node.stacks or field.name in node.repeats
            for node, field, _ in chain
            if isinstance(node, Density)
        )
        if jnp.ndim(leaf) > depth + axes + stacked:
            field = f"{type(last.node).__name__}.{last.field.name}"
            raise ValueError(
                f"{name}: a model describes one distribution, but its {field} of shape "
                f"{jnp.shape(leaf)} are a batch; map over the batch with jax.vmap"
            )


def _check_steps(name: str, model: Density, x: DataLike) -> None:
    """Raise for sequences of one step each, from which no transition can be estimated."""
    node: Any = model
    while isinstance(node, Mixture | Wrapper) and not isinstance(node, Fixed):
        node = node.components if isinstance(node, Mixture) else node.model
    if not isinstance(node, HMM) or isinstance(node.transition, Fixed):
        return
    for chain in field_chains(node.emissions):
        if any(isinstance(part, Product) for part, _, _ in chain):
            return  # the fields of its data differ in their axes
    values = jax.tree.leaves(take_series(unlabelled(x))[0])[0]
    if jnp.ndim(values) <= model.event_ndim:
        return
    *batch, num_steps = np.shape(values)[: jnp.ndim(values) - model.event_ndim + 1]
    if num_steps == 1:
        count = int(np.prod(batch))
        raise ValueError(
            f"{name}: x of shape {jnp.shape(values)} is {count} sequences of one step each, from "
            f"which the transition can't be estimated; for one sequence of {count} steps give "
            "x[:, 0], or wrap the transition in Fixed"
        )
