"""Which fits are so small that their compilation takes longer than they do."""

from functools import lru_cache
from typing import Any

import jax
from jax import Array

from likelax.numerics.checks import is_concrete
from likelax.variational.estimators import density

# Numbers computed for the log joints of one step up to which a fit takes milliseconds.
FEW_NUMBERS = 2**22


def is_light(key: Array, log_joint: Any, guide: Any, num_draws: int) -> bool:
    """Whether to compile a fit with few optimizations, as far as it is the library that compiles.

    Args:
      key: a typed key.
      log_joint: one draw of the latents -> scalar.
      guide: the start, whose leaves are arrays.
      num_draws: draws of one step, of all guides.
    """
    leaves, structure = jax.tree.flatten((key, guide))
    if not all(is_concrete(leaf) for leaf in leaves):
        return False
    types = tuple(jax.typeof(leaf) for leaf in leaves)
    return num_draws * _numbers_of_a_draw(log_joint, structure, types) <= FEW_NUMBERS


@lru_cache(maxsize=256)
def _numbers_of_a_draw(log_joint: Any, structure: Any, types: tuple[Any, ...]) -> float:
    def one(key: Array, guide: Any) -> Array:
        target, base, _ = density(log_joint, guide)
        value: Array = target(base.sample(key))
        return value

    return _numbers(jax.make_jaxpr(one)(*jax.tree.unflatten(structure, types)).jaxpr)


def _numbers(program: Any) -> float:
    """How many numbers a program computes; infinity where a loop has no known length."""
    total = 0.0
    for equation in program.eqns:
        if equation.primitive.name == "while":
            return float("inf")
        inner = [getattr(part, "jaxpr", part) for part in jax.tree.leaves(equation.params)]
        times = equation.params.get("length", 1)
        total += times * sum(_numbers(part) for part in inner if hasattr(part, "eqns"))
        total += sum(getattr(out.aval, "size", 1) for out in equation.outvars)
    return total
