"""Five small real data sets, as NumPy arrays with their units.

Every loader reads a CSV file inside the package, so none needs a network.
"""

import csv
from importlib import resources
from typing import NamedTuple

import numpy as np

__all__ = [
    "Earthquakes",
    "EightSchools",
    "Faithful",
    "Gnp",
    "Penguins",
    "earthquakes",
    "eight_schools",
    "faithful",
    "gnp",
    "penguins",
]


class Faithful(NamedTuple):
    """Eruptions of the Old Faithful geyser; N = 272.

    Attributes:
      eruption: (N,) length of the eruption, minutes.
      waiting: (N,) waiting time to the next eruption, minutes.
    """

    eruption: np.ndarray
    waiting: np.ndarray


class Penguins(NamedTuple):
    """Penguins of three species near Palmer Station, Antarctica; N = 344.

    Attributes:
      species: (N,) integers, positions in `species_names`.
      island: (N,) integers, positions in `island_names`.
      bill_length: (N,) mm; NaN where not measured (2 birds).
      bill_depth: (N,) mm; NaN where not measured (2 birds).
      flipper_length: (N,) mm; NaN where not measured (2 birds).
      body_mass: (N,) g; NaN where not measured (2 birds).
      sex: (N,) integers, positions in `sex_names`; -1 where not known (11 birds).
      year: (N,) year of the study, 2007 to 2009.
      species_names: names of the species, in alphabetical order.
      island_names: names of the islands, in alphabetical order.
      sex_names: ("female", "male").
    """

    species: np.ndarray
    island: np.ndarray
    bill_length: np.ndarray
    bill_depth: np.ndarray
    flipper_length: np.ndarray
    body_mass: np.ndarray
    sex: np.ndarray
    year: np.ndarray
    species_names: tuple[str, ...]
    island_names: tuple[str, ...]
    sex_names: tuple[str, ...]


class Earthquakes(NamedTuple):
    """Large earthquakes of the world by year; T = 107, 1900 to 2006.

    Attributes:
      year: (T,) calendar year.
      counts: (T,) number of earthquakes of magnitude 7 or more in that year.
    """

    year: np.ndarray
    counts: np.ndarray


class EightSchools(NamedTuple):
    """Effect of coaching on test scores in eight schools; N = 8.

    Attributes:
      school: names, "A" to "H".
      effect: (N,) estimated effect of the coaching, points of the test.
      standard_error: (N,) standard error of the estimate, points of the test.
    """

    school: tuple[str, ...]
    effect: np.ndarray
    standard_error: np.ndarray


class Gnp(NamedTuple):
    """Growth of the gross national product of the United States; T = 135.

    Attributes:
      year: (T,) integers.
      quarter: (T,) 1 to 4.
      growth: (T,) 100 times the change of the logarithm from the quarter before.
    """

    year: np.ndarray
    quarter: np.ndarray
    growth: np.ndarray


def faithful() -> Faithful:
    """Old Faithful: eruption length and waiting time.

    Source: Azzalini & Bowman (1990), Applied Statistics 39, 357-365.

    Examples:
      >>> data = faithful()
      >>> data.eruption.shape, float(data.waiting.mean().round(1))
      ((272,), 70.9)
    """
    table = _read("faithful.csv")
    return Faithful(_floats(table["eruption_minutes"]), _floats(table["waiting_minutes"]))


def penguins() -> Penguins:
    """Palmer penguins: species, island, four measurements and sex, with real missing values.

    Source: Gorman, Williams & Fraser (2014), PLoS ONE 9(3): e90081. CC0.

    Examples:
      >>> data = penguins()
      >>> data.species_names, data.species.shape
      (('Adelie', 'Chinstrap', 'Gentoo'), (344,))
      >>> int(np.isnan(data.body_mass).sum()), int((data.sex == -1).sum())
      (2, 11)
    """
    table = _read("penguins.csv")
    species, species_names = _codes(table["species"])
    island, island_names = _codes(table["island"])
    sex, sex_names = _codes(table["sex"])
    return Penguins(
        species=species,
        island=island,
        bill_length=_floats(table["bill_length_mm"]),
        bill_depth=_floats(table["bill_depth_mm"]),
        flipper_length=_floats(table["flipper_length_mm"]),
        body_mass=_floats(table["body_mass_g"]),
        sex=sex,
        year=np.array(table["year"], dtype=np.int32),
        species_names=species_names,
        island_names=island_names,
        sex_names=sex_names,
    )


def earthquakes() -> Earthquakes:
    """Yearly counts of magnitude 7+ earthquakes in the world.

    Source: US Geological Survey; Zucchini & MacDonald (2009), Hidden Markov Models for Time
    Series, table 1.1.

    Examples:
      >>> data = earthquakes()
      >>> data.counts[:3], int(data.counts.sum())
      (array([13, 14,  8], dtype=int32), 2072)
    """
    table = _read("earthquakes.csv")
    return Earthquakes(np.array(table["year"], np.int32), np.array(table["count"], np.int32))


def eight_schools() -> EightSchools:
    """Coaching effects on SAT scores, with their standard errors.

    Source: Rubin (1981), Journal of Educational Statistics 6, 377-401.

    Examples:
      >>> data = eight_schools()
      >>> data.effect
      array([28.,  8., -3.,  7., -1.,  1., 18., 12.])
    """
    table = _read("eight_schools.csv")
    effect, error = _floats(table["effect"]), _floats(table["standard_error"])
    return EightSchools(tuple(table["school"]), effect, error)


def gnp() -> Gnp:
    """Quarterly growth of the gross national product of the United States, 1951 to 1984.

    Source: Hamilton (1989), Econometrica 57, 357-384.

    Examples:
      >>> data = gnp()
      >>> len(data.growth), f"{data.growth.mean():.3f}"
      (135, '0.745')
    """
    table = _read("gnp.csv")
    year, quarter = (np.array(table[name], np.int32) for name in ("year", "quarter"))
    return Gnp(year, quarter, _floats(table["growth"]))


def _read(name: str) -> dict[str, list[str]]:
    """Columns of a CSV file of this package, as text."""
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {column: [row[column] for row in rows] for column in rows[0]}


def _floats(column: list[str]) -> np.ndarray:
    return np.array([float(v) if v not in ("", "NA") else np.nan for v in column])


def _codes(column: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Text as positions in the sorted names; empty text as -1."""
    names = tuple(sorted({v for v in column if v not in ("", "NA")}))
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(v, -1) for v in column], dtype=np.int32), names
