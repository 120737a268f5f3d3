"""Order of states: match the states of two models, and reorder them."""

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.hmm.model import HMM
from likelax.hmm.transitions import SoftmaxTransition
from likelax.numerics.checks import check_numbers, checked, known


def match_states(agreement: ArrayLike) -> Array:
    """The permutation of states under which two labellings of the same steps agree most.

    order = argmax over permutations of sum_i agreement[i, order[i]]

    Args:
      agreement: (K, K) how well state j of the second matches state i of the first: for example the
        number of steps at which two paths are in i and j, or minus a distance of parameters.
    Returns:
      (K,) integers: state i of the first is order[i] of the second, as `relabel` takes it.
    Raises:
      ValueError: if the shape is not square, or an entry is NaN.
    Source: Kuhn (1955), Naval Research Logistics Quarterly 2, 83-97, as optax has it.

    Examples:
      >>> true, decoded = jnp.array([0, 0, 1, 1, 2]), jnp.array([2, 2, 0, 0, 1])
      >>> together = jnp.zeros((3, 3)).at[true, decoded].add(1.0)
      >>> print(match_states(together))
      [2 0 1]
    """
    (agreement,) = numerics.named_floats(agreement=agreement)
    if agreement.ndim != 2 or agreement.shape[0] != agreement.shape[1]:
        raise ValueError(f"match_states: agreement must have shape (K, K); got {agreement.shape}")
    check_numbers(agreement=agreement)
    return _match(agreement)


@jax.jit
def _match(agreement: Array) -> Array:
    rows, columns = optax.assignment.hungarian_algorithm(-agreement)
    return jnp.zeros_like(columns).at[rows].set(columns)


@checked()
def relabel(model: HMM, order: ArrayLike) -> HMM:
    """The same model with its states renamed: new state i is old state order[i].

    Args:
      model: any HMM.
      order: (K,) a permutation of 0..K-1.
    Returns:
      `HMM` that gives every sequence the same probability.
    Raises:
      TypeError: if the model is no `HMM`.
      ValueError: if order is not a permutation of K integers.
    Source: Stephens (2000), JRSS B 62, 795-809, on label switching.

    Examples:
      >>> from likelax.families import Poisson
      >>> model = HMM(jnp.array([0.9, 0.1]), jnp.eye(2), Poisson(jnp.array([5.0, 1.0])))
      >>> print(relabel(model, jnp.argsort(model.emissions.rate)).initial)
      [0.1 0.9]
    """
    if not isinstance(model, HMM):
        raise TypeError(f"relabel: model must be an HMM, got {model!r}")
    model.check_shapes("relabel")
    order = numerics.as_array("order", order)
    if order.shape != (model.num_states,) or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(
            f"relabel: order must be integers of shape (K,) = ({model.num_states},); "
            f"got {order.dtype} of shape {order.shape}"
        )
    values = known(order)
    if values is not None and sorted(values.tolist()) != list(range(model.num_states)):
        raise ValueError(f"relabel: order must be a permutation of 0..K-1, got {values}")

    def vectors(leaf: ArrayLike) -> Array:
        return jnp.asarray(leaf)[order]

    def moves(leaf: ArrayLike) -> Array:
        return jnp.asarray(leaf)[..., order, :][..., order]

    def driven(leaf: ArrayLike) -> Array:
        return jnp.asarray(leaf)[order][:, order]

    each = driven if isinstance(model.transition, SoftmaxTransition) else moves
    return HMM(
        jax.tree.map(vectors, model.initial),
        jax.tree.map(each, model.transition),
        jax.tree.map(vectors, model.emissions),
    )
