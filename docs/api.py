"""Pages of the API from the docstrings: one page a public module, in the Markdown that Sphinx reads.

A name that several modules export stands on the page of the innermost one, under its shortest path:
`likelax.Normal` is on the page of `likelax.families`.
"""

import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import likelax

# Modules with public names that are not packages.
MODULES = (
    "constraints",
    "data",
    "mixture",
    "model",
    "naive_bayes",
    "parameters",
    "report",
    "statistics",
)
# Modules that adapt one other library each.
ADAPTERS = tuple(
    f"likelax.interop.{name}"
    for name in ("arviz", "distrax", "distreqx", "dynamax", "frames", "numpyro", "tfp")
)
HEADS = (
    "Args",
    "Attributes",
    "Returns",
    "Raises",
    "Examples",
)  # a line with nothing after the colon
INLINE = ("Source", "Float32")  # text after the colon


@dataclass(frozen=True)
class Name:
    """A public name: its shortest path, the page that it is on, and its value."""

    path: str
    page: str
    value: Any


def modules() -> list[str]:
    """Every public module, sorted; adapters of libraries that are not installed are left out."""
    names = ["likelax", *(f"likelax.{name}" for name in MODULES)]
    for found in pkgutil.walk_packages(likelax.__path__, "likelax."):
        if found.ispkg and "._" not in found.name:
            names += [found.name] if _import(found.name, in_interop(found.name)) else []
    names += [name for name in ADAPTERS if _import(name, True)]
    return sorted(set(names))


def in_interop(module: str) -> bool:
    """Whether a module needs another library."""
    return module.startswith("likelax.interop.")


def _import(module: str, may_be_missing: bool) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        if may_be_missing:
            return None
        raise


def exported(module: ModuleType) -> list[str]:
    """The public names of a module; an adapter without `__all__` has those that it defines."""
    defined = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", defined if module.__name__ in ADAPTERS else []))


def names() -> list[Name]:
    """Every public name once, page by page in the order of `__all__`."""
    seen: dict[tuple[str, int], tuple[Any, list[str]]] = {}
    for module in sorted(modules(), key=lambda name: (name.count("."), name)):  # outer ones first
        loaded = importlib.import_module(module)
        for name in exported(loaded):
            value = getattr(loaded, name)
            if not isinstance(value, ModuleType):
                seen.setdefault((name, id(value)), (value, []))[1].append(module)
    found = []
    for (name, _), (value, where) in seen.items():
        home = f"{getattr(value, '__module__', '')}."
        around = [module for module in where if home.startswith(f"{module}.")]
        found.append(Name(f"{where[0]}.{name}", (around or where)[-1], value))
    return found


def signature(value: Any) -> str:
    """Names of the arguments and their defaults; the docstring tells their types and shapes."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    shown = []
    for name, parameter in found.parameters.items():
        if name in ("self", "cls"):
            continue
        default = parameter.default
        if default is not parameter.empty and not isinstance(
            default, int | float | str | bool | tuple | None
        ):
            default = _Text(getattr(default, "__name__", type(default).__name__))
        shown.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(found.replace(parameters=shown, return_annotation=found.empty))


class _Text(str):
    def __repr__(self) -> str:
        return str(self)


def plain(text: str) -> str:
    """Text of a docstring as Markdown: outside of backticks nothing is markup."""
    parts = re.split(r"(`[^`\n]*`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([\\*_<>\[\]|#~$`{}])", r"\\\1", part)
        for i, part in enumerate(parts)
    )


def is_formula(paragraph: str) -> bool:
    """Whether a paragraph is a formula, which keeps its lines, and not a sentence."""
    text = paragraph.strip()
    marks = (" = ", " ~ ", "integral", "proportional", "sum", "mean (", "^", "->")
    return not text.endswith((".", ":", "?", "`")) and any(mark in text for mark in marks)


def prose(text: str) -> str:
    """Paragraphs, lists and formulas of a docstring as Markdown."""
    out = []
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text)):
        if is_formula(paragraph):
            out.append(f"```text\n{paragraph}\n```")
        else:
            lines = [
                re.sub(r"^(\s*)(\d+)\. ", r"\1\2\\. ", line) for line in paragraph.splitlines()
            ]
            out.append(plain("\n".join(line.strip() for line in lines)))
    return "\n\n".join(out)


def fields(text: str) -> str:
    """`name: description` lines, each with indented lines that go on, as a list of definitions."""
    items: list[list[str]] = []
    for line in textwrap.dedent(text).splitlines():
        if line and not line.startswith(" "):
            items.append([line])
        elif items:
            items[-1].append(line)
    out = []
    for item in items:
        name, _, rest = item[0].partition(": ")
        body = plain(" ".join([rest, *(line.strip() for line in item[1:])]).strip())
        out.append(f"`{name.rstrip(':')}`\n: {body}")
    return "\n\n".join(out)


def markdown(doc: str) -> str:
    """A docstring as Markdown."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in doc.splitlines():
        head, _, rest = line.partition(":")
        if head in HEADS and not rest.strip():
            parts.append((head, []))
        elif head in INLINE and rest.startswith(" "):
            parts.append((head, [rest.strip()]))
        elif line and not line.startswith(" ") and parts[-1][0] in HEADS:
            parts.append(("", [line]))
        elif not line and parts[-1][0] in INLINE:
            parts.append(("", []))
        else:
            parts[-1][1].append(line)
    out = []
    for head, lines in parts:
        text = "\n".join(lines).strip("\n")
        if not text.strip():
            continue
        if head in ("Args", "Attributes", "Raises"):
            out.append(f"**{head}**\n\n{fields(text)}")
        elif head == "Examples":
            out.append(f"```pycon\n{textwrap.dedent(text)}\n```")
        elif head:
            out.append(f"**{head}**: {prose(text)}")
        else:
            out.append(prose(text))
    return "\n\n".join(out)


