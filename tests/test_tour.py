import math
import textwrap

import numpy as np
import pytest

from likelax import tour
from likelax.tour.chapter import Check

# those that compile little; `make test-all` and `make tour` walk through the others
QUICK = {"normalise", "bernoulli", "responsibilities"}

NOTEBOOK = [
    "normalise",
    "bernoulli",
    "beta-bernoulli",
    "naive-bayes",
    "responsibilities",
    "em",
    "forward",
    "viterbi",
    "monte-carlo",
    "elbo",
    "calibration",
    "posterior-predictive",
    "checklist",
]


def by_speed(chapter):
    marks = () if chapter.name in QUICK else (pytest.mark.slow,)
    return pytest.param(chapter, id=chapter.name, marks=marks)


def test_the_chapters_follow_the_notebook():
    assert [chapter.name for chapter in tour.CHAPTERS] == NOTEBOOK


@pytest.mark.parametrize("chapter", [by_speed(c) for c in tour.CHAPTERS])
def test_every_number_of_a_chapter_is_right(chapter):
    findings = chapter.run()
    assert [check.what for check in findings.checks if not check.ok] == []
    assert any("notebook" in check.source for check in findings.checks)
    assert findings.drawing.png().startswith(b"\x89PNG")
    assert len(findings.story) >= 2 and findings.drawing.alt and findings.drawing.caption


@pytest.mark.parametrize("chapter", [by_speed(c) for c in tour.CHAPTERS])
def test_the_code_of_a_chapter_runs_as_it_stands(chapter):
    exec(compile(textwrap.dedent(chapter.code), chapter.name, "exec"), {})


@pytest.mark.parametrize(
    ("ours", "wanted", "tolerance", "relation", "ok"),
    [
        (1.0, 1.05, 0.1, "=", True),
        (1.0, 1.2, 0.1, "=", False),
        (math.nan, math.nan, 1.0, "=", False),
        (math.nan, 0.0, 1.0, "<", False),
        (-math.inf, -math.inf, 0.0, "=", True),
        (-math.inf, 0.0, 1.0, "=", False),
        ((1.0, 2.0), (1.0, 2.5), 0.1, "=", False),
        ((1.0, 2.0), 1.0, 9.0, "=", False),
        (2.0, 1.0, 0.0, ">", True),
        (0.5, 1.0, 0.0, ">", False),
        (0.5, 1.0, 0.0, "<", True),
        (1.5, 1.0, 0.1, "<", False),
    ],
)
def test_a_check_knows_right_from_wrong(ours, wanted, tolerance, relation, ok):
    assert Check("x", ours, wanted, "a test", tolerance, relation).ok is ok


def test_chapters_come_in_order_whatever_the_order_of_names():
    assert [c.name for c in tour.find(["elbo", "normalise"])] == ["normalise", "elbo"]
    assert tour.find([]) == list(tour.CHAPTERS)
    with pytest.raises(ValueError, match="no chapter is called 'x'; the chapters are normalise,"):
        tour.find(["x"])


def test_two_threads_do_not_fit_twice():
    from concurrent.futures import ThreadPoolExecutor

    from likelax.tour.fits import once

    calls = []

    @once
    def slow(x):
        calls.append(x)
        return np.array(x)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(slow, [1, 1, 1, 2]))
    assert sorted(calls) == [1, 2]
    assert results[0] is results[1]
