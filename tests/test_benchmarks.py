"""The benchmark page and the README's tables are what the stored results say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("page", ROOT / "benchmarks" / "page.py")
page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page)


def row(task, who, ratio, answer="same answer", **other):
    times = {"first_ms": 1234.5, "median_ms": ratio, "best_ms": ratio, "memory_mb": None}
    return {"task": task, "who": who, "ratio": ratio, "answer": answer, **times, **other}


SETTING = {
    "device": "cpu x 1",
    "processors": 2,
    "platform": "P",
    "python": "3",
    "date": "2026-11-28",
    "load": 0.1,
    "versions": {"jax": "0.10", "gmmx": "absent"},
    "limits": {"matrix_gflops": 100.0, "exp_g": 2.0, "memory_gb": 30.0},
}
RESULT = {
    "setting": SETTING,
    "commit": "abc",
    "rows": [
        row("one", "likelax", 1.0),
        row("one", "gmmx", 12.3),
        row("one", "scikit-learn", 0.5),
        row("two", "likelax", 1.0),
        row("two", "scikit-learn", 2.0, "DIFFERS by 3"),
        row("three", "likelax", 1.0),
        row("three", "bare scan", 0.25),
    ],
}


def test_a_page_says_where_peers_are_faster_and_where_they_differ():
    results = {"gmm": RESULT}
    assert page.losses(results) == [
        ["three", "bare scan", "0.25", "same answer"],
        ["one", "scikit-learn", "0.50", "same answer"],
    ]
    assert page.wrong(results) == [["two", "scikit-learn", "DIFFERS by 3"]]
    text = page.text(results)
    assert "| one | likelax | 1 ms | 1.00 | 1.23 s |  | same answer |" in text
    assert "abc, 2 processors" in text and "gmmx absent" not in text


def test_the_table_of_the_readme_has_a_column_for_each_peer():
    old = "before\n<!-- bench:gmm -->\nwhat was\n<!-- /bench -->\nafter"
    new = page.readme(old, {"gmm": RESULT})
    assert new.startswith("before\n<!-- bench:gmm -->\n| work | likelax | scikit-learn | gmmx |")
    assert "| one | 1 ms | 0.50 | 12 |\n| two | 1 ms | 2.00 |  |\n\n" in new
    assert "three" not in new and "what was" not in new and new.endswith("<!-- /bench -->\nafter")
    assert page.readme(new, {"gmm": RESULT}) == new


@pytest.mark.skipif(not page.RESULTS.exists(), reason="make bench has not been run")
def test_page_and_readme_are_made_from_the_results():
    results = page.load()
    assert page.PAGE.read_text(encoding="utf-8") == page.text(results)
    old = page.ROOT.joinpath("README.md").read_text(encoding="utf-8")
    assert page.readme(old, results) == old
