"""Run the code of README and docs, and build the site from them in site/.

A block marked `python` runs with the ones before it on its page; one marked `python needs:arviz` only where
ArviZ is installed. Where a line prints and ends in a comment, the comment is what must be printed:
`print(1 + 1)  # 2`.
"""

import ast
import contextlib
import importlib.util
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("**/*.md")))
STAGE = ROOT / ".site"  # what Sphinx reads and remembers

# The groups of the site: a title, a sentence, and their pages in order. A page of docs/ that no group
# names is a how-to.
HOW_TO = "How to"
GROUPS = {
    "start": ("Start", "From installation to a first model, in five minutes.", ["quickstart"]),
    "tutorials": (
        "Tutorials",
        "Each works through one task from beginning to end.",
        [
            "tutorials/neural_hmm",
            "tutorials/glm_hmm",
            "tutorials/elbo",
            "tutorials/many_fits",
            "tutorials/calibrated_classifier",
        ],
    ),
    "how_to": (
        HOW_TO,
        "One page for each capability: what it computes, and how to call it.",
        [
            "data",
            "inputs",
            "families",
            "naive_bayes",
            "mixtures",
            "hmm",
            "batch",
            "scale",
            "monte_carlo",
            "variational",
            "calibration",
            "checklist",
            "estimators",
            "interop",
            "command_line",
        ],
    ),
    "coming_from": (
        "Coming from",
        "The same task in the library that you know and in likelax, with the numbers of both.",
        [
            "coming_from/hmmlearn",
            "coming_from/scikit_learn",
            "coming_from/dynamax",
            "coming_from/numpyro",
            "coming_from/netcal",
        ],
    ),
    "gallery_pages": (
        "Gallery",
        "Pictures, and the code that draws them.",
        ["gallery", "examples"],
    ),
    "api": ("API", "Every public name, from its docstring.", []),
    "background": (
        "Background",
        "How likelax is built, why its numbers can be trusted, and how to extend it.",
        [
            "grammar",
            "numerics",
            "how_we_know",
            "benchmarks",
            "engine",
            "gpu",
            "architecture",
            "add_a_family",
            "extend",
            "troubleshooting",
            "contributing",
            "changes",
        ],
    ),
}


def blocks(text: str) -> list[tuple[int, str, list[str]]]:
    """(line, source, needed libraries) of each block of Python on a page.

    A block that begins with "```python arviz pandas" runs where these libraries are installed.
    """
    found = []
    for token in MarkdownIt("commonmark").parse(text):
        word, *libraries = token.info.split() or [""]
        if token.type == "fence" and word == "python":
            found.append((token.map[0] + 2, token.content, libraries))
    return found


def run(page: Path) -> int:
    """Run the code of a page.

    Returns:
      How many printed lines were compared with what the page says.
    Raises:
      AssertionError: where something else was printed.
    """
    scope: dict[str, object] = {}
    compared = 0
    for line, source, needs in blocks(page.read_text(encoding="utf-8")):
        if not all(map(importlib.util.find_spec, needs)):
            continue
        wanted = re.findall(r"^ *(?:print\(.*)?\)  # (.*)$", source, flags=re.MULTILINE)
        printed = io.StringIO()
        code = compile("\n" * (line - 1) + source, str(page), "exec")
        with (
            contextlib.redirect_stdout(printed),
            usual_settings() if needs else contextlib.nullcontext(),
        ):
            exec(code, scope)
        if wanted:
            got = printed.getvalue().splitlines()
            if got != wanted:
                raise AssertionError(f"{page.name}, block at line {line}: said {wanted}, got {got}")
            compared += len(wanted)
    return compared


