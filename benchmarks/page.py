"""Make docs/benchmarks.md, its pictures, and the README's tables from benchmarks/results/cpu.json.

Run: python benchmarks/page.py. `text` and `readme` need the standard library alone, so the tests can compare
what is in the repository with the results.
"""

import json
import math
import re
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "cpu.json"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"

Results = dict[str, Any]
Row = dict[str, Any]

TITLES = {
    "hmm": "Hidden Markov kernels",
    "baum_welch": "Baum-Welch",
    "gmm": "Gaussian mixtures by EM",
    "estimators": "Through the estimators",
    "naive_bayes": "Naive Bayes",
    "conjugate": "Conjugate updates",
    "batch": "Thousands of fits",
    "variational": "Variational fits and gradient ascent",
    "elbo_targets": "Where ELBO fits end",
    "monte_carlo": "Monte Carlo",
    "loo": "Leave-one-out",
    "scoring": "Scores of ensembles",
    "calibration": "Calibration",
    "stream": "Rows read from disk",
    "sizes": "Time against size",
}
# The README's tables: the files, the heading of the first column, and the peers' columns.
TABLES: dict[str, tuple[tuple[str, ...], str, dict[str, tuple[str, ...]]]] = {
    "hmm": (
        ("hmm", "baum_welch"),
        "work",
        {
            "hmmlearn": ("hmmlearn scaling", "hmmlearn"),
            "dynamax": ("dynamax", "dynamax two-filter"),
        },
    ),
    "gmm": (("gmm",), "work", {"scikit-learn": ("scikit-learn",), "gmmx": ("gmmx",)}),
    "naive_bayes": (("naive_bayes",), "work", {"scikit-learn": ("scikit-learn",)}),
}


def load() -> Results:
    """All results, by file, in the page's order."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {name: found[name] for name in TITLES if name in found}


def tasks(result: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    """(task, its rows, ours first) of one file."""
    groups = groupby(result["rows"], key=lambda row: row["task"])
    return [(_spaced(task), list(rows)) for task, rows in groups]


def _spaced(task: str) -> str:
    """Sizes as people write them: "chain T100000 K2" is "chain, T 100 000, K 2"."""
    return re.sub(r",?\s+([A-Z])=?(\d+)\b", _size, task)


def _size(found: re.Match[str]) -> str:
    number = f"{int(found[2]):,}".replace(",", " ")
    return f", {found[1]} {number}"


def time_of(ms: float | None) -> str:
    """A time in words: 3 digits, ms or s."""
    if ms is None or math.isnan(ms):
        return ""
    return f"{ms / 1e3:.3g} s" if ms >= 1e3 else f"{ms:.3g} ms"


def ratio_of(ratio: float) -> str:
    """A ratio in words: two decimals below ten."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def setting(result: dict[str, Any]) -> str:
    """What a file ran on, one sentence or two."""
    s = result["setting"]
    versions = ", ".join(f"{name} {v}" for name, v in s["versions"].items() if v != "absent")
    rates = s["limits"]
    return (
        f"{s['date']}, commit {result['commit']}, {s['processors']} processors ({s['platform']}), "
        f"Python {s['python']}, {versions}; load before the run {s['load']:.1f}. This machine in this run: "
        f"{rates['matrix_gflops']:.0f} GFLOP/s of float32 matrix product, {rates['exp_g']:.1f} G exp a second, "
        f"{rates['memory_gb']:.0f} GB/s of memory."
    )


def losses(results: Results) -> list[list[str]]:
    """Rows in which a peer took less time than likelax, the widest gap first."""
    lost = [
        (row["ratio"], [task, row["who"], ratio_of(row["ratio"]), row["answer"]])
        for result in results.values()
        for task, rows in tasks(result)
        for row in rows[1:]
        if row["ratio"] < 1
    ]
    return [cells for _, cells in sorted(lost)]


def wrong(results: Results) -> list[list[str]]:
    """Rows in which a peer gave another answer."""
    return [
        [task, row["who"], row["answer"]]
        for result in results.values()
        for task, rows in tasks(result)
        for row in rows[1:]
        if row["answer"].startswith(("DIFFERS", "ANOTHER", "never"))
    ]


def section(name: str, result: dict[str, Any]) -> str:
    """All rows of one file."""
    body = [
        [
            task if i == 0 else "",
            row["who"],
            time_of(row["median_ms"]),
            ratio_of(row["ratio"]),
            time_of(row["first_ms"]),
            "" if row["memory_mb"] is None else f"{row['memory_mb']:.0f} MB",
            row["answer"],
        ]
        for task, rows in tasks(result)
        for i, row in enumerate(rows)
    ]
    head = ["work", "who", "median", "ratio", "first call", "memory", "answer"]
    return f"## {TITLES[name]}\n\n`benchmarks/bench_{name}.py`: {setting(result)}\n\n{table(head, body)}\n"


