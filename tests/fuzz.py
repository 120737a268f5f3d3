"""Every public function with one argument spoilt at a time, and what came of each call.

Valid arguments are those of the docstrings' examples: `record` runs the examples while the public
functions are wrapped, and keeps the arguments of the first call of each that succeeds. `odd` makes
odd values of an argument or of an array within it, `outcome` calls the function and sorts the result
into one of

  right      a finite answer, equal to the one before where only the form of the argument changed
  passed on  NaN or infinity in, NaN or infinity out, where the function is documented so
  sentence   a ValueError or TypeError of likelax, one sentence that names the argument
  inside     any other error: one of JAX, NumPy or Python
  unnamed    an error of likelax that names no argument
  changed    another answer though only the form of the argument changed
  nan        NaN from an argument without NaN
  swallowed  an answer without NaN from an argument with NaN
  accepted   an answer from text, objects, complex numbers, or what is no typed key

The last six are faults, unless `ALLOWED` has a reason.
"""

import contextlib
import dataclasses
import doctest
import inspect
import io
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas

from likelax.data import Driven, Labelled, Masked, Sequences
from likelax.model import Density
from public import Public, public_methods, public_names

SECONDS = 300  # a call that takes longer is a fault
FAULTS = ("inside", "unnamed", "changed", "nan", "swallowed", "accepted", "slow")
NEVER = (
    "text",
    "word",
    "objects",
    "object",
    "complex",
    "legacy key",
    "no key",
    "a seed",
    "batch of keys",
)

