"""Broken files and odd options through the command line: an answer or one sentence, never a traceback."""

import io
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from likelax import cli

SEED = int(os.environ["TEST_SEED"])
runner = CliRunner()

TABLE = b"who,n,m\na,1,2.5\na,0,3.5\nb,,1.0\nb,4,0.5\nb,2,2.0\nc,7,1.5\n"
MIXED = b"kind,n,m,w\na,1,2.5,1\na,0,3.5,0\nb,,1.0,2\nb,4,0.5,1\na,2,2.0,1\n,7,1.5,3\n"


def _npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def _tables(rng, table):
    """Tables that are right, odd or broken."""
    lines = table.decode().splitlines()
    odd = ["inf", "-1", "1e400", "0x1", "1,5", '"', "nan", "NA", "é", "1_0", "x", " 3 ", "1e30"]
    cell, at = rng.choice(odd), int(rng.integers(1, len(lines)))
    column = int(rng.integers(lines[0].count(",") + 1))
    row = lines[at].split(",")
    row[column] = cell
    name = lines[0].split(",")[1].encode()
    return [
        table,
        table[: int(rng.integers(len(table)))],
        bytes(rng.permutation(np.frombuffer(table, np.uint8))),
        rng.bytes(60),
        b"",
        b"\n\n\n",
        table.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + table,
        table.replace(b",", b";"),
        table.replace(b",", b"\t"),
        table.replace(b",", b";").replace(b".", b","),
        table.replace(b"m\n", b"n\n"),
        table.replace(b"\n", b"\r\n"),
        table.replace(b"\n", b"\r"),
        table.replace(b"a", b"\x00"),
        table.replace(lines[0].split(",")[0].encode(), b""),
        table.replace(b",1", b",7"),
        table.replace(b"b", b"a"),
        name + b"\n" + b"9" * 200_000 + b"\n",
        name + b"\n1\n",
        name + b"\n" + b"3\n" * 6,
        name + b"\n" + b"NA\n" * 6,
        b"1\n2\n3\n4\n5\n",
        "\n".join([*lines[:at], ",".join(row), *lines[at + 1 :]]).encode(),
        "\n".join([*lines[:at], f"a,{cell},1", *lines[at:]]).encode(),
    ]


def _arrays(rng):
    good = rng.poisson(3.0, 6).astype(np.float32)
    return [
        _npy(good),
        _npy(good)[: int(rng.integers(130))],
        _npy(good[:0]),
        _npy(good.reshape(3, 2)),
        _npy(good.reshape(3, 2)[:, :0]),
        _npy(good.reshape(1, 3, 2)),
        _npy(np.float64(3.0)),
        _npy(good + 1j),
        _npy(good.astype(">f8")),
        _npy(good > 2),
        _npy(good.astype(np.int64) * 2**40),
        _npy(good.astype(str)),
        _npy(good.astype(object), allow_pickle=True),
        _npy(np.full(6, np.nan)),
        _npy(np.full(6, np.inf)),
        _npy(np.full(6, 1e300)),
        _npy(-good),
        b"\x93NUMPY\x01\x00" + rng.bytes(100),
        TABLE,
    ]


def _npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return bytearray(stream.getvalue())


def _archives(rng):
    """Archives of columns, right and odd; one in two is damaged."""
    n, kind = rng.poisson(3.0, 6), np.array(list("aabbab"))
    found = [
        _npz(n=n, kind=kind),
        _npz(n=n, m=rng.normal(size=(6, 2)), kind=kind),
        _npz(n=n[:5], kind=kind),
        _npz(n=n.reshape(1, 2, 3)),
        _npz(n=np.float32(1.0)),
        _npz(n=n + 1j, kind=kind),
        _npz(n=n.astype(object), kind=kind),
        _npz(head=n),
        _npz(),
    ]
    return [_damaged(rng, one) if rng.random() < 0.5 else bytes(one) for one in found]


def _damaged(rng, file):
    """A file with a few bytes changed, or cut off."""
    file = bytearray(file)
    for _ in range(int(rng.integers(0, 4))):
        file[int(rng.integers(len(file)))] = int(rng.integers(256))
    return bytes(file[: len(file) if rng.random() < 0.7 else int(rng.integers(len(file)))])