def text(results: Results) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        "Made by `python benchmarks/page.py` from `benchmarks/results/cpu.json`, which `make bench` writes.\n"
        "Do not edit it by hand.",
        "Each contender gets the same data and compiles before the clock starts. The contenders of a row take\n"
        "turns, so that what else the machine does falls on all of them. A ratio is the contender's median time\n"
        "over that of likelax: above 1 likelax is faster. Ratios are to be compared within one run only. Memory\n"
        "is what the process grew by during one more call, arguments not counted.",
        "![For each task, how many times as long the nearest peer takes as likelax, on a logarithmic\n"
        "scale](images/bench_ratios.svg)",
        "![Time against size: the log likelihood of a hidden Markov chain, and ten steps of EM of a Gaussian\n"
        "mixture, for likelax and its peers, with the time that the machine's limits allow](images/bench_sizes.svg)",
        "## Where likelax is slower",
        table(["work", "who", "ratio", "answer"], losses(results))
        if losses(results)
        else "Nowhere.",
        "## Where a peer gives another answer",
        table(["work", "who", "answer"], wrong(results)) if wrong(results) else "Nowhere.",
        *(section(name, result).strip() for name, result in results.items()),
    ]
    return "\n\n".join(parts) + "\n"


def readme_table(name: str, results: Results) -> str:
    """One of the README's tables, with the marks around it."""
    files, first, peers = TABLES[name]
    body = []
    for file in files:
        for task, rows in tasks(results[file]):
            by = {row["who"]: row for row in rows}
            found = [next((by[w] for w in names if w in by), None) for names in peers.values()]
            if any(found):
                cells = ["" if row is None else ratio_of(row["ratio"]) for row in found]
                body.append([task, time_of(rows[0]["median_ms"]), *cells])
    s = results[files[0]]["setting"]
    made = table([first, "likelax", *peers], body)
    return f"<!-- bench:{name} -->\n{made}\n\nMeasured on {s['date']}.\n<!-- /bench -->"


def readme(old: str, results: Results) -> str:
    """The README with its tables made anew."""
    mark = r"<!-- bench:(\w+) -->.*?<!-- /bench -->"
    return re.sub(mark, lambda m: readme_table(m.group(1), results), old, flags=re.DOTALL)


def draw_ratios(results: Results) -> None:
    """A bar for each task: the nearest peer that gives the same answer."""
    from matplotlib.figure import Figure

    bars = []
    for name, result in results.items():
        if name in ("sizes", "elbo_targets"):
            continue
        for task, rows in tasks(result):
            right = [row for row in rows[1:] if not row["answer"].startswith(("DIFF", "ANOTHER"))]
            if right:
                near = min(right, key=lambda row: row["ratio"])
                bars.append((f"{task}  ({near['who']})", near["ratio"]))
    bars.reverse()
    figure = Figure(figsize=(9, 0.21 * len(bars) + 0.8), layout="constrained")
    axes = figure.subplots()
    values = [ratio for _, ratio in bars]
    colors = ["#2a6f97" if ratio >= 1 else "#c1554a" for ratio in values]
    axes.barh(range(len(bars)), [r - 1 for r in values], left=1, color=colors, height=0.7)
    axes.set_xscale("log")
    axes.axvline(1, color="#666", linewidth=0.8)
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=7)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    figure.supxlabel(
        "time of the nearest peer / time of likelax; right of 1 likelax is faster", fontsize=9
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(IMAGES / "bench_ratios.svg", metadata={"Date": None})


def draw_sizes(result: dict[str, Any]) -> None:
    """Both curves of bench_sizes.py, first calls dotted, and what the machine allows."""
    from matplotlib.figure import Figure

    rates = result["setting"]["limits"]

    def chain_limit(steps: float) -> float:
        return 4 * steps * 4 / rates["memory_gb"] / 1e6  # reads (T, 4) of float32 once

    def mixture_limit(rows: float) -> float:
        product = 2 * 2 * rows * 8 * 8 * 8 / rates["matrix_gflops"]  # E and M step, by definition
        return 10 * (product + rows * 8 / rates["exp_g"] + rows * 8 * 4 / rates["memory_gb"]) / 1e6

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = [
        ("log likelihood", "steps T", "log likelihood of a chain, K 4", chain_limit),
        ("EM", "rows N", "10 steps of EM, D 8, K 8", mixture_limit),
    ]
    colors = ["#2a6f97", "#c1554a", "#7a9a42"]
    for axes, (word, label, title, limit) in zip(figure.subplots(1, 2), panels, strict=True):
        found = [
            (int(re.search(r"[TN](\d+)$", rows[0]["task"])[1]), rows)  # type: ignore[index]
            for task, rows in tasks(result)
            if word in task
        ]
        sizes = [size for size, _ in found]
        for i, who in enumerate(row["who"] for row in found[0][1]):
            mine = [next(row for row in rows if row["who"] == who) for _, rows in found]
            axes.plot(sizes, [r["median_ms"] for r in mine], "o-", color=colors[i], label=who, ms=3)
            axes.plot(sizes, [r["first_ms"] for r in mine], ":", color=colors[i], linewidth=1)
        axes.plot(sizes, [limit(size) for size in sizes], color="#666", linewidth=0.8)
        axes.annotate(
            "this machine's limit",
            (sizes[-1], limit(sizes[-1])),
            (0, -8),
            textcoords="offset points",
            fontsize=7,
            ha="right",
            va="top",
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("ms (dotted: first call)")
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "bench_sizes.svg", metadata={"Date": None})


def main() -> None:
    """Write the page, its pictures, and the README's tables."""
    import matplotlib

    results = load()
    PAGE.write_text(text(results), encoding="utf-8")
    front = ROOT / "README.md"
    front.write_text(readme(front.read_text(encoding="utf-8"), results), encoding="utf-8")
    # text as text, and the same names of parts in each run
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "likelax"}):
        draw_ratios(results)
        draw_sizes(results["sizes"])
    print(f"Written: {PAGE}, the README's tables and two pictures")


if __name__ == "__main__":
    main()
