"""The table of families, used by the exports, the laws of the tests and the tables of the docs.

A new family is a file in this folder, its import here, and one `Entry`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from likelax.families.base import Prior as Prior
from likelax.families.bernoulli import Bernoulli as Bernoulli
from likelax.families.beta import Beta as Beta
from likelax.families.binomial import BetaBinomial as BetaBinomial
from likelax.families.binomial import BetaNegativeBinomial as BetaNegativeBinomial
from likelax.families.binomial import Binomial as Binomial
from likelax.families.binomial import Geometric as Geometric
from likelax.families.binomial import NegativeBinomial as NegativeBinomial
from likelax.families.categorical import Categorical as Categorical
from likelax.families.continuous import Laplace as Laplace
from likelax.families.continuous import LogNormal as LogNormal
from likelax.families.continuous import VonMises as VonMises
from likelax.families.continuous import Weibull as Weibull
from likelax.families.dirichlet import Dirichlet as Dirichlet
from likelax.families.exponential import Exponential as Exponential
from likelax.families.exponential import Lomax as Lomax
from likelax.families.gamma import Gamma as Gamma
from likelax.families.gamma import GammaGamma as GammaGamma
from likelax.families.gamma import GammaKnownShape as GammaKnownShape
from likelax.families.gamma import InverseGamma as InverseGamma
from likelax.families.gamma_pareto import GammaPareto as GammaPareto
from likelax.families.gamma_pareto import ParetoKnownScale as ParetoKnownScale
from likelax.families.gamma_poisson import GammaPoisson as GammaPoisson
from likelax.families.generalized_linear import LogisticRegression as LogisticRegression
from likelax.families.generalized_linear import (
    NegativeBinomialRegression as NegativeBinomialRegression,
)
from likelax.families.generalized_linear import PoissonRegression as PoissonRegression
from likelax.families.generalized_linear import SoftmaxRegression as SoftmaxRegression
from likelax.families.known import NormalKnownLoc as NormalKnownLoc
from likelax.families.known import NormalKnownScale as NormalKnownScale
from likelax.families.known import NormalMean as NormalMean
from likelax.families.linear_regression import LinearRegression as LinearRegression
from likelax.families.linear_regression import (
    MatrixNormalInverseWishart as MatrixNormalInverseWishart,
)
from likelax.families.multinomial import DirichletMultinomial as DirichletMultinomial
from likelax.families.multinomial import Multinomial as Multinomial
from likelax.families.mv_bernoulli import MvBernoulli as MvBernoulli
from likelax.families.mv_normal import MvNormal as MvNormal
from likelax.families.noisy_normal import NoisyNormal as NoisyNormal
from likelax.families.normal import Normal as Normal
from likelax.families.normal_inverse_gamma import NormalInverseGamma as NormalInverseGamma
from likelax.families.normal_inverse_wishart import NormalInverseWishart as NormalInverseWishart
from likelax.families.poisson import Poisson as Poisson
from likelax.families.ranges import Delta as Delta
from likelax.families.ranges import Pareto as Pareto
from likelax.families.ranges import ParetoUniform as ParetoUniform
from likelax.families.ranges import Uniform as Uniform
from likelax.families.ranges import UniformFromZero as UniformFromZero
from likelax.families.ridge import RidgePrior as RidgePrior
from likelax.families.spherical_normal import SphericalNormal as SphericalNormal
from likelax.families.student_t import MvStudentT as MvStudentT
from likelax.families.student_t import StudentT as StudentT
from likelax.model import Density


class Entry(NamedTuple):
    """One family.

    Attributes:
      family: the class.
      example: makes an instance whose every moment exists, if any of the family's does.
      prior: makes the prior that is conjugate to the example, or None.
      inputs: for a model of targets given inputs, the shape of one input; None for all others.
    """

    family: type[Density]
    example: Callable[[], Density]
    prior: Callable[[], Density] | None = None
    inputs: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.family.__name__

    def draw(self, model: Density, key: Array, shape: Sequence[int] = ()) -> Any:
        """Draws of a model of this family, given inputs between 0 and 1 if it takes inputs.

        Examples:
          >>> entry = next(e for e in FAMILIES if e.name == "Delta")
          >>> print(entry.draw(entry.example(), jax.random.key(0), (3,)))
          [2. 2. 2.]
        """
        if self.inputs is None:
            return model.sample(key, shape)
        key_inputs, key_targets = jax.random.split(key)
        inputs = jax.random.uniform(key_inputs, (*shape, *self.inputs))
        return model.sample_given(key_targets, inputs, shape)


def _tril() -> Array:
    return jnp.array([[1.2, 0.0], [0.4, 0.8]])


FAMILIES: tuple[Entry, ...] = (
    Entry(Bernoulli, lambda: Bernoulli(0.3), lambda: Beta(2.0, 3.0)),
    Entry(Beta, lambda: Beta(2.0, 3.0)),
    Entry(BetaBinomial, lambda: BetaBinomial(2.0, 3.0, total_count=5.0)),
    Entry(BetaNegativeBinomial, lambda: BetaNegativeBinomial(5.5, 2.0, total_count=3.0)),
    Entry(Binomial, lambda: Binomial(5.0, 0.3), lambda: Beta(2.0, 3.0)),
    Entry(
        Categorical,
        lambda: Categorical(jnp.array([0.2, 0.3, 0.5])),
        lambda: Dirichlet(jnp.array([2.0, 1.5, 3.0])),
    ),
    Entry(Delta, lambda: Delta(2.0)),
    Entry(Dirichlet, lambda: Dirichlet(jnp.array([2.0, 1.5, 3.0]))),
    Entry(
        DirichletMultinomial,
        lambda: DirichletMultinomial(jnp.array([2.0, 1.5, 3.0]), total_count=5.0),
    ),
    Entry(Exponential, lambda: Exponential(1.5), lambda: Gamma(3.0, 2.0)),
    Entry(Gamma, lambda: Gamma(3.0, 2.0)),
    Entry(GammaGamma, lambda: GammaGamma(5.5, 2.0, 1.5)),
    Entry(GammaKnownShape, lambda: GammaKnownShape(2.5, 1.5), lambda: Gamma(3.0, 2.0)),
    Entry(GammaPareto, lambda: GammaPareto(8.0, 2.0, 1.5)),
    Entry(GammaPoisson, lambda: GammaPoisson(2.5, 0.8)),
    Entry(Geometric, lambda: Geometric(0.4), lambda: Beta(2.0, 3.0)),
    Entry(InverseGamma, lambda: InverseGamma(5.5, 2.0)),
    Entry(Laplace, lambda: Laplace(0.3, 1.2)),
    Entry(
        LinearRegression,
        lambda: LinearRegression(jnp.array([[0.5, -1.0], [0.8, 0.3]]), _tril()),
        lambda: MatrixNormalInverseWishart(jnp.zeros((2, 2)), jnp.eye(2), 6.0, jnp.eye(2)),
        inputs=(2,),
    ),
    Entry(LogNormal, lambda: LogNormal(0.3, 0.6)),
    Entry(
        LogisticRegression,
        lambda: LogisticRegression(jnp.array([0.5, -1.0])),
        inputs=(2,),
    ),
    Entry(Lomax, lambda: Lomax(5.5, 2.0)),
    Entry(
        MatrixNormalInverseWishart,
        lambda: MatrixNormalInverseWishart(
            jnp.array([[0.5, -1.0], [0.8, 0.3]]), jnp.eye(2), 8.0, jnp.eye(2)
        ),
    ),
    Entry(
        Multinomial,
        lambda: Multinomial(jnp.array([0.2, 0.3, 0.5]), total_count=5.0),
        lambda: Dirichlet(jnp.array([2.0, 1.5, 3.0])),
    ),
    Entry(
        MvBernoulli,
        lambda: MvBernoulli(jnp.array([0.2, 0.7])),
        lambda: Beta(jnp.array([2.0, 1.0]), jnp.array([3.0, 1.5])),
    ),
    Entry(
        MvNormal,
        lambda: MvNormal(jnp.array([0.3, -0.2]), _tril()),
        lambda: NormalInverseWishart(jnp.zeros(2), 2.0, 5.0, 2.0 * jnp.eye(2)),
    ),
    Entry(MvStudentT, lambda: MvStudentT(6.0, jnp.array([0.3, -0.2]), _tril())),
    Entry(NegativeBinomial, lambda: NegativeBinomial(2.5, 0.4), lambda: Beta(2.0, 3.0)),
    Entry(
        NegativeBinomialRegression,
        lambda: NegativeBinomialRegression(2.5, jnp.array([0.5, -1.0])),
        inputs=(2,),
    ),
    Entry(
        NoisyNormal,
        lambda: NoisyNormal(0.3, 1.2),
        inputs=(),
    ),
    Entry(Normal, lambda: Normal(0.3, 1.2), lambda: NormalInverseGamma(0.1, 2.0, 3.0, 1.5)),
    Entry(NormalInverseGamma, lambda: NormalInverseGamma(0.1, 2.0, 5.5, 1.5)),
    Entry(
        NormalInverseWishart,
        lambda: NormalInverseWishart(jnp.zeros(2), 2.0, 8.0, 2.0 * jnp.eye(2)),
    ),
    Entry(NormalKnownLoc, lambda: NormalKnownLoc(0.3, 1.2), lambda: InverseGamma(3.0, 2.0)),
    Entry(NormalKnownScale, lambda: NormalKnownScale(0.3, 1.2), lambda: NormalMean(0.1, 2.0)),
    Entry(NormalMean, lambda: NormalMean(0.1, 2.0)),
    Entry(Pareto, lambda: Pareto(scale=1.5, shape=5.5)),
    Entry(
        ParetoKnownScale,
        lambda: ParetoKnownScale(scale=0.5, shape=5.5),
        lambda: Gamma(3.0, 2.0),
    ),
    Entry(ParetoUniform, lambda: ParetoUniform(scale=1.5, shape=5.5)),
    Entry(Poisson, lambda: Poisson(2.5), lambda: Gamma(3.0, 2.0)),
    Entry(PoissonRegression, lambda: PoissonRegression(jnp.array([0.5, -1.0])), inputs=(2,)),
    Entry(RidgePrior, lambda: RidgePrior(jnp.array([0.5, 2.0]))),
    Entry(
        SoftmaxRegression,
        lambda: SoftmaxRegression(jnp.array([[0.5, -1.0, 0.2], [0.8, 0.3, 0.0]])),
        inputs=(2,),
    ),
    Entry(
        SphericalNormal,
        lambda: SphericalNormal(jnp.array([0.3, -0.2]), 1.2),
        lambda: NormalInverseGamma(jnp.array([0.1, 0.2]), 2.0, 3.0, 1.5),
    ),
    Entry(StudentT, lambda: StudentT(6.0, 0.3, 1.2)),
    Entry(Uniform, lambda: Uniform(-0.5, 2.0)),
    Entry(UniformFromZero, lambda: UniformFromZero(2.0), lambda: Pareto(scale=1.0, shape=3.0)),
    Entry(VonMises, lambda: VonMises(0.3, 1.5)),
    Entry(Weibull, lambda: Weibull(shape=1.5, scale=2.0)),
)

if not TYPE_CHECKING:  # type checkers read the names from the imports
    __all__ = [entry.name for entry in FAMILIES]
