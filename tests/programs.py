"""What a program would cost on an accelerator, counted on its jaxpr, from a machine that has none."""

import dataclasses
import math

import jax
import numpy as np
from jax._src.interpreters import partial_eval

CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "custom_vmap_call"}
# what XLA stores and does not fuse into its readers
STORED = {
    "dot_general",
    "sort",
    "gather",
    "scatter",
    "scatter-add",
    "concatenate",
    "cumsum",
    "scan",
    "while",
    "cond",
    "top_k",
    "dynamic_slice",
}


@dataclasses.dataclass
class Cost:
    """Costs of a program, for the branches of least steps, and of most.

    Attributes:
      steps, worst: trips through innermost loops, one after the other; a loop whose trips are not
        known counts once.
      unknown: how many such loops there are.
      stored: bytes of the largest array that is stored: carried or stacked by a loop, a product, ...
      float64, callbacks: whether there are any.
    """

    steps: int = 0
    worst: int = 0
    unknown: int = 0
    stored: int = 0
    float64: bool = False
    callbacks: bool = False

    def add(self, other):
        return Cost(
            self.steps + other.steps,
            self.worst + other.worst,
            self.unknown + other.unknown,
            max(self.stored, other.stored),
            self.float64 | other.float64,
            self.callbacks | other.callbacks,
        )

    def repeat(self, trips):
        return dataclasses.replace(
            self, steps=trips * max(1, self.steps), worst=trips * max(1, self.worst)
        )


def nbytes(aval):
    return math.prod(aval.shape) * aval.dtype.itemsize if hasattr(aval, "shape") else 0


def inner(eqn):
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


def of_equation(eqn, platform):
    name, avals = eqn.primitive.name, [v.aval for v in eqn.outvars]
    own = Cost(
        stored=max(map(nbytes, avals), default=0) if name in STORED else 0,
        float64=any(getattr(a, "dtype", None) in (np.float64, np.complex128) for a in avals),
        callbacks="callback" in name,
    )
    if name == "scan":
        (body,) = inner(eqn)
        return of_jaxpr(body, platform).repeat(eqn.params["length"]).add(own)
    if name == "while":
        body = of_jaxpr(eqn.params["body_jaxpr"].jaxpr, platform).repeat(1)
        return dataclasses.replace(body.add(own), unknown=body.unknown + 1)
    if name == "cond":
        branches = [of_jaxpr(b.jaxpr, platform) for b in eqn.params["branches"]]
        where = eqn.params.get("branches_platforms")
        if where is not None:
            # one of them is lowered
            return next(
                b for b, p in zip(branches, where, strict=True) if p is None or platform in p
            ).add(own)
        least = min(branches, key=lambda b: b.steps)
        both = dataclasses.replace(
            least,
            worst=max(b.worst for b in branches),
            stored=max(b.stored for b in branches),
            float64=any(b.float64 for b in branches),
            callbacks=any(b.callbacks for b in branches),
        )
        return both.add(own)
    if name in CALLS:
        return of_jaxpr(next(inner(eqn)), platform).add(own)
    return own


def of_jaxpr(jaxpr, platform):
    out = Cost()
    for eqn in jaxpr.eqns:
        out = out.add(of_equation(eqn, platform))
    return out


def cost(function, *shapes, platform="cuda"):
    """(`Cost` of a function of arrays of these shapes, bytes of its arguments and results).

    It is lowered for the platform too, which fails where a part of it cannot be.
    """
    traced = jax.jit(function).trace(*shapes)
    traced.lower(lowering_platforms=(platform,))
    # lowering drops what nothing reads
    live, _ = partial_eval.dce_jaxpr(traced.jaxpr.jaxpr, [True] * len(traced.jaxpr.out_avals))
    ends = (*jax.tree.leaves(shapes), *traced.jaxpr.out_avals)
    return of_jaxpr(live, platform), sum(map(nbytes, ends))