# Outcomes that the docstrings or docs/inputs.md declare: (kinds, pattern of the case, reason).
ALLOWED = (
    (
        ("nan",),
        r"calibration\.(binning|resample|recalibration\.Histogram|smooth)",
        "outside the edges",
    ),
    (("nan",), r"\(self\.", "a density does not check its parameters"),
    (("swallowed",), r"\(self\.", "a parameter that the answer does not depend on"),
    (("swallowed",), r"\((prior|stats|other)\.", "likewise"),
    (("accepted", "swallowed"), r"\.check_labels\(", "it looks at labels alone"),
    (("accepted", "swallowed"), r"\.rows_in_cache\(", "it looks at shapes alone"),
    (("swallowed",), r"\.predict\(x", "-1 is the class of a row that holds NaN"),
    (("accepted",), r"Fixed\.m_step\(", "it returns itself, whatever comes"),
    (("accepted",), r"\.transition_probs\(", "it returns what it holds"),
    (("swallowed",), r"sample_paths\(", "-1 is the path of NaN"),
    (("changed",), r"Masked\.from_nan", "what is not observed may be anything"),
    (("changed",), r"fit\._batch\.batch\(", "the seconds of a fit are measured"),
    (
        ("accepted", "swallowed", "changed"),
        r"data\.(take_labels|take_series|unlabelled|holds_no_value|is_plain)\(",
        "it takes wrappers off, and does not look at the values inside",
    ),
    (("swallowed",), r"frames\.to_frame\(results", "it stays in the data frame"),
    (("swallowed",), r"fit\._stream\.stepwise", "it returns an iterator, which nobody runs here"),
    (("unnamed",), r"fit\._restarts\.sweep\(sizes: huge", "the user's own start is at fault"),
    (("nan",), r"fit\._(em|stream)\.", "its status says so"),
    (
        ("nan",),
        r"fit\._(bootstrap|three_step|distal)\.",
        "documented: a fit failed, or has no maximum",
    ),
    (("swallowed",), r"fit\._distal\..*\(outcome\.", "parameters from which no fit starts"),
    (("nan",), r"fit\.criteria\.[a-z]*\(model\.", "a density does not check its parameters"),
    (("inside",), r"maximize_lbfgs\(start", "the user's objective is at fault"),
    (("nan",), r"\.(elpd_of|log_predictive_density|summarise|mean)\(", "one value has no error"),
    (("unnamed",), r"predictive\.checks\.check\(x: one -?inf", "it names the statistic of x"),
    (
        ("inside", "nan", "swallowed"),
        r"predictive\..*(loo_of|waic_of|density_of|moment_match)\((draws|x): ",
        "the user's log density is at fault",
    ),
    (("swallowed",), r"statistics\..*\((center|otherwise): ", "an origin that no row needs"),
    (("swallowed",), r"statistics\.(heaviest|inside_only)\(weights: ", "NaN is not above zero"),
    (("nan",), r"statistics\.positive_[a-z]*\(values: negative", "documented so"),
    (("swallowed",), r"parameters\.", "what fits may change does not depend on the values"),
    (("nan",), r"MvNormal.from_covariance\(covariance: ", "documented so"),
    (("accepted",), r"\(name: ", "a name for messages, which no user gives"),
    (("accepted",), r"_pytree\.check_registration\(model", "anything is a pytree"),
    (("unnamed",), r"checks\.as_(array|booleans)\(value: ", "it names the name that it is given"),
    (
        ("nan",),
        r"checklist\.decision\.top_label\(model\.",
        "a density does not check its parameters",
    ),
    (("nan",), r"numerics\.(cholesky|solve|solve_[a-z]*|inverse_lower)\(", "a singular matrix"),
    (("nan",), r"numerics\.(safe_log|xlogy|normalize)\(", "documented so"),
    (("swallowed",), r"numerics\.(divide|xlogy|xlog1py)\(", "a zero removes what it multiplies"),
    (
        ("inside", "unnamed"),
        r"variational\.(given_data\.GuideAscent\.log_joint|minibatch\.[A-Za-z.]*on_rows)\(z: ",
        "the user's log joint is at fault",
    ),
    (
        ("inside", "unnamed"),
        r"variational\.(deterministic\.[a-z_]*\(template|given_data\.fit_rows\(x): (?!text|word|objects|None)",
        "the user's log joint is at fault",
    ),
    (("inside",), r"External\.log_prob\(.*: integers", "the user's distribution is at fault"),
    (("inside",), r"variational\.local\.amortized\(x: ", "the user's encoder is at fault"),
    (("accepted", "inside"), r"any_in_batch\(flag", "a flag that no user gives"),
    (("nan",), r"poisson_rate_gradient\(rate: negative", "documented so"),
    (("nan",), r"Space\.unconstrain\(parameters\.tau: negative", "documented so"),
    (("accepted",), r"block_rank\(blocks\..*: text", "the name of a block may be anything"),
    (("nan",), r"parameters\.to_vector\(", "no point of the reals maps to it"),
    (("changed",), r"constraints\.declared\(model.loc: list", "a list is a tree of numbers"),
    (("swallowed",), r"constraints\.declared\(", "it looks at fields alone"),
    (("swallowed",), r"constraints\.log_det\(reals.loc: ", "the volume of the reals is constant"),
    (
        ("nan", "inside", "swallowed"),
        r"(replicate\(model|simulate\(draws)",
        "as the model's sampler",
    ),
    (("swallowed",), r"monte_carlo\.gradients\.", "the user's function need not depend on it"),
    (("swallowed",), r"hmm\..*\((log_)?transition: ", "one step reads no transition"),
    (("nan",), r"\.e_step\(x", "NaN reports an impossible row"),
    (("swallowed",), r"scoring\.rescaled\..*\(draws: one NaN", "a draw of weight zero is not used"),
    (("swallowed",), r"RidgePrior\.matched", "only the shape of the coefficients counts"),
    (("swallowed",), r"NormalMean\.predictive\(likelihood\.loc", "its place is not used"),
    (
        ("accepted", "swallowed", "unnamed"),
        r"Hierarchical\.possible\(x",
        "fits validate the data before they call it",
    ),
    (("nan",), r"\.complete_statistics\(x", "NaN reports an impossible row"),
    (
        ("unnamed", "inside"),
        r"\((self|model)\.[^:]*: None\)",
        "None may stand in a tree of axes, so it is found late",
    ),
)


def reason(case: "Case", outcome: "Outcome") -> str:
    """Why an outcome of a kind that is a fault elsewhere is right here; empty where it is not."""
    found = [
        why for kinds, at, why in ALLOWED if outcome.kind in kinds and re.search(at, str(case))
    ]
    return found[0] if found else ""


