"""Writes crps_integrals.json: CRPS of families as integrals of squared distribution functions, by mpmath.

Run with mpmath installed: python tests/reference/make_crps_integrals.py
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

mp.mp.dps = 25
Function = Callable[[mp.mpf], mp.mpf]


def crps(lower: Function, upper: Function, x: mp.mpf, points: list[mp.mpf]) -> float:
    """Integral of lower^2 up to x and of upper^2 beyond, all mass being between the outer points."""
    points = sorted(set(points))
    seen = min(max(x, points[0]), points[-1])
    knots = sorted({*points, seen})
    total = abs(x - seen)
    for a, b in itertools.pairwise(knots):
        side = lower if b <= seen else upper
        total += mp.quad(lambda t, side=side: side(t) ** 2, [a, b])
    return float(total)


def spaced(center: mp.mpf, scale: mp.mpf, most: int) -> list[mp.mpf]:
    """Points at distances that double, on both sides of the center."""
    steps = [mp.mpf(2) ** k / 8 for k in range(most)]
    return [center, *(center + scale * s for s in steps), *(center - scale * s for s in steps)]


def tails(kind: str, dof: float) -> tuple[Function, Function]:
    """P(T <= t) and P(T > t) of a standard distribution."""
    if kind == "normal":
        return (lambda t: mp.erfc(-t / mp.sqrt(2)) / 2), (lambda t: mp.erfc(t / mp.sqrt(2)) / 2)
    if kind == "logistic":
        return (lambda t: 1 / (1 + mp.exp(-t))), (lambda t: 1 / (1 + mp.exp(t)))
    n = mp.mpf(dof)

    def above(t: mp.mpf) -> mp.mpf:
        far = mp.betainc(n / 2, 0.5, 0, n / (n + t * t), regularized=True) / 2
        return far if t > 0 else 1 - far

    return (lambda t: above(-t)), above


def limited(kind: str, censored: bool, dof: float, low: float, high: float, x: float) -> float:
    """CRPS of a standard distribution truncated or censored to [low, high]."""
    below, above = tails(kind, dof)
    low, high, x = mp.mpf(low), mp.mpf(high), mp.mpf(x)

    def between(a: mp.mpf, b: mp.mpf) -> mp.mpf:
        return above(a) - above(b) if a > 0 else below(b) - below(a)

    whole = between(low, high)
    low_mass, high_mass, rest = (
        (below(low), above(high), whole) if censored else (mp.mpf(0), mp.mpf(0), mp.mpf(1))
    )
    peak = min(max(mp.mpf(0), low), high)
    near = min(mp.mpf(1), high - low)
    inside = [p for p in spaced(peak, near, 90) if low < p < high]
    return crps(
        lambda t: low_mass + rest * between(low, t) / whole,
        lambda t: high_mass + rest * between(t, high) / whole,
        x,
        [low, high, *inside],
    )


def on_logs(below: Function, scale: float, x: float) -> float:
    """CRPS of exp(scale V), V with a symmetric distribution, as an integral over V."""
    scale, x = mp.mpf(scale), mp.mpf(x)
    at = mp.log(x) / scale
    knots = list(range(-120, 121, 4))
    far = 120 / (2 - scale) + 120
    first = min(at, mp.mpf(0)) - 120
    left = [first + (at - first) * k / 30 for k in range(31)]
    right = [at + (max(at, 0) - at + far) * k / 60 for k in range(61)]
    left = sorted({*left, *(k for k in knots if left[0] < k < at)})
    right = sorted({*right, *(k for k in knots if at < k < right[-1])})
    return float(
        scale
        * (
            mp.quad(lambda v: below(v) ** 2 * mp.exp(scale * v), left)
            + mp.quad(lambda v: below(-v) ** 2 * mp.exp(scale * v), right)
        )
    )


def extreme(shape: float, z: float) -> float:
    """CRPS of the standard generalised extreme value distribution, over v = log(-log F)."""
    xi, z = mp.mpf(shape), mp.mpf(z)
    v = -(mp.log1p(xi * z) / xi if xi else z)
    before = [v + (7 - v) * mp.mpf(k) / 30 for k in range(31)] if v < 7 else [v, v]
    start = min(v, mp.mpf(0)) - 70 / (2 - xi)
    after = [start + (v - start) * mp.mpf(k) / 60 for k in range(61)]
    return float(
        mp.quad(lambda t: mp.exp(-2 * mp.exp(t) - xi * t), before)
        + mp.quad(lambda t: mp.expm1(-mp.exp(t)) ** 2 * mp.exp(-xi * t), after)
    )


def pareto(shape: float, z: float) -> float:
    """CRPS of the standard generalised Pareto distribution, over u = -log S."""
    xi, z = mp.mpf(shape), mp.mpf(z)
    u = mp.log1p(xi * z) / xi if xi else z
    far = u + 80 / (2 - xi)
    return float(
        mp.quad(lambda t: mp.expm1(-t) ** 2 * mp.exp(xi * t), [u * k / 20 for k in range(21)])
        + mp.quad(lambda t: mp.exp((xi - 2) * t), [u + (far - u) * k / 30 for k in range(31)])
    )


def rain(a: float, rate: float, shift: float, x: float) -> float:
    """CRPS of a gamma, shifted to the left and censored at zero."""
    a, rate, shift, x = map(mp.mpf, (a, rate, shift, x))
    top = max((a + 12 * mp.sqrt(a) + 70) / rate - shift, 70 / rate)
    points = [mp.mpf(0), *(top / 2**k for k in range(24))]
    return crps(
        lambda t: mp.gammainc(a, 0, rate * (t + shift), regularized=True),
        lambda t: mp.gammainc(a, rate * (t + shift), mp.inf, regularized=True),
        x,
        points,
    )


def main() -> None:
    """Integrate, and write the values beside this file."""
    out: list[tuple[str, list[float], float, float]] = []
    # wide, narrow and far in a tail
    bounds = [
        (-1.0, 2.0, 0.25),
        (1.5, 1.501953125, 1.5009765625),
        (8.0, 9.0, 8.125),
        (-40.0, -6.0, 3.0),
    ]
    for kind, dof in (("normal", 0.0), ("logistic", 0.0), ("student_t", 0.75), ("student_t", 1.0)):
        for (low, high, x), censored in itertools.product(bounds, (False, True)):
            if (censored and high < 2) or (censored and low > 2):
                continue
            name = f"crps_{'censored' if censored else 'truncated'}_{kind}"
            parameters = [dof] * (kind == "student_t") + [0.0, 1.0, low, high]
            out.append((name, parameters, x, limited(kind, censored, dof, low, high, x)))

    def laplace(v: mp.mpf) -> mp.mpf:
        return mp.exp(v) / 2 if v < 0 else 1 - mp.exp(-v) / 2

    def logistic(v: mp.mpf) -> mp.mpf:
        return 1 / (1 + mp.exp(-v))

    for scale, x in itertools.product((0.0078125, 0.5, 1.0, 1.75), (0.25, 1.0078125, 40.0)):
        for name, below in (("crps_log_laplace", laplace), ("crps_log_logistic", logistic)):
            out.append((name, [0.0, scale], x, on_logs(below, scale, x)))
    for shape in (-2.0, -0.0009765625, 0.0, 0.25, 1.0, 1.75):
        for z in (-0.5, 0.25, 3.0):
            if shape * z > -1:
                name = "crps_generalized_extreme_value"
                out.append((name, [shape, 0.0, 1.0], z, extreme(shape, z)))
            if z > 0 and shape * z > -1:
                out.append(("crps_generalized_pareto", [shape, 0.0, 1.0], z, pareto(shape, z)))
    for case in ((0.5, 2.0, 0.125), (3.0, 1.0, 2.0), (3.0, 1.0, 24.0), (2000.0, 2.0, 1008.0)):
        for x in (0.0, 1.5):
            out.append(("crps_censored_shifted_gamma", list(case), x, rain(*case, x)))
    Path(__file__).with_name("crps_integrals.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
