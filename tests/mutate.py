"""Small faults put into the library one at a time, to see whether `make test` notices: `make mutate`.

    python tests/mutate.py record                    runs the tests once and keeps who reaches what
    python tests/mutate.py record tests/new.py       the same for new tests, added to what is kept
    python tests/mutate.py run --seed 1 --count 20   tries 20 faults, chosen by the seed
    python tests/mutate.py run --seed 1 --again      tries those again that no test noticed

A fault is one small change of a function of `src/likelax`: another comparison, sign, operator, constant,
reduction or order of the choices of `where`, or a factor or term left out. The tests that reached its
statement or its file when they were recorded run until one fails, the fastest first. What is printed
as survived is either a change without effect, or a test that is missing; changes that were found to be
without effect are listed in `tests/equivalent_mutants.txt`, and counted without a run.
"""

import argparse
import ast
import copy
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".mutants"  # what `record` wrote, and the outcome of each run
REACHED = KEPT / "reached.json"
PACKAGES = (
    "numerics",
    "mixture.py",
    "naive_bayes.py",
    "_chains",
    "hmm",
    "fit",
    "families",
    "monte_carlo",
    "calibration",
    "scoring",
    "predictive",
    "variational",
    "checklist",
)
EQUIVALENT = ROOT / "tests/equivalent_mutants.txt"
BUDGET = 60.0  # seconds of recorded tests, near ones and others, that a fault may cost
LIMIT = 400  # seconds after which a run is ended: the fault made something endless, or very slow

COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
COMPARED[ast.NotEq] = ast.Eq
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "maximum": "minimum",
    "max": "min",
    "any": "all",
    "argmax": "argmin",
    "floor": "ceil",
    "log1p": "log",
    "expm1": "exp",
    "zeros_like": "ones_like",
    "zeros": "ones",
}
NAMES |= {new: old for old, new in NAMES.items()}


class Mutant(NamedTuple):
    """One fault.

    Attributes:
      path: of the file, from the root of the project.
      first, last: lines of the statement around it.
      start, end: (line, column) of the expression that is replaced; columns count bytes.
      text: what stands there instead.
    """

    path: str
    first: int
    last: int
    start: tuple[int, int]
    end: tuple[int, int]
    text: str

    def applied(self, source: str) -> str:
        """The source with the fault."""
        lines = source.encode().split(b"\n")
        (row, column), (end_row, end_column) = self.start, self.end
        head, tail = lines[row - 1][:column], lines[end_row - 1][end_column:]
        middle = head + self.text.encode() + tail
        return b"\n".join([*lines[: row - 1], middle, *lines[end_row:]]).decode()

    def replaced(self, source: str) -> str:
        """The old text, on one line."""
        rows = source.encode().split(b"\n")[self.start[0] - 1 : self.end[0]]
        rows[-1] = rows[-1][: self.end[1]]
        return " ".join(row.decode().strip() for row in [rows[0][self.start[1] :], *rows[1:]])

    def line(self, source: str) -> str:
        """The line of the source in which the expression begins."""
        return source.splitlines()[self.start[0] - 1].strip()

    def shown(self, source: str) -> str:
        """The old and the new text."""
        place = f"{self.path}:{self.start[0]}: {self.line(source)}"
        return f"{place}\n    - {self.replaced(source)}\n    + {self.text}"


# Faults


def changes(node: ast.expr) -> Iterator[ast.expr]:
    """What could stand in the place of an expression."""

    def swapped(**fields: object) -> ast.expr:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield swapped(ops=[COMPARED[type(op)]()])
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield swapped(op=OPERATORS[type(op)]())
            if isinstance(op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.BitAnd | ast.BitOr):
                yield node.left
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield node.operand
        case ast.BoolOp(op=op):
            yield swapped(op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield ast.Constant(node.value * 2 if node.value else 1.0)
        case ast.Call(func=ast.Attribute(attr="where"), args=[condition, yes, no]):
            yield swapped(args=[condition, no, yes])
        case ast.Call(func=ast.Attribute(attr=attr)) if attr in NAMES:
            new = copy.copy(node.func)
            new.attr = NAMES[attr]
            yield swapped(func=new)


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """All expressions of a statement that are computed, not said: no annotations and no messages."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "body", "orelse"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.stmt | ast.JoinedStr | ast.Raise):
                continue
            if isinstance(child, ast.expr):
                yield child
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def mutants(path: Path) -> Iterator[Mutant]:
    """Every fault of the functions of one file."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inside = {id(s) for f in functions for s in ast.walk(f) if isinstance(s, ast.stmt)}
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.stmt) or id(statement) not in inside:
            continue
        if isinstance(statement, ast.Raise | ast.Assert | ast.FunctionDef | ast.ClassDef):
            continue
        body = getattr(statement, "body", None)
        last = body[0].lineno - 1 if body else statement.end_lineno
        for node in _expressions(statement):
            for new in changes(node):
                yield Mutant(
                    str(path.relative_to(ROOT)),
                    statement.lineno,
                    max(last, statement.lineno),
                    (node.lineno, node.col_offset),
                    (node.end_lineno, node.end_col_offset),
                    f"({ast.unparse(new)})",
                )


