import numpy as np
import pytest

from likelax import datasets


def test_faithful_is_the_published_table():
    data = datasets.faithful()
    assert data.eruption.shape == data.waiting.shape == (272,)
    # R: colMeans(faithful)
    np.testing.assert_allclose(data.eruption.mean(), 3.487783, atol=1e-6)
    np.testing.assert_allclose(data.waiting.mean(), 70.897059, atol=1e-6)


def test_earthquakes_are_the_published_table():
    data = datasets.earthquakes()
    assert data.year[0] == 1900 and data.year[-1] == 2006
    assert np.all(np.diff(data.year) == 1)
    # Zucchini & MacDonald (2009), 1.2: mean 19.36, variance 51.57
    np.testing.assert_allclose(data.counts.mean(), 19.36, atol=5e-3)
    np.testing.assert_allclose(data.counts.var(ddof=1), 51.57, atol=5e-3)
    assert np.issubdtype(data.counts.dtype, np.integer)


def test_eight_schools_are_the_published_table():
    data = datasets.eight_schools()
    assert data.school == tuple("ABCDEFGH")
    np.testing.assert_array_equal(data.effect, [28, 8, -3, 7, -1, 1, 18, 12])
    np.testing.assert_array_equal(data.standard_error, [15, 10, 16, 11, 9, 11, 10, 18])


def test_penguins_keep_their_missing_values():
    data = datasets.penguins()
    assert data.species_names == ("Adelie", "Chinstrap", "Gentoo")
    assert data.island_names == ("Biscoe", "Dream", "Torgersen")
    assert data.sex_names == ("female", "male")
    # Gorman, Williams & Fraser (2014), table 1
    np.testing.assert_array_equal(np.bincount(data.species), [152, 68, 124])
    for name in ("bill_length", "bill_depth", "flipper_length", "body_mass"):
        assert np.isnan(getattr(data, name)).sum() == 2
    np.testing.assert_array_equal(np.unique(data.sex, return_counts=True)[1], [11, 165, 168])
    np.testing.assert_array_equal(np.unique(data.year), [2007, 2008, 2009])


def test_gnp_is_that_of_hamilton():
    data = datasets.gnp()
    assert (data.year[0], data.quarter[0]) == (1951, 2)
    assert (data.year[-1], data.quarter[-1]) == (1984, 4)
    assert np.all(np.diff(4 * data.year + data.quarter) == 1)
    # Hamilton (1989), data set of his program: 100 times the change of the logarithm
    np.testing.assert_allclose(data.growth[:2], [2.59316421, 2.20217133])


@pytest.mark.parametrize("name", ["faithful", "penguins", "earthquakes", "eight_schools", "gnp"])
def test_every_column_has_one_length(name):
    table = getattr(datasets, name)()
    arrays = [column for column in table if isinstance(column, np.ndarray)]
    assert len({len(array) for array in arrays}) == 1
