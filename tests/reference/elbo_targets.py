"""Random log joints of which the best normal bound is known: Gaussians, regressions, hierarchies.

The best bound of a regression is found in float64 NumPy: its expectations are one-dimensional
integrals, one for each row, by quadrature. Every log joint takes its data as an argument, so that
many targets of one shape are fitted by one compiled program.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

LOG_2PI = math.log(2 * math.pi)
NODES, MASSES = np.polynomial.hermite_e.hermegauss(48)
MASSES = MASSES / MASSES.sum()
SHAPE = 3.0  # of the negative binomial


class Gaussian(NamedTuple):
    """-(z - loc)' precision (z - loc) / 2."""

    loc: np.ndarray
    precision: np.ndarray

    @property
    def dim(self):
        return self.loc.shape[-1]

    def log_joint(self, z):
        off = z - self.loc
        return -off @ (self.precision @ off) / 2

    def best(self):
        """The log evidence in float64 of the matrix as it is in float32."""
        volume = np.linalg.slogdet(np.asarray(self.precision, np.float64))[1]
        return (self.dim * LOG_2PI - volume) / 2

    def elbo(self, loc, tril):
        precision = np.asarray(self.precision, np.float64)
        off = loc - np.asarray(self.loc, np.float64)
        square = off @ precision @ off + np.sum((tril.T @ precision) * tril.T)
        return -square / 2 + entropy(tril)


def entropy(tril):
    return np.log(np.diag(tril)).sum() + len(tril) * (1 + LOG_2PI) / 2


def gaussian(rng, dim, condition, shift):
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    precision = (axes * np.geomspace(1, condition, dim)[None]) @ axes.T
    precision = (precision + precision.T) / 2
    return Gaussian((shift * rng.normal(size=dim)).astype(np.float32), precision.astype(np.float32))


class Regression(NamedTuple):
    """log N(z; 0, prior_scale^2) + sum_n l(y_n, x_n z)."""

    kind: str
    features: np.ndarray
    target: np.ndarray
    prior_scale: float

    @property
    def dim(self):
        return self.features.shape[-1]

    def log_joint(self, z):
        eta = self.features @ z
        prior = -jnp.sum(z**2) / (2 * self.prior_scale**2) - self._log_prior_constant()
        return prior + jnp.sum(log_likelihood(self.kind, self.target, eta, jnp))

    def _log_prior_constant(self):
        return self.dim * (math.log(self.prior_scale) + LOG_2PI / 2)

    def elbo(self, loc, tril):
        """By quadrature over the linear predictor of each row."""
        value, _, _ = self._moments(loc, tril)
        return value

    def _moments(self, loc, tril):
        """The ELBO, the mean score and the mean curvature."""
        x, y = (np.asarray(a, np.float64) for a in (self.features, self.target))
        values, slopes, bends = expectations(
            self.kind, y, x @ loc, np.linalg.norm(x @ tril, axis=1)
        )
        square = loc @ loc + np.sum(tril**2)
        value = values.sum() - square / (2 * self.prior_scale**2) - self._log_prior_constant()
        score = x.T @ slopes - loc / self.prior_scale**2
        curvature = (x.T * bends[None]) @ x + np.eye(self.dim) / self.prior_scale**2
        return value + entropy(tril), score, curvature

    def best(self):
        """The largest ELBO of a normal: damped fixed points, all in float64."""
        loc, tril = np.zeros(self.dim), 1e-2 * np.eye(self.dim)
        tril /= np.maximum(1, np.abs(np.asarray(self.features)).max(0))
        value, score, curvature = self._moments(loc, tril)
        rate = 1.0
        for _ in range(500):
            now = np.linalg.inv(tril @ tril.T)
            precision = (1 - rate) * now + rate * curvature
            covariance = np.linalg.inv(precision)
            with np.errstate(over="ignore", invalid="ignore"):
                there = loc + rate * covariance @ score, np.linalg.cholesky(covariance)
                new = self._moments(*there)
            if not new[0] >= value - 1e-10 * abs(value):
                rate /= 2
                continue
            gain = new[0] - value
            (loc, tril), (value, score, curvature) = there, new
            rate = min(1.0, 2 * rate)
            if gain < 1e-9 * (1 + abs(value)) and rate == 1:
                break
        return value


def expectations(kind, y, mean, spread):
    """E l(y, eta), E l'(y, eta) and -E l''(y, eta), eta ~ N(mean, spread^2), of each row."""
    if kind == "poisson":
        rate = np.exp(mean + spread**2 / 2)
        return y * mean - rate - special.gammaln(y + 1), y - rate, rate
    nodes, masses = rule(spread.max())
    eta = mean[:, None] + spread[:, None] * nodes[None]
    terms = log_likelihood(kind, y[:, None], eta, np), *derivatives(kind, y[:, None], eta)
    return tuple(f @ masses for f in terms)


