"""Run the benchmarks and keep their rows: `python benchmarks/run.py [--quick] [--only gmm hmm]`.

Each file runs in a process of its own, all its sides in turn. Its rows, setting and commit go to
`benchmarks/results/cpu.json` (quick.json for --quick), in place of what that file gave before; files that were
not run keep what they had, with their own date. `page.py` makes docs/benchmarks.md and the README's tables of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def run(file: Path, quick: bool) -> dict[str, Any]:
    """What one file recorded, and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "rows"
        lines.touch()
        began = time.perf_counter()
        code = subprocess.run(
            [sys.executable, str(file), *(["--quick"] if quick else [])],
            env={**os.environ, "BENCH_RECORD": str(lines)},
            check=False,
        ).returncode
        entries = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    settings = [entry["setting"] for entry in entries if "setting" in entry]
    return {
        "setting": settings[0] if settings else None,
        "commit": _commit(),
        "seconds": round(time.perf_counter() - began, 1),
        "exit": code,
        "rows": [entry["row"] for entry in entries if "row" in entry],
    }


def _commit() -> str:
    """The commit that was measured; "+" where files differ from it."""
    try:
        git = ["git", "-C", str(HERE)]
        found = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        changed = subprocess.run([*git, "status", "--porcelain", "../src"], capture_output=True)
    except OSError:
        return "unknown"
    return found.stdout.strip() + ("+" if changed.stdout else "")


def main() -> int:
    """Run what is asked for; 1 if a file failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, minutes in all")
    parser.add_argument("--only", nargs="+", help="only these files: gmm for bench_gmm.py")
    options = parser.parse_args()
    files = {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}
    unknown = set(options.only or ()) - set(files)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(files)}")
    target = RESULTS / ("quick.json" if options.quick else "cpu.json")
    kept = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    failed = []
    for name in options.only or files:
        print(f"== {files[name].name}", flush=True)
        found = run(files[name], options.quick)
        print(f"   {found['seconds']} s", flush=True)
        if found["exit"]:
            failed.append(name)
            continue
        kept[name] = found
        text = json.dumps(dict(sorted(kept.items())), indent=1)
        target.write_text(text + "\n", encoding="utf-8")
    print(f"Written: {target}")
    if failed:
        print(f"Failed, and kept as they were: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
