"""Install the wheel of a folder in a fresh environment, outside the repository, and use it.

Run by `make dist`: python tests/wheel.py dist
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USE = """
import likelax as lx, jax.numpy as jnp
assert {root!r} not in lx.__file__, lx.__file__
found = lx.fit.em(lx.HMM(jnp.full(2, .5), jnp.full((2, 2), .5), lx.Poisson(jnp.array([15., 25.]))),
                  lx.datasets.earthquakes().counts)
print(lx.__file__, found.objective)
"""
# from a table of counts to a decoded, checked model with a report, as on docs/command_line.md
COMMANDS = (
    "fit earthquakes.csv --columns count --model hmm:poisson --states 1:2 --holdout 0.2",
    "check model.npz earthquakes.csv --report report.html",
    "decode model.npz earthquakes.csv --output states.csv",
    "--help",
)
COPY = "import shutil, likelax.datasets as d; shutil.copy(d.__path__[0] + '/earthquakes.csv', '.')"


def contents(folder: Path) -> tuple[Path, set[str], set[str]]:
    """The wheel, the names in it, and the names in the sdist without the first folder."""
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
    with tarfile.open(sdist) as file:
        in_sdist = {name.partition("/")[2] for name in file.getnames()}
    return wheel, in_wheel, in_sdist


def main() -> None:
    """Raise where something is missing or does not run."""
    wheel, in_wheel, in_sdist = contents(Path(sys.argv[1]))
    tracked = subprocess.run(
        ["git", "ls-files", "src/likelax"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    missing = {name.removeprefix("src/") for name in tracked} - in_wheel
    extra = {n for n in in_wheel if not n.startswith(("likelax/", "likelax-"))}
    assert not missing, f"not in the wheel: {sorted(missing)}"
    assert not extra, f"in the wheel, and not of likelax: {sorted(extra)}"
    assert {*tracked, "README.md", "LICENSE", "pyproject.toml"} <= in_sdist
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = f"likelax[cli,plots] @ {wheel.resolve().as_uri()}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True)
        uses = ["-c", USE.format(root=str(ROOT))], ["-c", COPY], ["-m", "likelax", "info"]
        for words in uses:
            subprocess.run([python, *words], cwd=folder, check=True)
        for command in COMMANDS:
            words = [python.with_name("likelax"), *command.split()]
            subprocess.run(words, cwd=folder, check=True)
        for made in ("report.html", "states.csv"):
            assert (Path(folder) / made).stat().st_size > 0, f"{made} is empty"
    print(f"{wheel.name}: installed and used outside the repository")


if __name__ == "__main__":
    main()