def members(owner: type) -> Iterator[tuple[str, str, Any]]:
    """(directive, name, value) of the methods and properties that a class defines itself."""
    for name, member in vars(owner).items():
        if name.startswith("_") or name in getattr(owner, "__dataclass_fields__", {}):
            continue
        if isinstance(member, property):
            yield "property", name, member.fget
        elif callable(getattr(owner, name)) and not isinstance(member, type):
            yield "method", name, getattr(owner, name)


def inherited(owner: type) -> str:
    """A line with the public methods that a class has from its bases in this library."""
    bases = [base for base in owner.__mro__[1:] if base.__module__.startswith("likelax")]
    own = {name for _, name, _ in members(owner)} | {*getattr(owner, "__dataclass_fields__", ())}
    more = sorted({name for base in bases for _, name, _ in members(base)} - own)
    return f"Inherited: {', '.join(f'`{name}`' for name in more)}." if more else ""


def directive(kind: str, title: str, body: str, depth: int = 3) -> str:
    """A block of Sphinx's Python domain."""
    fence = ":" * depth
    return f"{fence}{{py:{kind}}} {title}\n\n{body}\n\n{fence}"


def entry(name: Name) -> str:
    """One public name as Markdown."""
    value = name.value
    if inspect.isclass(value):
        methods = [
            directive(
                kind,
                member + ("" if kind == "property" else signature(method)),
                markdown(inspect.getdoc(method) or ""),
            )
            for kind, member, method in members(value)
            if inspect.getdoc(method)
        ]
        body = "\n\n".join([markdown(_doc(value)), *methods, inherited(value)])
        return directive("class", name.path + signature(value), body, depth=5)
    if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
        return directive("function", name.path + signature(value), markdown(_doc(value)))
    return directive("data", name.path, f"```text\n{_shown(value)}\n```")


def _doc(value: Any) -> str:
    return inspect.getdoc(value) or ""


def _shown(value: Any) -> str:
    text = re.sub(r"(?:[a-z_]\w*\.)+([A-Z]\w*)", r"\1", repr(value))
    return text if len(text) <= 400 else text[:400] + " ..."


def pages() -> dict[str, str]:
    """Markdown of each page of the API by its name, such as `likelax.fit`."""
    found = names()
    out = {}
    for module in modules():
        here = [name for name in found if name.page == module]
        loaded = importlib.import_module(module)
        text = f"# {module}\n\n{markdown(inspect.getdoc(loaded) or '')}\n\n"
        elsewhere = [
            name for name in found if name.page != module and name.path.rpartition(".")[0] == module
        ]
        if elsewhere:
            text += "Imported from here, described on the pages of other modules:\n\n"
        for page in sorted({name.page for name in elsewhere}):
            links = [
                f"{{py:obj}}`{name.path.rpartition('.')[2]} <{name.path}>`"
                for name in elsewhere
                if name.page == page
            ]
            text += f"- [{page}](/api/{page}.md): {', '.join(links)}\n"
        text += "\n"
        for name in here:
            text += f"{entry(name)}\n\n"
        out[module] = text
    return out