class Call(NamedTuple):
    """A call that succeeds: a public function and its arguments by name."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    doc: str


class Case(NamedTuple):
    """A call with one value spoilt.

    Attributes:
      call: the call.
      place: names on the way to the value, the argument first.
      label: of the odd value.
      value: the odd value.
      same: whether only the form changed, so that the answer must be the same.
    """

    call: Call
    place: tuple[Any, ...]
    label: str
    value: Any
    same: bool

    def __str__(self) -> str:
        return f"{self.call.name}({'.'.join(map(str, self.place))}: {self.label})"


class Outcome(NamedTuple):
    """What came of a case."""

    kind: str
    text: str = ""


# Recording


def record(entries: list[Public]) -> dict[str, Call]:
    """The first successful call of each public function in the examples of some entries.

    A call from an example itself goes before a call from inside the library.
    """
    direct: dict[str, Call] = {}
    inner: dict[str, Call] = {}
    with _wrapped(direct, inner):
        for entry in entries:
            _run_examples(entry)
    return {**inner, **direct}


@contextlib.contextmanager
def _wrapped(direct: dict[str, Call], inner: dict[str, Call]) -> Iterator[None]:
    """Replace every public function and method by one that notes its arguments."""
    depth = [0]
    undo: list[tuple[Any, str, Any]] = []

    def replace(home: Any, name: str, new: Any) -> None:
        undo.append((home, name, vars(home)[name]))
        setattr(home, name, new)

    modules = [m for n, m in sys.modules.items() if n.partition(".")[0] == "likelax" and m]
    for entry in public_names():
        if inspect.isclass(entry.value) or not callable(entry.value):
            continue
        watched = _watched(entry.name, entry.value, direct, inner, depth)
        for module in modules:
            for name, value in list(vars(module).items()):
                if value is entry.value:
                    replace(module, name, watched)
    for home, name, member in _members():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        watched = _watched(name, plain, direct, inner, depth, home=home, kind=type(member))
        again = type(member) if isinstance(member, classmethod | staticmethod) else None
        replace(home, name, again(watched) if again else watched)
    try:
        yield
    finally:
        for home, name, value in reversed(undo):
            setattr(home, name, value)


def _members() -> Iterator[tuple[type, str, Any]]:
    """(class, name, function) of every public method, where it is defined."""
    seen = set()
    for entry in public_methods():
        name = entry.name.rpartition(".")[2]
        home = next(c for c in entry.owner.__mro__ if name in vars(c))
        member = vars(home)[name]
        if (home, name) in seen or isinstance(member, property):
            continue
        if getattr(member, "__isabstractmethod__", False) or getattr(home, "_is_protocol", False):
            continue
        seen.add((home, name))
        yield home, name, member


def _watched(
    name: str,
    function: Callable[..., Any],
    direct: dict[str, Call],
    inner: dict[str, Call],
    depth: list[int],
    *,
    home: type | None = None,
    kind: type | None = None,
) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def key_of(first: Any) -> str:
        if home is None:
            return name
        owner = first if inspect.isclass(first) else type(first)
        owner = home if kind is staticmethod else owner
        return f"{owner.__module__.removeprefix('likelax.')}.{owner.__name__}.{name}"

    def watched(*args: Any, **kwargs: Any) -> Any:
        depth[0] += 1
        try:
            result = function(*args, **kwargs)
        finally:
            depth[0] -= 1
        key = key_of(args[0] if args else None)
        kept = direct if depth[0] == 0 else inner
        if key not in kept:
            bound = signature.bind(*args, **kwargs)
            arguments = dict(bound.arguments)
            plain = all(
                p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)
                for p in signature.parameters.values()
            )
            if plain and key.split(".")[-2] != "<locals>" and _is_concrete((arguments, result)):
                kept[key] = Call(key, function, arguments, inspect.getdoc(function) or "")
        return result

    watched.__doc__, watched.__name__ = function.__doc__, getattr(function, "__name__", name)
    watched.__wrapped__ = function
    return watched


def _is_concrete(tree: Any) -> bool:
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _run_examples(entry: Public) -> None:
    """Run the examples of a docstring, whatever they print."""
    module = sys.modules[getattr(entry.value, "__module__", None) or "likelax"]
    names = {**vars(module), "jax": jax, "jnp": jnp, "np": np, "__name__": "examples"}
    for example in doctest.DocTestParser().get_examples(entry.doc):
        code = compile(example.source, f"<example of {entry.name}>", "single")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            exec(code, names)


# Odd values


def cases(call: Call) -> Iterator[Case]:
    """All cases of one call."""
    for name, value in call.arguments.items():
        for place, inner in _places((name,), value):
            if place in (("self",), ("cls",)):
                continue
            for label, odd, same in odd_values(inner, str(place[-1])):
                yield Case(call, place, label, odd, same)


def _places(place: tuple[Any, ...], value: Any, depth: int = 4) -> Iterator[tuple[Any, Any]]:
    """A value, and those within it that are arrays or numbers."""
    children = _children(value)
    if len(place) == 1 or not children:
        yield place, value
    if depth:
        for key, child in list(children.items())[:6]:
            yield from _places((*place, key), child, depth - 1)


def _children(value: Any) -> dict[Any, Any]:
    """The parts of what users build: models, wrapped data, dicts and tuples."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return {} if all(isinstance(v, int) for v in value) else dict(enumerate(value))
    if isinstance(value, Density | Masked | Labelled | Sequences | Driven):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return {}


