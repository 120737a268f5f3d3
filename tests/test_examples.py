import runpy
from pathlib import Path

import pytest

# what an example must say: the answers to its questions, with the digits that no seed changes
ANSWERS = {
    "earthquakes": ("p = 0.49",),  # of a trend
    "empirical_bayes": ("1940s:  29.8 a year seen,  28.9 expected (26.3 to 31.6)",),
    "great_earthquakes": (  # SciPy's gamma and Lomax say the same
        "tail index 0.82, 90% between 0.53 and 1.16",
        "0.055 at the most probable index, 0.072 over all",
        "below magnitude 10.3",
    ),
    "penguins": ("  2        -467.3", "  1        -486.56 +- 9.77"),  # ten folds
    "recessions": ("82% are decided", "over all quarters: True", "Poisson                -189.79"),
    "schools": ("with 0.6 +- 0.2 parameters", "nothing 0.26, the same 0.47, another 0.27"),
}
EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_stands(example, capsys):
    runpy.run_path(str(example), run_name="__main__")
    out = capsys.readouterr().out
    assert out
    for answer in ANSWERS.get(example.stem, ()):
        assert answer in out