@contextlib.contextmanager
def usual_settings() -> Iterator[None]:
    """JAX's defaults: other libraries need them, and the tests are stricter."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield


def staged(text: str, folder: str) -> str:
    """A page with its links as they are on the site, where docs/ is the root.

    Args:
      text: Markdown.
      folder: of the page in the repository, such as "docs/tutorials"; empty for README.
    """

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found[2].partition("#")
        if re.match(r"[a-z]+:", target) or not target:
            return found[0]
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        if path.startswith("examples"):
            path, anchor = "docs/examples.md", ""
        path = {
            "README.md": "docs/index.md",
            "CONTRIBUTING.md": "docs/contributing.md",
            "CHANGELOG.md": "docs/changes.md",
        }.get(path, path)
        return f"{found[1]}(/{path.removeprefix('docs/')}{'#' + anchor if anchor else ''})"

    return re.sub(r"(\])\(([^)\s]+)\)", link, text)


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph below the title of a page."""
    paragraphs = re.split(r"\n\s*\n", text)
    plain = next((p for p in paragraphs if re.match(r"[A-Za-z`]", p)), "")
    return re.split(r"(?<=[.?])\s", " ".join(plain.split()))[0]


def title(text: str) -> str:
    """The title of a page."""
    return next(line[2:] for line in text.splitlines() if line.startswith("# "))


def toctree(entries: list[str]) -> str:
    """A list of pages for Sphinx's navigation, which the page itself does not show."""
    return "```{toctree}\n:hidden:\n\n" + "\n".join(entries) + "\n```\n"


def examples() -> str:
    """One page of all scripts of examples/."""
    parts = [
        "# Examples\n\nScripts that answer a question each. They run as they are, from `examples/`."
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        lead = ast.get_docstring(ast.parse(source)) or ""
        parts.append(f"## {path.name}\n\n{lead}\n\n````python\n{source}````")
    return "\n\n".join(parts) + "\n"


def write_stage(stage: Path) -> None:
    """Write the pages that Sphinx reads: README, docs, the API, and an index for each group."""
    pages = {}
    for page in PAGES:
        path = page.relative_to(ROOT)
        place = "index" if page.stem == "README" else path.with_suffix("").as_posix()[5:]
        pages[place] = staged(page.read_text(encoding="utf-8"), path.parent.as_posix())
    for place, name in (("contributing", "CONTRIBUTING.md"), ("changes", "CHANGELOG.md")):
        pages[place] = staged((ROOT / name).read_text(encoding="utf-8"), "")
    pages["examples"] = examples()
    api = load("api").pages()
    pages |= {f"api/{module}": text for module, text in api.items()}

    named = {place for _, _, places in GROUPS.values() for place in places}
    rest = sorted(set(pages) - named - {"index"} - {f"api/{module}" for module in api})
    for group, (heading, lead, places) in GROUPS.items():
        listed = [*places, *rest] if heading == HOW_TO else places
        if group == "api":
            listed = [f"api/{module}" for module in api]
        lines = [f"- [{title(pages[p])}](/{p}.md): {first_sentence(pages[p])}" for p in listed]
        pages[f"{group}"] = f"# {heading}\n\n{lead}\n\n" + "\n".join(lines) + "\n\n"
        pages[f"{group}"] += toctree([f"/{place}" for place in listed])
    pages["index"] += "\n" + toctree([f"/{group}" for group in GROUPS])

    shutil.rmtree(stage, ignore_errors=True)
    for place, text in pages.items():
        (stage / place).parent.mkdir(parents=True, exist_ok=True)
        (stage / f"{place}.md").write_text(text, encoding="utf-8")
    shutil.copytree(DOCS / "images", stage / "images")


def load(name: str):
    """A module of docs/."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run everything, then build the site; a warning of Sphinx is an error."""
    if "--only-pages" not in sys.argv:
        for page in PAGES:
            print(f"{page.relative_to(ROOT)}: {run(page)} printed lines as the page says")
    write_stage(STAGE / "pages")
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    command = [
        sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", DOCS,
        "-d", STAGE / "doctrees", STAGE / "pages", ROOT / "site",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    print(f"Written: {ROOT / 'site' / 'index.html'}")


if __name__ == "__main__":
    main()