def _put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    key, *rest = place
    children = _children(value)
    children[key] = _put(children[key], tuple(rest), new)
    if isinstance(value, dict):
        return children
    if isinstance(value, tuple):
        return tuple(children.values())
    return type(value)(**children)


def odd_values(value: Any, name: str) -> Iterator[tuple[str, Any, bool]]:
    """(label, odd value, whether only the form changed)."""
    if is_key(value):
        yield from _odd_keys(value)
    elif isinstance(value, jax.Array | np.ndarray):
        yield from _odd_arrays(value, name)
    elif isinstance(value, bool | np.bool_) or value is None:
        return
    elif isinstance(value, int):
        yield from [("0", 0, False), ("-1", -1, False), ("1.5", 1.5, False), ("nan", np.nan, False)]
        yield from [("None", None, False), ("text", "3", False), ("pair", (1, 2), False)]
    elif isinstance(value, float):
        yield from [("nan", np.nan, False), ("negative", -1.0, False), ("text", "3", False)]
        yield from [("complex", 1j, False), ("None", None, False), ("inf", np.inf, False)]
        yield "pair", np.array([value, value]), False
    elif isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        yield from _odd_arrays(np.asarray(value), name)
    elif isinstance(value, tuple):
        if all(isinstance(v, int) for v in value):
            yield from [("negative", (-1, *value), False), ("fraction", (1.5,), False)]
            yield from [("text", "ab", False), ("None", None, False)]
    else:
        yield from [("None", None, False), ("number", 3.5, False), ("object", object(), False)]
        if not isinstance(value, str):
            yield "text", "text", False


def is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _odd_keys(key: Any) -> Iterator[tuple[str, Any, bool]]:
    yield "legacy key", jax.random.PRNGKey(0), False
    yield "no key", None, False
    yield "a seed", 0, False
    yield "batch of keys", jax.random.split(jax.random.key(0), 2), False


def _odd_arrays(value: Any, name: str) -> Iterator[tuple[str, Any, bool]]:
    a = np.asarray(value)
    yield "list", a.tolist(), True
    yield "NumPy", a, True
    yield "None", None, False
    yield "text", a.astype(str), False
    yield "word", "text", False
    yield "objects", np.array([object()] * max(a.size, 1)), False
    yield "complex", a + 1j, False
    yield "extra axis", a[None], False
    yield "extra last axis", a[..., None], False
    yield "NaN", np.full(a.shape, np.nan, np.float32), False
    if a.ndim:
        yield "scalar", a.reshape(-1)[0] if a.size else np.float32(1.0), False
        yield "empty", a[:0], False
        yield "one row less", a[:-1], False
        yield "rows twice", np.concatenate([a, a]), False
        yield "no last axis", a[..., 0], False
        if a.ndim > 1:
            yield "one column less", a[..., :-1], False
            yield "one column more", np.concatenate([a, a[..., :1]], axis=-1), False
    if a.ndim == 1:
        yield "pandas", pandas.Series(a), True
        yield "reversed", a[::-1].copy(), False
    if a.dtype == bool:
        yield "booleans as floats", a.astype(np.float32), False
        yield "booleans as integers", a.astype(np.int32) + 1, False
        return
    yield "negative", -np.abs(a) - 1, False
    yield "zeros", np.zeros_like(a), False
    yield "doubled", a * 2, False
    if np.issubdtype(a.dtype, np.integer):
        if not name.startswith("num_"):  # an array of that size does not fit the memory
            yield "huge", np.full_like(a, 2**31 - 1), False
            yield "beyond 32 bits", np.full(a.shape, 2**32), False
        yield "fractions", a + 0.5, False
        yield "floats", a.astype(np.float32), False
        yield "int64", a.astype(np.int64), True
        return
    yield "float64", a.astype(np.float64), True
    yield "float16", jnp.asarray(a, jnp.float16), False
    yield "bfloat16", jnp.asarray(a, jnp.bfloat16), False
    yield "integers", np.ones(a.shape, np.int32), False
    if a.size > 1:
        yield "one NaN", _with(a, np.nan), False
    yield "one inf", _with(a, np.inf), False
    yield "one -inf", _with(a, -np.inf), False