OPTIONS = {
    "--model": [
        "mle:poisson", "mle:normal", "mle:gamma", "mle:beta", "mle:mixed", "mle:categorical",
        "hmm:poisson", "mixture:mixed", "naive-bayes:gaussian", "naive-bayes:bernoulli",
        "naive-bayes:multinomial", "naive-bayes:categorical", "naive-bayes:mixed",
        "regression:normal", "regression:logistic", "regression:softmax", "regression:poisson",
        "regression:negative-binomial", "regression:gamma", "mle", "", ":", "x:y",
    ],
    "--columns": ["n", "m", "n,m", "who", "kind", "kind,n", "", ",", "n,n", "zzz", "column 1"],
    "--column": ["n:normal", "kind:categorical", "n:categorical", "m:poisson", "n:zzz", "n", ":", "z:normal"],
    "--label": ["kind", "who", "n", "m", "zzz", "", "column 1"],
    "--weight": ["w", "n", "m", "kind", "zzz", ""],
    "--group": ["who", "kind", "n", "zzz", ""],
    "--states": ["2", "1", "1,2", "2:1", "0", "x", "1:", "-1", "", "1:99999999999"],
    "--holdout": ["0", "0.5", "0.01", "1", "-1", "nan", "x"],
    "--restarts": ["1", "0", "x", "99999999999"],
    "--seed": ["0", "-1", "99999999999999999999", "x"],
    "--tol": ["0", "-1", "nan", "inf", "x"],
    "--max-steps": ["0", "3", "-1", "x", "999999999", "99999999999"],
    "--format": ["json", "csv", "yaml"],
    "--device": ["cpu", "0", "9", "-1", "x", ""],
    "--output": ["m.npz", "m.pkl", "absent/m.npz", ".", "folder.npz", "made.npz"],
}  # fmt: skip
# What fits `MIXED`, before further options spoil it.
RIGHT = [
    {"--model": "mle:mixed", "--columns": "kind,n,m"},
    {"--model": "mixture:mixed", "--columns": "n,m"},
    {"--model": "hmm:mixed", "--columns": "kind,m"},
    {"--model": "mle:poisson", "--columns": "n", "--weight": "w"},
    {"--model": "naive-bayes:categorical", "--columns": "n", "--label": "kind"},
    {"--model": "naive-bayes:multinomial", "--columns": "n,w", "--label": "kind"},
    {"--model": "regression:normal", "--columns": "n,kind", "--label": "m"},
    {"--model": "regression:logistic", "--columns": "m", "--label": "kind", "--weight": "w"},
    {"--model": "regression:softmax", "--columns": "m", "--label": "w"},
    {"--model": "regression:negative-binomial", "--columns": "m", "--label": "n", "--weight": "w"},
]
FLAGS = ["--no-infer", "--json", "--csv", "--quiet"]
USES = ["score", "decode", "predict", "sample", "check", "compare"]


def _arguments(rng, number):
    """A command about a file of the current folder."""
    right = bool(rng.random() < 0.5)
    table = MIXED if right or rng.random() < 0.5 else TABLE
    kinds = [(".csv", _tables(rng, table)), (".npy", _arrays(rng)), (".npz", _archives(rng))]
    ending, contents = kinds[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
    if rng.random() < 0.05:
        ending = str(rng.choice([".parquet", ".txt", ""]))
    name = f"data{ending}"
    with open(name, "wb") as stream:
        stream.write(contents[number % len(contents) if rng.random() < 0.7 else 0])
    flags = [str(flag) for flag in FLAGS if rng.random() < 0.05]
    if rng.random() < 0.3:
        kept = str(rng.choice(["model.npz", "bayes.npz", "line.npz"]))
        with open(kept, "rb") as stream:
            model = stream.read()
        with open("odd.npz", "wb") as stream:
            stream.write(model if rng.random() < 0.5 else _damaged(rng, model))
        command, flags = str(rng.choice(USES)), [flag for flag in flags if flag != "--no-infer"]
        if command == "compare":
            return [command, "odd.npz", kept, name, *flags]
        rest = ["--count", str(rng.choice(["3", "0", "10000000000000"]))]
        return [command, "odd.npz", *(rest if command == "sample" else [name]), *flags]
    chosen = {
        "--model": "mle:poisson",
        "--max-steps": "2",
        "--restarts": "1",
        "--output": "made.npz",
    }
    if right:
        chosen |= {"--states": "2"} | RIGHT[int(rng.integers(len(RIGHT)))]
    for option in rng.choice(list(OPTIONS), int(rng.integers(0, 2 if right else 5)), replace=False):
        chosen[str(option)] = str(rng.choice(OPTIONS[str(option)]))
    return ["fit", name, *(part for pair in chosen.items() for part in pair), *flags]


def faults(count, seed):
    """Of `count` command lines those that end in neither an answer nor one sentence."""
    found = []
    rng = np.random.default_rng(seed)
    for number in range(count):
        arguments = _arguments(rng, number)
        made = runner.invoke(cli.app, arguments)
        wrong = made.exception is not None and not isinstance(made.exception, SystemExit)
        lines = [line for line in made.stderr.splitlines() if line.strip()]
        # the table of columns, or where the model is written, may be said before what is wrong
        sentence = bool(lines) and lines[-1].startswith("likelax: ")
        refused = made.exit_code in (2, 3) and "Usage:" in made.stderr
        explained = made.exit_code in (0, 1) or sentence or refused
        if wrong or made.exit_code not in range(5) or not explained or "Traceback" in made.output:
            found.append(f"{arguments}: {made.exit_code} {made.exception!r} {made.stderr[-300:]}")
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("n\n1\n0\n5\n6\n0\n1\n")
    (tmp_path / "pets.csv").write_bytes(MIXED)
    (tmp_path / "folder.npz").mkdir()
    hmm = ("good.csv", "--model", "hmm:poisson", "--restarts", "1", "--max-steps", "2")
    bayes = ("pets.csv", "--model", "naive-bayes:categorical", "--label", "kind", "--columns", "n")
    line = ("pets.csv", "--model", "regression:normal", "--label", "m", "--columns", "n")
    for options, file in ((hmm, "model.npz"), (bayes, "bayes.npz"), (line, "line.npz")):
        made = runner.invoke(cli.app, ["fit", *options, "--output", file, "--holdout", "0.3"])
        assert made.exit_code in (0, 4) and (tmp_path / file).exists(), made.output


def test_odd_files_and_options(home):
    assert faults(40, SEED) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_odd_files_and_options(home, part):
    assert faults(500, part) == []
