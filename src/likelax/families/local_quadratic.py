"""A lower bound of a generalised linear model's log likelihood, from statistics that add.

About coefficients b0 let g and -H be the gradient and the Hessian of the log likelihood. Where no
step d changes a score (or, for several classes, a difference of two scores) by more than m in any
row, the third derivative along d is at most m times the second, so that

  log likelihood(b0 + d) >= log likelihood(b0) + g.d - (d.H d) psi(m),  psi(m) = (e^m - 1 - m) / m^2

With m = kappa sqrt(d.H d) the bound is a concave function of d that has the value, gradient and
Hessian of the log likelihood at b0. Its maximum is a Newton step, shortened by log(1 + m) / m.

Inputs far from zero make the Hessian of the plain coefficients singular to rounding. All is kept in
coefficients of other inputs, x' = x B: from every input so much of the one that varies least is
subtracted, such as a constant, that the rest is about zero. Then x . b = x' . b' with b = B b'.

Source: Bach (2010), Self-concordant analysis for logistic regression, Electronic Journal of
Statistics 4, 384-414; Sun & Tran-Dinh (2019), Mathematical Programming 178, 145-213.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from likelax import numerics
from likelax._pytree import pytree
from likelax.numerics.lapack import pseudo_inverse
from likelax.statistics import Merging


@pytree
class LocalQuadratic(Merging):
    """Value, gradient and curvature of a log likelihood about given coefficients.

    Those of two data sets add. If their coefficients or bases differ, the first is expressed in those
    of the second.

    Attributes:
      weight: (...) sum of the weights.
      at: (..., D, C) the coefficients.
      value: (...) log likelihood there, nats.
      basis: (..., D, D) the matrix B: coefficients are B times those of the inputs x B.
      slope: (..., D, C) gradient by the coefficients of x B.
      curvature: (..., D, C, D, C) Hessian by these, with the opposite sign.
      reach: (..., D) the largest |input| of x B of positive weight, or more.
    """

    weight: Array
    at: Array
    value: Array
    basis: Array
    slope: Array
    curvature: Array
    reach: Array

    def __add__(self, other: "LocalQuadratic") -> "LocalQuadratic":
        counts = (other.weight > 0)[..., None, None]
        at = jnp.where(counts, other.at, self.at)
        basis = jnp.where(counts, other.basis, self.basis)
        a, b = self.about(at)._in(basis), other.about(at)._in(basis)
        return LocalQuadratic(
            a.weight + b.weight,
            at,
            a.value + b.value,
            basis,
            a.slope + b.slope,
            a.curvature + b.curvature,
            jnp.maximum(a.reach, b.reach),
        )

    def scaled(self, factor: ArrayLike) -> "LocalQuadratic":
        """The statistics of the same data with every weight multiplied by `factor`."""
        return LocalQuadratic(
            self.weight * factor,
            self.at,
            self.value * factor,
            self.basis,
            self.slope * factor,
            self.curvature * factor,
            self.reach,
        )

    def about(self, at: Array) -> "LocalQuadratic":
        """The same quadratic with its value and slope at other coefficients."""
        step = _times(_inverse_basis(self.basis), at - self.at)
        bend = _product(self.curvature, step)
        value = self.value + jnp.sum((self.slope - bend / 2) * step, axis=(-2, -1))
        return LocalQuadratic(
            self.weight, at, value, self.basis, self.slope - bend, self.curvature, self.reach
        )

    def _in(self, basis: Array) -> "LocalQuadratic":
        """The same quadratic in the coefficients of other inputs."""
        move = _times(_inverse_basis(self.basis), basis)
        back = jnp.swapaxes(move, -1, -2)
        curvature = jnp.einsum(
            "...ij,...iakb,...kl->...jalb", move, self.curvature, move, precision="highest"
        )
        reach = _times(jnp.abs(back), self.reach[..., None])[..., 0]
        slope = _times(back, self.slope)
        return LocalQuadratic(self.weight, self.at, self.value, basis, slope, curvature, reach)


def _times(a: Array, b: Array) -> Array:
    return numerics.matmul(a, b)


def _inverse_basis(basis: Array) -> Array:
    # I - N with N N = 0
    eye = jnp.eye(basis.shape[-1], dtype=basis.dtype)
    return jnp.broadcast_to(2 * eye, basis.shape) - basis


def _choose_basis(inputs: Array, weights: Array) -> tuple[Array, Array]:
    """(inputs (N, D) times the basis, the basis (D, D))."""
    num_inputs = inputs.shape[1]
    counts = (weights > 0)[:, None]
    low = jnp.min(jnp.where(counts, inputs, jnp.inf), axis=0, initial=jnp.inf)
    high = jnp.max(jnp.where(counts, inputs, -jnp.inf), axis=0, initial=-jnp.inf)
    middle = low / 2 + high / 2
    usable = jnp.isfinite(middle) & (middle != 0)
    spread = jnp.where(usable, (high - low) / jnp.abs(jnp.where(usable, middle, 1)), jnp.inf)
    steady = jnp.argmin(spread)
    ratio = middle / jnp.where(usable, middle, 1)[steady]
    is_steady = jnp.arange(num_inputs) == steady
    ratio = jnp.where(is_steady | (spread[steady] > 0.5), 0, ratio)
    column = jnp.where(is_steady[None, :], inputs, 0).sum(axis=1, keepdims=True)
    eye = jnp.eye(num_inputs, dtype=inputs.dtype)
    basis = eye - jnp.where(is_steady[:, None], ratio[None, :], 0)
    return jnp.where(counts, inputs - column * ratio[None, :], 0), basis


def _product(curvature: Array, step: Array) -> Array:
    return jnp.einsum("...iajb,...jb->...ia", curvature, step, precision="highest")


def expand(
    inputs: Array, slope: Array, curvature: Array, weights: Array, at: Array, value: Array
) -> LocalQuadratic:
    """Statistics of N rows from the derivatives of their log densities with respect to their
    scores.

    Args:
      inputs: (N, D).
      slope: (N, C) first derivatives.
      curvature: (N, C, C) second derivatives with the opposite sign.
      weights: (N,); a row of weight zero has finite entries and adds nothing.
      at: (D, C) coefficients at which the derivatives were evaluated.
      value: scalar, log likelihood there, nats.
    """
    num_rows, num_inputs = inputs.shape
    num_scores = slope.shape[1]
    inputs, basis = _choose_basis(inputs, weights)
    columns = (weights[:, None, None] * curvature).reshape(num_rows, -1).T

    def gram(column: Array) -> Array:
        return numerics.row_products(inputs, inputs * column[:, None])

    # one pair of classes at a time: their products need not be in memory together
    blocks = jax.lax.map(gram, columns).reshape(num_scores, num_scores, num_inputs, num_inputs)
    counts = (weights > 0)[:, None]
    return LocalQuadratic(
        jnp.sum(weights),
        at,
        value,
        basis,
        numerics.row_products(inputs, weights[:, None] * slope),
        jnp.transpose(blocks, (2, 0, 3, 1)),
        jnp.max(jnp.where(counts, jnp.abs(inputs), 0), axis=0, initial=0),
    )


def lower_bound(stats: LocalQuadratic, coefficients: Array) -> Array:
    """The bound of this module at coefficients (D, C), nats."""
    step = _times(_inverse_basis(stats.basis), coefficients - stats.at)
    square = jnp.sum(step * _product(stats.curvature, step))
    kappa = _lever(_inverse(stats.curvature), stats.reach)
    positive = square > 0
    size = jnp.sqrt(kappa * jnp.where(positive, square, 1))
    cost = jnp.where(positive, _psi(size), 0.5)
    return stats.value + jnp.sum(stats.slope * step) - square * cost


def maximum(stats: LocalQuadratic, precision: Array) -> Array:
    """Coefficients (D, C) that maximise the bound, minus a ridge penalty.

    Linearly dependent inputs share their step; without data and penalty it is 0.

    Args:
      stats: about the current coefficients.
      precision: (D, C) of the penalty precision coefficients^2 / 2; 0 is none.
    """
    num = stats.at.size
    basis, eye = stats.basis, jnp.eye(precision.shape[1], dtype=precision.dtype)
    blocks = jnp.einsum("ij,ia,ik->jka", basis, precision, basis, precision="highest")
    ridge = jnp.einsum("jka,ab->jakb", blocks, eye)
    slope = stats.slope - _times(basis.T, precision * stats.at)
    inverse = _inverse(stats.curvature + ridge)
    newton = numerics.matmul(inverse.reshape(num, num), slope.reshape(-1))
    decrement = jnp.sum(newton * slope.reshape(-1))
    size = jnp.sqrt(_lever(inverse, stats.reach) * jnp.maximum(decrement, 0))
    shrink = jnp.where(size > 0, jnp.log1p(size) / jnp.where(size > 0, size, 1), 1)
    return stats.at + _times(basis, (shrink * newton).reshape(stats.at.shape))


def _inverse(curvature: Array) -> Array:
    """Pseudo-inverse of (D, C, D, C), equilibrated so that the units of inputs do not matter.

    All scores of an input have one scale, so that a step keeps the mean over softmax classes.
    """
    num_inputs, num_scores = curvature.shape[:2]
    num = num_inputs * num_scores
    matrix = curvature.reshape(num, num)
    size = jnp.sqrt(jnp.mean(jnp.diagonal(matrix).reshape(num_inputs, num_scores), axis=1))
    unit = jnp.repeat(jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0), num_scores)
    scale = unit[:, None] * unit[None, :]
    return (pseudo_inverse(matrix * scale) * scale).reshape(curvature.shape)


def _lever(inverse: Array, reach: Array) -> Array:
    """kappa^2: no step d changes scores by more than kappa sqrt(d.H d) in any row."""
    blocks = jnp.transpose(inverse, (1, 3, 0, 2))
    if blocks.shape[0] > 1:  # of several classes only differences count
        own = jnp.moveaxis(jnp.diagonal(blocks), -1, 0)
        shape = blocks.shape
        ones = jnp.broadcast_to(own[:, None], shape) + jnp.broadcast_to(own[None, :], shape)
        blocks = ones - blocks - jnp.swapaxes(blocks, 0, 1)
    boxes = jnp.abs(blocks) * (reach[:, None] * reach[None, :])[None, None]
    return jnp.max(jnp.sum(boxes, axis=(-2, -1)))


_SERIES = (1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320)


def _psi(m: Array) -> Array:
    """(e^m - 1 - m) / m^2 for m > 0, by its series where that would cancel."""
    small = m < 0.1
    near, far = jnp.where(small, m, 0), jnp.where(small, 1, m)
    series = jnp.zeros_like(m)
    for c in reversed(_SERIES):
        series = series * near + c
    return jnp.where(small, series, (jnp.expm1(far) - far) / far**2)