def rule(spread):
    """Nodes and masses for functions of eta that bend within a few units, such as log(1 + exp eta).

    Gauss's rule needs too many nodes if the normal is much wider than the bend; the error of
    equidistant ones at most one unit of eta apart is below exp(-2 pi^2).
    """
    if spread < 2:
        return NODES, MASSES
    nodes = np.linspace(-9, 9, 2 * math.ceil(9 * spread) + 1)
    masses = np.exp(-(nodes**2) / 2)
    return nodes, masses / masses.sum()


def log_likelihood(kind, y, eta, np_like):
    if kind == "logistic":
        return y * eta - np_like.logaddexp(0, eta)
    if kind == "poisson":
        return y * eta - np_like.exp(eta) - _gammaln(y + 1, np_like)
    constant = _gammaln(y + SHAPE, np_like) - math.lgamma(SHAPE) - _gammaln(y + 1, np_like)
    eta = eta - math.log(SHAPE)
    return y * eta - (y + SHAPE) * np_like.logaddexp(0, eta) + constant


def _gammaln(x, np_like):
    return special.gammaln(x) if np_like is np else jax.scipy.special.gammaln(x)


def derivatives(kind, y, eta):
    """First derivatives by eta, and negated second ones."""
    if kind == "poisson":
        return y - np.exp(eta), np.exp(eta)
    count, shift = (1.0, 0.0) if kind == "logistic" else (y + SHAPE, math.log(SHAPE))
    share = special.expit(eta - shift)
    return y - count * share, count * share * (1 - share)


def regression(rng, kind, num, dim, largest_scale):
    """`num` rows of `dim` features whose scales go from 1 to `largest_scale`."""
    x = rng.normal(size=(num, dim))
    eta = x @ rng.normal(size=dim) * min(1, 2 / math.sqrt(dim))
    if kind == "logistic":
        y = rng.random(num) < special.expit(eta)
    elif kind == "poisson":
        y = rng.poisson(np.exp(np.clip(eta, -8, 5)))
    else:
        rate = np.exp(np.clip(eta, -8, 5))
        y = rng.negative_binomial(SHAPE, SHAPE / (SHAPE + rate))
    scales = np.geomspace(1, largest_scale, dim)
    x = (x * scales[None]).astype(np.float32)
    return Regression(kind, x, y.astype(np.float32), 2.5)


class Hierarchy(NamedTuple):
    """Counts in groups: y ~ Poisson(exp(a + b x + u_g)), u_g ~ N(0, tau^2)."""

    centred: bool
    x: np.ndarray  # (J, R)
    y: np.ndarray

    @property
    def dim(self):
        return self.x.shape[-2] + 3

    def log_joint(self, z):
        a, b, log_tau, u = z[0], z[1], z[2], z[3:]
        tau = jnp.exp(log_tau)
        if self.centred:
            prior = -jnp.sum((u / tau) ** 2) / 2 - u.shape[0] * log_tau
            effect = u
        else:
            prior, effect = -jnp.sum(u**2) / 2, tau * u
        eta = a + b * self.x + effect[:, None]
        prior = prior - (a**2 + b**2) / 50 - log_tau**2 / 2
        prior = prior - 2 * math.log(5.0) - (u.shape[0] + 3) * LOG_2PI / 2
        return prior + jnp.sum(log_likelihood("poisson", self.y, eta, jnp))


def hierarchy(rng, num_groups, centred, size=10):
    x = rng.normal(size=(num_groups, size))
    u = rng.normal(size=(num_groups, 1)) * 0.5
    y = rng.poisson(np.exp(1 + 0.3 * x + u))
    return Hierarchy(centred, x.astype(np.float32), y.astype(np.float32))


def random_groups(seed=0):
    """500 targets in 48 groups of one shape: (name, list of targets)."""
    rng = np.random.default_rng(seed)
    groups = []
    for dim in (2, 4, 8, 16, 32, 64):
        targets = [
            gaussian(rng, dim, 10 ** rng.uniform(0, 6), rng.choice([0.0, 1.0, 10.0]))
            for _ in range(34 if dim < 32 else 32)
        ]
        groups.append((f"Gaussian {dim}", targets))
    for kind in ("logistic", "poisson", "negative binomial"):
        for num, dim in ((20, 3), (100, 5), (500, 10), (300, 20), (30, 40)):
            targets = [regression(rng, kind, num, dim, 30 ** rng.uniform(0, 1)) for _ in range(16)]
            groups.append((f"{kind} {num}x{dim}", targets))
    for num_groups in (8, 20, 50):
        for centred in (True, False):
            word = "centred" if centred else "not centred"
            targets = [hierarchy(rng, num_groups, centred) for _ in range(10)]
            groups.append((f"hierarchy {num_groups} {word}", targets))
    return groups


def stacked(targets):
    """One target whose arrays have a leading axis, of targets of one shape."""
    first = targets[0]
    arrays = [
        np.stack(parts) if isinstance(parts[0], np.ndarray) else parts[0]
        for parts in zip(*targets, strict=True)
    ]
    return type(first)(*arrays)