def sample(seed: int, count: int, only: str) -> list[Mutant]:
    """`count` faults chosen by the seed; each file in proportion to its number of faults."""
    found = []
    for package in PACKAGES:
        place = ROOT / "src/likelax" / package
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if only in str(path):
                found += list(mutants(path))
    return random.Random(seed).sample(found, min(count, len(found)))


def without_effect() -> set[tuple[str, ...]]:
    """(path, line, old text, new text) of the faults that are known to change no answer."""
    found = set()
    for block in EQUIVALENT.read_text().split("\n\n")[1:]:
        place, old, new, _ = block.strip().split("\n", 3)
        path, line = place.split(": ", 1)
        found.add((path, line, old.strip().removeprefix("- "), new.strip().removeprefix("+ ")))
    return found


# Tests


def recorded() -> dict:
    """What `record` kept; recorded now if there is nothing, or the library has changed."""
    if not REACHED.exists() or json.loads(REACHED.read_text())["digest"] != digest():
        print("recording which test reaches what: about 16 minutes", flush=True)
        record([])
    return json.loads(REACHED.read_text())


def _environment(tree: Path) -> dict[str, str]:
    """That of a run of the tests of a tree, with one seed for all."""
    return {**os.environ, "PYTHONPATH": str(tree / "src"), "TEST_SEED": "0"}


