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


def _npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def _tables(rng):
    """Tables that are right, odd or broken."""
    lines = TABLE.decode().splitlines()
    cell = rng.choice(
        ["inf", "-1", "1e400", "0x1", "1,5", '"', "nan", "NA", "é", "1_0", "x", " 3 "]
    )
    at = int(rng.integers(1, len(lines)))
    return [
        TABLE,
        TABLE[: int(rng.integers(len(TABLE)))],
        bytes(rng.permutation(np.frombuffer(TABLE, np.uint8))),
        rng.bytes(60),
        b"",
        b"\n\n\n",
        TABLE.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + TABLE,
        TABLE.replace(b",", b";"),
        TABLE.replace(b"m\n", b"n\n"),
        TABLE.replace(b"\n", b"\r\n"),
        TABLE.replace(b"\n", b"\r"),
        TABLE.replace(b"a", b"\x00"),
        TABLE.replace(b"who", b""),
        b"n\n" + b"9" * 200_000 + b"\n",
        b"n\n1\n",
        b"n\n" + b"3\n" * 6,
        b"n\n" + b"NA\n" * 6,
        b"1\n2\n3\n4\n5\n",
        "\n".join([*lines[:at], lines[at].replace(lines[at].split(",")[1], cell)]).encode(),
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


OPTIONS = {
    "--model": [
        "mle:poisson",
        "mle:normal",
        "mle:gamma",
        "mle:beta",
        "hmm:poisson",
        "mle",
        "",
        ":",
        "x:y",
    ],
    "--columns": ["n", "m", "n,m", "who", "", ",", "n,n", "zzz", "column 1"],
    "--group": ["who", "n", "zzz", ""],
    "--states": ["2", "1", "1,2", "2:1", "0", "x", "1:", "-1", ""],
    "--holdout": ["0", "0.5", "0.01", "1", "-1", "nan", "x"],
    "--restarts": ["1", "0", "x"],
    "--seed": ["0", "-1", "99999999999999999999", "x"],
    "--tol": ["0", "-1", "nan", "inf", "x"],
    "--max-steps": ["0", "3", "-1", "x"],
    "--format": ["json", "csv", "yaml"],
    "--output": ["m.npz", "m.pkl", "absent/m.npz", ".", "made.npz"],
}


def _arguments(rng, number):
    """A command about a file of the current folder."""
    ending, contents = (".csv", _tables(rng)) if rng.random() < 0.6 else (".npy", _arrays(rng))
    if rng.random() < 0.05:
        ending = str(rng.choice([".parquet", ".txt", ""]))
    name = f"data{ending}"
    with open(name, "wb") as stream:
        stream.write(contents[number % len(contents)])
    if rng.random() < 0.25:
        with open("model.npz", "rb") as stream:
            model = bytearray(stream.read())
        for _ in range(int(rng.integers(0, 4))):
            model[int(rng.integers(len(model)))] = int(rng.integers(256))
        with open("odd.npz", "wb") as stream:
            stream.write(
                model[: len(model) if rng.random() < 0.7 else int(rng.integers(len(model)))]
            )
        command = str(rng.choice(["score", "decode", "predict", "sample", "check"]))
        return [command, "odd.npz", *([] if command == "sample" else [name])]
    chosen = {
        "--model": "mle:poisson",
        "--max-steps": "2",
        "--restarts": "1",
        "--output": "made.npz",
    }
    for option in rng.choice(list(OPTIONS), int(rng.integers(0, 4)), replace=False):
        chosen[str(option)] = str(rng.choice(OPTIONS[str(option)]))
    return ["fit", name, *(part for pair in chosen.items() for part in pair)]


def faults(count, seed):
    """Of `count` command lines those that end in neither an answer nor one sentence."""
    found = []
    rng = np.random.default_rng(seed)
    for number in range(count):
        arguments = _arguments(rng, number)
        made = runner.invoke(cli.app, arguments)
        wrong = made.exception is not None and not isinstance(made.exception, SystemExit)
        lines = [line for line in made.stderr.splitlines() if line.strip()]
        said = len(lines) == 1 or "Usage:" in made.stderr or made.exit_code == 0
        explained = said or made.exit_code == 1  # the table of the checklist says what fails
        if wrong or made.exit_code not in range(5) or not explained:
            found.append(f"{arguments}: {made.exit_code} {made.exception!r} {made.stderr[-300:]}")
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("n\n1\n0\n5\n6\n0\n1\n")
    options = ("--states", "2", "--restarts", "1", "--max-steps", "2")
    made = runner.invoke(cli.app, ["fit", "good.csv", "--model", "hmm:poisson", *options])
    assert made.exit_code == 0, made.output


def test_odd_files_and_options(home):
    assert faults(40, SEED) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_a_thousand_odd_files_and_options(home, part):
    assert faults(500, part) == []
