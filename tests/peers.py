"""What holds for every distribution of another library as three components and three states."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx
from likelax.interop.external import lenient

WEIGHTS = np.array([0.2, 0.3, 0.5])
MOVES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])


class Case(NamedTuple):
    """A family: what its constructor takes, and points off its support.

    Attributes:
      parameters: of one distribution, by name.
      vary: names of those that are multiplied by 1, 1.1 and 1.2 in the three distributions.
      options: keywords that all three share.
      off: observations of density 0.
      has_gradient: whether the library differentiates the log density.
      leaks: whether the library's own sampler leaks tracers.
    """

    parameters: dict[str, Any]
    vary: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    off: tuple[Any, ...] = ()
    has_gradient: bool = True
    leaks: bool = False


def three(case: Case, shift: float = 0.0) -> list[dict[str, np.ndarray]]:
    """The parameters of each of the three distributions."""
    return [
        {
            name: np.asarray(value) * ((1 + 0.1 * k + shift) if name in case.vary else 1)
            if np.asarray(value).dtype.kind == "f"
            else np.asarray(value)
            for name, value in case.parameters.items()
        }
        for k in range(3)
    ]


def stacked(each: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    found = {name: np.stack([one[name] for one in each]) for name in each[0]}
    return {
        name: jnp.asarray(value, jnp.float32 if value.dtype.kind == "f" else jnp.int32)
        for name, value in found.items()
    }


def check(
    density: Callable[..., Any],
    kind: Callable[..., Any],
    case: Case,
    log_prob: Callable[[Any, Any], Any],
    sample: Callable[[Any, Any, int], Any],
) -> None:
    """Log densities, gradients and shapes of draws of a mixture and a chain, against the library.

    Args:
      density: the adapter.
      kind: the library's constructor.
      log_prob: (their distribution, x (N, ...)) -> (N,).
      sample: (their distribution, key, N) -> N draws.
    """
    each = three(case)
    parts = density(kind, **stacked(each), **case.options)
    mixture = lx.Mixture(jnp.asarray(WEIGHTS, jnp.float32), parts)
    chain = lx.HMM(mixture.weights, jnp.asarray(MOVES, jnp.float32), parts)
    with lenient():
        theirs = [
            kind(
                **{
                    n: jnp.asarray(v, jnp.float32 if v.dtype.kind == "f" else None)
                    for n, v in one.items()
                },
                **case.options,
            )
            for one in each
        ]
        x = jnp.asarray(
            np.concatenate([np.asarray(sample(d, jax.random.key(7), 2)) for d in theirs])
        )
        log_lik = np.stack([np.asarray(log_prob(d, x)) for d in theirs], axis=1).astype(float)
    event = x.shape[1:]
    assert np.isfinite(log_lik).any(axis=1).all()

    @jax.jit
    def judge(mixture, chain, x):
        def total(mixture):
            return jnp.sum(mixture.log_prob(x))

        slopes = jax.grad(total, allow_int=True)(mixture) if case.has_gradient else mixture.weights
        draws = mixture.sample(jax.random.key(0), (4,)), chain.sample(jax.random.key(1), (2, 5))
        return mixture.log_prob(x), chain.log_prob(x), slopes, draws

    # the settings of the tests are stricter than the libraries allow
    with lenient(), contextlib.nullcontext() if case.leaks else jax.checking_leaks():
        got, of_chain, slopes, (drawn, path) = judge(mixture, chain, x)
    with np.errstate(divide="ignore"):
        want = np.log(np.exp(log_lik) @ WEIGHTS)
        ahead = WEIGHTS * np.exp(log_lik[0])
        for row in log_lik[1:]:
            ahead = (ahead @ MOVES) * np.exp(row)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(of_chain, np.log(ahead.sum()), rtol=2e-4, atol=2e-3)
    for slope in jax.tree.leaves(slopes):
        if slope.dtype != jax.dtypes.float0:
            assert np.isfinite(slope).all()
    assert parts.event_ndim == len(event)
    assert drawn.shape == (4, *event) and path.shape == (2, 5, *event)
    # other values, and a new call of the adapter: the same program
    again = density(kind, **stacked(three(case, 0.05)), **case.options)
    again = lx.Mixture(mixture.weights, again), dataclasses.replace(chain, emissions=again)
    with lenient():
        judge(*again, x)
    assert judge._cache_size() == 1
    if case.off:
        off = jnp.asarray(np.asarray(case.off, x.dtype))
        assert (mixture.log_prob(off) == -jnp.inf).all()
        if case.has_gradient:
            with lenient():
                slopes = jax.grad(lambda m: m.stacked_log_prob(off).sum(), allow_int=True)(parts)
            leaves = [s for s in jax.tree.leaves(slopes) if s.dtype != jax.dtypes.float0]
            assert all(np.isfinite(leaf).all() for leaf in leaves)