def _with(a: np.ndarray, value: float) -> np.ndarray:
    a = a.astype(np.float32)
    a.reshape(-1)[-1:] = value
    return a


# Outcomes


def answers(call: Call) -> list[Any]:
    """The leaves of the result of the valid call, as NumPy arrays."""
    return _leaves(_call(call.function, call.arguments))


def outcome(case: Case, valid: list[Any]) -> Outcome:
    """Call the function with the spoilt value, and judge what comes."""
    arguments = dict(case.call.arguments)
    name, *rest = case.place
    try:
        with _limit(SECONDS):
            arguments[name] = _put(arguments[name], tuple(rest), case.value)
            leaves = _leaves(_call(case.call.function, arguments))
    except TimeoutError:
        return Outcome("slow")
    except Exception as error:
        return _judge_error(error, case)
    return _judge_answer(case, leaves, valid)


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    positional = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_ONLY
    ]
    rest = {name: value for name, value in arguments.items() if name not in positional}
    return function(*(arguments[name] for name in positional if name in arguments), **rest)


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _leaves(result: Any) -> list[Any]:
    found = []
    for leaf in jax.tree.leaves(result):
        if isinstance(leaf, bool | int | float | np.ndarray | np.generic):
            found.append(np.asarray(leaf))
        elif isinstance(leaf, jax.Array):
            if is_key(leaf):
                leaf = jax.random.key_data(leaf)
            found.append(np.asarray(leaf))
    return found


def _judge_error(error: Exception, case: Case) -> Outcome:
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1].filename if frames else ""
    names = {str(part) for part in case.place} | set(case.call.arguments)
    if "/src/likelax/" not in place or not isinstance(error, ValueError | TypeError):
        return Outcome("inside", f"{text} [{place.rpartition('/')[2]}:{frames[-1].lineno}]")
    if "\n" in str(error).strip():
        return Outcome("unnamed", "more than one line: " + text)
    if names and not any(re.search(rf"\b{re.escape(n)}\b", str(error)) for n in names):
        return Outcome("unnamed", text)
    return Outcome("sentence", text)


def _judge_answer(case: Case, leaves: list[Any], valid: list[Any]) -> Outcome:
    if case.same:
        return Outcome("right") if _close(leaves, valid) else Outcome("changed", _brief(leaves))
    if case.label in NEVER:
        return Outcome("accepted", _brief(leaves))
    before = _leaves(case.call.arguments)
    if _has(np.isnan, leaves) and not _has(np.isnan, valid):
        given = [*_leaves(case.value), *before]
        return Outcome(
            "nan" if _has(np.isfinite, given, every=True) else "passed on", _brief(leaves)
        )
    if _has(np.isnan, _leaves(case.value)) and not _has(np.isnan, [*before, *leaves]):
        return Outcome("swallowed", _brief(leaves))
    return Outcome("right", _brief(leaves))


def _has(test: Callable[..., Any], leaves: list[Any], *, every: bool = False) -> bool:
    """Whether some value of the floating leaves passes a test, or every one."""
    floats = [a for a in leaves if a.dtype.kind in "fc" or a.dtype.name == "bfloat16"]
    found = [test(a.astype(np.complex64)) for a in floats]
    return all(f.all() for f in found) if every else any(f.any() for f in found)


def _close(got: list[Any], want: list[Any]) -> bool:
    if len(got) != len(want) or any(a.shape != b.shape for a, b in zip(got, want, strict=True)):
        return False
    return all(
        np.allclose(a.astype(float), b.astype(float), rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(got, want, strict=True)
        if a.dtype.kind in "biuf"
    )


def _brief(leaves: list[Any]) -> str:
    return " ".join(
        np.array2string(a, precision=3, threshold=4).replace("\n", "") for a in leaves[:2]
    )[:80]
