"""A parametric bootstrap of the likelihood ratio of two sizes, such as numbers of components."""

import functools
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax.data import DataLike, convert, is_plain
from likelax.fit._batch import batch
from likelax.fit._em import EM
from likelax.fit.algorithm import Algorithm
from likelax.fit.result import Fit, M
from likelax.numerics import chunks
from likelax.numerics.checks import checked


class BootstrapTest(NamedTuple, Generic[M]):
    """A likelihood ratio, and its distribution under the smaller model.

    Attributes:
      statistic: 2 (objective of the larger fit - objective of the smaller), a scalar in nats.
      replicates: (B,) the same of data sets drawn from the smaller fit; NaN where a fit failed.
      p_value: (1 + how many replicates reach the statistic) / (1 + B), a scalar; a NaN counts as one
        that does.
      smaller, larger: the two fits to the data.
    """

    statistic: Array
    replicates: Array
    p_value: Array
    smaller: Fit[M]
    larger: Fit[M]


@checked()
def bootstrap_test(
    key: Array,
    start: Callable[[Array, DataLike, Array], M],
    x: DataLike,
    *,
    sizes: ArrayLike | Sequence[int],
    num_restarts: int = 10,
    num_replicates: int = 99,
    algorithm: Algorithm | None = None,
    sample: Callable[[Array, M], DataLike] | None = None,
) -> BootstrapTest[M]:
    """Test a number of components against a larger one by a parametric bootstrap.

    The likelihood ratio of two mixtures is not chi-squared, since the smaller lies at the edge of the
    larger. So data sets are drawn from the smaller fit, and both sizes are fitted to each of them as
    to the data, from as many starts: all fits run as one `fit.batch`. Too few starts make the test
    conservative or liberal, since a larger fit that stops short has too small a likelihood. A
    replicate whose fits all collapsed counts as one that reaches the statistic; `EM(scale_floor=...)`
    avoids that.

    Args:
      key: random key.
      start: from (key, x, size) to the model to start from, as for `fit.batch`. Both sizes share one
        shape, as in `fit.at_points(key, x, K, size)`.
      x: data with leading axis N.
      sizes: (2,) integers, the smaller and the larger.
      num_restarts: R, starts of each fit.
      num_replicates: B, data sets that are drawn. The p-value is a multiple of 1 / (B + 1).
      algorithm: as for `fit.batch`; None is `fit.EM()`.
      sample: from (key, model) to a data set like x. None draws N rows, where x is not wrapped.
    Returns:
      `BootstrapTest`. The p-value is NaN if one of the fits to the data failed.
    Raises:
      ValueError: for other than two sizes in ascending order, data or options that `fit.batch` refuses,
        or wrapped data without sample.
    Source: McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of
      components in a normal mixture, Applied Statistics 36, 318-324.

    Examples:
      >>> from likelax import fit
      >>> x = jax.random.normal(jax.random.key(1), (40, 1)).at[20:].add(5.0)
      >>> start = lambda key, x, size: fit.at_points(key, x, 2, size)
      >>> test = bootstrap_test(
      ...     jax.random.key(0),
      ...     start,
      ...     x,
      ...     sizes=[1, 2],
      ...     num_replicates=19,
      ...     algorithm=fit.EM(scale_floor=0.5),
      ... )
      >>> print(f"{test.p_value:.2f}")  # no replicate reaches it
      0.05
    """
    x, sizes = convert("x", x), numerics.as_array("sizes", sizes)
    if sizes.shape != (2,) or not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise ValueError(
            f"fit.bootstrap_test: sizes must be two integers; got {sizes.dtype} of {sizes.shape}"
        )
    if not sizes[0] < sizes[1]:
        raise ValueError(f"fit.bootstrap_test: sizes must ascend; got {sizes.tolist()}")
    if sample is None:
        if not is_plain(x):
            raise ValueError(
                "fit.bootstrap_test: x must not be wrapped, or sample must draw data like it; got "
                f"{type(x).__name__}"
            )
        sample = _sampler(chunks.num_rows(x))
    algorithm = EM() if algorithm is None else algorithm
    key_fit, key_draw, key_replicates = jax.random.split(key, 3)

    def fits(key: Array, datasets: DataLike) -> Fit[M]:
        return batch(
            algorithm, start, datasets, key=key, num_restarts=num_restarts, sizes=sizes
        ).best

    found = jax.tree.map(lambda leaf: leaf[0], fits(key_fit, _stacked(x)))
    smaller, larger = (jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in (0, 1))
    draws = _draws(sample, jax.random.split(key_draw, num_replicates), smaller.model)
    statistic, replicates = _statistic(found), _statistic(fits(key_replicates, draws))
    # a replicate without a ratio counts as one that reaches it
    reached = 1 + jnp.sum(~(replicates < statistic))
    p_value = jnp.where(jnp.isnan(statistic), jnp.nan, reached / (1 + num_replicates))
    return BootstrapTest(statistic, replicates, p_value, smaller, larger)


@functools.cache
def _sampler(num_rows: int) -> Callable[[Array, M], DataLike]:
    return lambda key, model: model.sample(key, (num_rows,))


@functools.partial(jax.jit, static_argnums=0)
def _draws(sample: Callable[[Array, M], DataLike], keys: Array, model: M) -> DataLike:
    return jax.vmap(sample, in_axes=(0, None))(keys, model)


def _stacked(x: DataLike) -> DataLike:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)


def _statistic(fits: Fit[M]) -> Array:
    """From fits with a last axis of the two sizes."""
    objective = jnp.where(fits.usable, fits.objective, jnp.nan)
    return 2 * (objective[..., 1] - objective[..., 0])
