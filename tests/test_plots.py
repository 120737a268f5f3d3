import matplotlib
import numpy as np
import pytest
from scipy import stats

from likelax import plots

RNG = np.random.default_rng(0)
TIME = np.arange(12)
SHARES = RNG.dirichlet(np.ones(3), 12)

DRAWINGS = {
    "bars": lambda ax: plots.bars(ax, ["a", "b"], [0.2, 0.8]),
    "curves": lambda ax: plots.curves(ax, TIME, [TIME, TIME**2], ["one", "two"], fill=True),
    "steps": lambda ax: plots.steps(ax, np.array([-9.0, -3.0, -2.5, -2.5, np.nan])),
    "membership": lambda ax: plots.membership(ax, TIME, TIME, SHARES),
    "ellipse": lambda ax: plots.ellipse(ax, np.zeros(2), np.eye(2)),
    "state_levels": lambda ax: plots.state_levels(ax, TIME, TIME, TIME // 4),
    "state_shares": lambda ax: plots.state_shares(ax, TIME, SHARES, ["x", "y", "z"]),
    "intervals": lambda ax: plots.intervals(ax, ["a"], [("one", [1.0], [0.0], [2.0])]),
    "reliability": lambda ax: plots.reliability(
        ax, [0.2, np.nan, 0.9], [0.3, np.nan, 0.8], [5, 0, 9], low=[0.1, 0, 0.6], high=[0.6, 1, 1]
    ),
    "predictive_check": lambda ax: plots.predictive_check(
        ax, 3.0, [("counts", RNG.poisson(3, 50)), ("more", RNG.poisson(5, 50))]
    ),
    "reliability, band": lambda ax: plots.reliability(
        ax, [0.2, np.nan, 0.9], [0.3, np.nan, 0.8], [5, 0, 9], band=([0.1, 0, 0.8], [0.3, 1, 1])
    ),
    "reliability, mass": lambda ax: plots.reliability(ax, [0.2, 0.9], [0.3, 0.8], [5, 9], mass=0.5),
    "corp": lambda ax: plots.corp(
        ax, np.linspace(0, 1, 30), np.linspace(0, 1, 30) ** 2, [0.01, 0.1, 0.2]
    ),
    "comparison": lambda ax: plots.comparison(ax, ["a", "b"], [0.0, -9.0], [0.0, 3.0]),
    "ecdf_difference": lambda ax: plots.ecdf_difference(
        ax, [0.25, 0.5, 0.75], [0.2, 0.7, 0.8], [0.1, 0.4, 0.6], [0.3, 0.6, 0.9]
    ),
    "chain_ranks": lambda ax: plots.chain_ranks(ax, RNG.normal(size=(3, 40)), num_bins=5),
    "rank_histogram": lambda ax: plots.rank_histogram(ax, RNG.multinomial(200, np.ones(10) / 10)),
    "coverage": lambda ax: plots.coverage(ax, [0.5, 0.9], [0.4, 0.8], low=[0.3, 0.7], high=[1, 1]),
    "predictive_overlay": lambda ax: plots.predictive_overlay(
        ax, RNG.poisson(3, 90), RNG.poisson(3, (20, 90))
    ),
    "predictive_band": lambda ax: plots.predictive_band(
        ax, TIME, TIME % 5, [(0.9, 0 * TIME, 0 * TIME + 3), (0.5, 0 * TIME + 1, 0 * TIME + 2)]
    ),
    "held_out": lambda ax: plots.held_out(ax, -1 / (1 + TIME), -1 / (1 + TIME) - TIME / 40),
    "density": lambda ax: plots.density(ax, TIME, SHARES[:, :2] / 9, RNG.uniform(0, 11, 60)),
    "verdicts": lambda ax: plots.verdicts(ax, ["claim"], [("model", ["NOT_RUN"])]),
}


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("dark", [False, True])
def test_every_plot_draws_on_the_axes_it_is_given(name, dark):
    def draw(figure):
        ax = figure.subplots()
        assert DRAWINGS[name](ax) is ax
        assert ax.has_data()

    assert plots.png(plots.figure(draw, size=(3, 2), dark=dark), dpi=50).startswith(b"\x89PNG")


def test_the_style_of_the_caller_is_left_alone():
    before = dict(matplotlib.rcParams)
    plots.figure(lambda figure: figure.subplots(), dark=True)
    assert dict(matplotlib.rcParams) == before


def test_ellipse_lies_at_its_radius():
    tril = np.array([[2.0, 0.0], [1.0, 0.5]])
    held = []
    plots.figure(lambda f: held.append(plots.ellipse(f.subplots(), [1.0, 2.0], tril, radii=(2.0,))))
    points = held[0].lines[0].get_xydata() - np.array([1.0, 2.0])
    # Mahalanobis distance by inversion of the covariance
    distance = np.einsum("ni,ij,nj->n", points, np.linalg.inv(tril @ tril.T), points)
    np.testing.assert_allclose(distance, 4.0, rtol=1e-9)


def test_predictive_check_gives_whole_numbers_a_bar_each():
    held = []
    draws = np.array([1, 1, 2, 4])
    plots.figure(
        lambda f: held.append(plots.predictive_check(f.subplots(), 2.0, [("draws", draws)]))
    )
    heights = [bar.get_height() for bar in held[0].patches]
    np.testing.assert_allclose(heights, [0.5, 0.25, 0.0, 0.25])


def test_ecdf_difference_marks_what_lies_outside():
    held = []
    plots.figure(lambda f: held.append(DRAWINGS["ecdf_difference"](f.subplots())))
    outside = held[0].collections[-1].get_offsets()
    np.testing.assert_allclose(outside, [[0.5, 0.2]])
    with pytest.raises(ValueError, match="mass must be"):
        plots.figure(lambda f: plots.rank_histogram(f.subplots(), [1, 2], mass=0.5))


def test_a_reliability_diagram_shows_binomial_bounds_by_default():
    count, probs = np.array([10.0, 1, 1000, 7, 50, 3]), np.array([0.5, 0.9, 0.01, 0, 1, 0.999])
    ax = matplotlib.figure.Figure().subplots()
    plots.reliability(ax, probs, probs, count, mass=0.9)
    corners = ax.collections[0].get_paths()[0].vertices
    for level, choose in ((0.05, np.min), (0.95, np.max)):
        want = stats.binom.ppf(level, count, probs) / count
        got = [choose(corners[np.isclose(corners[:, 0], p), 1]) for p in probs]
        np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ValueError, match="mass must lie in"):
        plots.reliability(ax, probs, probs, count, mass=95)


def test_bars_of_chains_count_the_ranks_of_all_draws():
    draws = np.random.default_rng(1).integers(0, 9, (3, 60)).astype(float)  # with ties
    ax = plots.chain_ranks(matplotlib.figure.Figure().subplots(), draws, num_bins=4)
    ranks = stats.rankdata(draws).reshape(draws.shape) - 0.5
    heights = np.array([[bar.get_height() for bar in bars] for bars in ax.containers])
    want = [np.histogram(row, bins=4, range=(0, 180))[0] for row in ranks]
    np.testing.assert_allclose(heights / heights.sum(1, keepdims=True) * 60, want)
    for wrong, message in (
        ((draws[0],), r"draws must have shape \(C, S\)"),
        ((np.full((2, 3), np.nan),), "draws must be numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.chain_ranks(ax, *wrong)
    with pytest.raises(ValueError, match="num_bins must be from 2 to 180"):
        plots.chain_ranks(ax, draws, num_bins=1)