def digest() -> str:
    """Of all files of the library: what is recorded is true of these lines alone."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "src/likelax").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def record(paths: list[str]) -> None:
    """Run tests once under coverage, all or some, and keep which reaches which line, and its time."""
    import coverage

    KEPT.mkdir(exist_ok=True)
    data, times = KEPT / "coverage", KEPT / "times.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider"),
            *("--cov=src/likelax", "--cov-context=test", "--cov-report=", f"--junitxml={times}"),
            *paths,
        ],
        cwd=ROOT,
        env={**_environment(ROOT), "COVERAGE_FILE": str(data)},
        check=False,
    )
    seconds: Counter[str] = Counter()
    for case in ET.parse(times).iter("testcase"):
        seconds[case.get("classname", "").rpartition(".")[2] + "::" + case.get("name", "")] += (
            float(case.get("time", 0))
        )
    kept = coverage.CoverageData(str(data))
    kept.read()
    old = recorded() if paths else {"reached": {}, "seconds": {}}
    reached = defaultdict(lambda: defaultdict(list), old["reached"])
    tests = set()
    for name in kept.measured_files():
        lines = defaultdict(list, reached[str(Path(name).relative_to(ROOT))])
        for line, contexts in kept.contexts_by_lineno(name).items():
            found = {context.rpartition("|")[0] for context in contexts if "|" in context}
            lines[str(line)] = sorted({*lines[str(line)], *found})
            tests |= found
        reached[str(Path(name).relative_to(ROOT))] = lines

    def time_of(test: str) -> float:
        path, _, name = test.partition("::")
        return seconds[f"{Path(path).stem}::{name}"]

    times_of = old["seconds"] | {test: time_of(test) for test in tests}
    REACHED.write_text(json.dumps({"reached": reached, "seconds": times_of, "digest": digest()}))
    print(f"{len(tests)} tests recorded")


def tests_of(mutant: Mutant, kept: dict, budget: float = BUDGET) -> list[str]:
    """The tests to run: first those that reach the statement, then those that reach its file.

    A test that reuses a compiled program does not reach the statements of it, and no test reaches what
    runs at import; so the second list is there. In each the fastest go first, within the budget.
    """
    lines = kept["reached"].get(mutant.path, {})
    near = {t for line in range(mutant.first, mutant.last + 1) for t in lines.get(str(line), ())}
    chosen: list[str] = []
    for found in (near, {test for tests in lines.values() for test in tests} - near):
        own = [t for t in found if not t.startswith("src/") or t.startswith(mutant.path)]
        ordered = sorted(own, key=lambda test: kept["seconds"].get(test, 1.0))
        spent = itertools.accumulate(kept["seconds"].get(test, 1.0) for test in ordered)
        chosen += [t for t, total in zip(ordered, spent, strict=True) if total < budget][:200]
    return chosen


def try_out(mutant: Mutant, tests: list[str], tree: Path, core: int) -> tuple[str, str]:
    """(killed, survived, unreached or slow; the first test that failed)."""
    if not tests:
        return "unreached", ""
    home = tree / mutant.path
    source = home.read_text()
    home.write_text(mutant.applied(source))
    command = ["timeout", str(LIMIT), sys.executable, "-m", "pytest", "-x", "-q", "--tb=no"]
    if shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *tests],
            cwd=tree,
            env=_environment(tree),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        home.write_text(source)
    if done.returncode == 0:
        return "survived", ""
    if done.returncode == 124:
        return "slow", ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "killed", failed[0] if failed else done.stdout[-200:]


def unnoticed(log: Path) -> list[Mutant]:
    """The faults of a run whose last outcome is not that a test failed."""
    last = {}
    for line in log.read_text().splitlines():
        outcome, *fields = json.loads(line)
        path, first, last_line, start, end, text = fields
        last[Mutant(path, first, last_line, tuple(start), tuple(end), text)] = outcome
    return [mutant for mutant, outcome in last.items() if outcome not in ("killed", "equivalent")]


def run(seed: int, count: int, only: str, workers: int, again: bool, budget: float) -> None:
    """Try `count` faults, or those of a run that no test noticed, and print those that none notices."""
    kept = recorded()
    outcomes = KEPT / f"run-{seed}.jsonl"
    chosen = unnoticed(outcomes) if again else sample(seed, count, only)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    trees = [Path(tempfile.mkdtemp(prefix="mutant-")) for _ in range(workers)]
    wanted = ("src", "tests", "docs", "examples", "benchmarks")
    for tree in trees:
        for name in wanted:
            shutil.copytree(ROOT / name, tree / name)
        for path in [
            *ROOT.glob("*.toml"),
            *ROOT.glob("*.py"),
            *ROOT.glob("*.md"),
            ROOT / "Makefile",
        ]:
            shutil.copy(path, tree)
    free = list(range(workers))
    log, equivalent = outcomes.open("a"), without_effect()
    totals: Counter[str] = Counter()

    def one(mutant: Mutant) -> None:
        source = (ROOT / mutant.path).read_text()
        tests, by, began = tests_of(mutant, kept, budget), "", time.monotonic()
        said = (mutant.path, mutant.line(source), mutant.replaced(source), mutant.text)
        if said in equivalent:
            outcome = "equivalent"
        else:
            slot = free.pop()
            try:
                outcome, by = try_out(mutant, tests, trees[slot], cores[slot % len(cores)])
            finally:
                free.append(slot)
        totals[outcome] += 1
        print(json.dumps([outcome, *mutant]), file=log, flush=True)
        if outcome not in ("killed", "equivalent"):
            took = f"{len(tests)} tests, {time.monotonic() - began:.0f} s"
            print(f"{outcome} ({took}) {mutant.shown(source)} {by}", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, chosen))
    for tree in trees:
        shutil.rmtree(tree)
    counts = ", ".join(f"{number} {outcome}" for outcome, number in totals.items())
    share = totals["killed"] / max(len(chosen) - totals["equivalent"], 1)
    print(f"seed {seed}: {len(chosen)} tried, {counts}; killed {share:.1%} of those with an effect")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("paths", nargs="*", help="tests; all if none")
    running = commands.add_parser("run")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--count", type=int, default=20)
    running.add_argument("--only", default="", help="a part of the path of the files")
    running.add_argument("--workers", type=int, default=2)
    running.add_argument("--budget", type=float, default=BUDGET, help="seconds of tests a fault")
    running.add_argument("--again", action="store_true", help="the unnoticed faults of that seed")
    options = parser.parse_args()
    if options.command == "record":
        record(options.paths)
    else:
        run(
            options.seed,
            options.count,
            options.only,
            options.workers,
            options.again,
            options.budget,
        )


if __name__ == "__main__":
    main()
