import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

arviz = pytest.importorskip("arviz")

import likelax as lx  # noqa: E402
from likelax import constraints, predictive, variational  # noqa: E402
from likelax.interop.arviz import from_arviz, to_arviz, to_elpd  # noqa: E402

HAS_TREES = int(arviz.__version__.split(".")[0]) >= 1
Y = np.array([-1.2, 0.3, 0.9, 1.4, 2.2, -0.4])
LOO = jax.jit(predictive.loo)


def log_density(loc, y):
    return -((y - loc) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2


def study(shift, num_draws=900):
    """Draws of a location, and the log likelihoods of all rows.

    Of 900 draws the tail has 3 sqrt(900) = 90: ArviZ 1 rounds it down, all others up.
    """
    loc = jnp.asarray(np.random.default_rng(0).normal(Y.mean() + shift, 0.4, num_draws))
    return loc, jax.vmap(log_density, (0, None))(loc, jnp.asarray(Y))


def test_all_groups_with_names_dims_and_coords():
    draws = {"loc": np.arange(24.0).reshape(12, 2), "tau": np.arange(12.0)}
    data = to_arviz(
        draws,
        num_chains=3,
        sample_stats={"lp": np.zeros(12)},
        log_likelihood=np.full((12, 6), -np.inf),
        posterior_predictive=np.ones((12, 6)),
        prior={"tau": np.ones(5)},
        prior_predictive=np.ones((5, 6)),
        observed_data=lx.Masked(jnp.arange(6), jnp.arange(6) != 2),
        constant_data={"dose": np.ones(6)},
        dims={"loc": ["city"], "x": ["row"], "dose": ["row"]},
        coords={"city": ["a", "b"], "row": list("uvwxyz")},
    )
    posterior = data["posterior"]
    assert dict(posterior["loc"].sizes) == {"chain": 3, "draw": 4, "city": 2}
    np.testing.assert_array_equal(posterior["loc"].sel(chain=1, city="b"), draws["loc"][4:8, 1])
    assert dict(data["log_likelihood"]["x"].sizes) == {"chain": 3, "draw": 4, "row": 6}
    assert (data["log_likelihood"]["x"].values == -np.inf).all()  # none is dropped
    assert dict(data["prior_predictive"]["x"].sizes) == {"chain": 1, "draw": 5, "row": 6}
    np.testing.assert_array_equal(data["observed_data"]["x"].sel(row=["v", "w"]), [1, np.nan])
    assert list(data["constant_data"]["dose"]["row"].values) == list("uvwxyz")
    back = from_arviz(data)
    assert back.keys() == draws.keys()
    for name in draws:
        np.testing.assert_array_equal(back[name], draws[name])
    np.testing.assert_array_equal(from_arviz(data, "observed_data")["x"][:2], [0, 1])


def test_draws_of_guides_posteriors_and_models():
    sets = {"loc": constraints.real, "scale": constraints.positive}
    guide = variational.mean_field({"loc": jnp.zeros(2), "scale": 1.0}, sets)
    data = to_arviz(guide.sample(jax.random.key(0), (50,)))
    assert {n: v.shape for n, v in data["posterior"].data_vars.items()} == {
        "loc": (1, 50, 2),
        "scale": (1, 50),
    }
    posterior = lx.NormalInverseGamma(0.0, 1.0, 2.0, 2.0)
    loc, variance = posterior.sample(jax.random.key(0), (50,))
    data = to_arviz({"loc": loc, "variance": variance})
    np.testing.assert_array_equal(data["posterior"]["variance"].values[0], variance)
    models = lx.Mixture(jnp.full((4, 2), 0.5), lx.Normal(jnp.zeros((4, 2)), jnp.ones((4, 2))))
    names = {"weights", "components.loc", "components.scale"}
    assert set(to_arviz(models)["posterior"].data_vars) == names
    assert set(to_arviz(np.zeros(4))["posterior"].data_vars) == {"theta"}


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_data_return_from_netcdf(tmp_path, engine):
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    models = lx.Mixture(jnp.full((4, 2), 0.5), lx.Normal(jnp.zeros((4, 2)), jnp.ones((4, 2))))
    log_lik = np.array([[-1.0, -np.inf]] * 4)
    data = to_arviz(models, log_likelihood=log_lik, dims={"x": ["row"]}, coords={"row": ["a", "b"]})
    file = tmp_path / "draws.nc"
    data.to_netcdf(str(file), engine=engine)
    read = arviz.from_netcdf(str(file))
    back = from_arviz(read)
    np.testing.assert_array_equal(back["components.scale"], models.components.scale)
    np.testing.assert_array_equal(from_arviz(read, "log_likelihood")["x"], log_lik)
    assert list(read["log_likelihood"]["row"].values) == ["a", "b"]


def quiet(function, *args, **kwargs):
    """ArviZ warns of a high k-hat and of its own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def test_a_comparison_is_that_of_the_whole_arrays(x64):
    ours, theirs = {}, {}
    for name, shift in {"near": 0.1, "far": 0.8, "other": -0.7}.items():
        loc, log_lik = study(shift)
        result = predictive.loo_of(log_density, loc, jnp.asarray(Y))
        ours[name] = to_elpd(result, num_draws=len(loc))
        data = to_arviz({"loc": loc}, log_likelihood=log_lik)
        theirs[name] = quiet(arviz.loo, data, pointwise=True, reff=1.0)
    each = "elpd_i" if HAS_TREES else "loo_i"
    for name, mine in ours.items():
        np.testing.assert_allclose(getattr(mine, each), getattr(theirs[name], each), rtol=1e-10)
        np.testing.assert_allclose(mine.pareto_k, theirs[name].pareto_k, rtol=1e-8)
        fields = ["se", "good_k", "n_samples", "n_data_points", "warning"]
        for field in (*fields, *(("elpd", "p") if HAS_TREES else ("elpd_loo", "p_loo"))):
            np.testing.assert_allclose(
                getattr(mine, field), getattr(theirs[name], field), rtol=1e-8
            )
        assert mine.scale == theirs[name].scale
        assert str(mine).splitlines()[0] == str(theirs[name]).splitlines()[0]
    for method in ("stacking", "pseudo-BMA", "BB-pseudo-BMA"):
        options = {"method": method, **({"round_to": "none"} if HAS_TREES else {"seed": 0})}
        got, want = (quiet(arviz.compare, each, **options) for each in (ours, theirs))
        assert list(got.index) == list(want.index)
        for column in want.columns:
            if want[column].dtype.kind == "f":
                np.testing.assert_allclose(got[column], want[column], atol=1e-8, err_msg=column)
    weights = predictive.stacking_weights({n: _pointwise(e, each) for n, e in ours.items()})
    got = quiet(arviz.compare, ours, method="stacking")["weight"]
    np.testing.assert_allclose([weights[n] for n in got.index], got, atol=1e-2)  # SLSQP at 1e-6


def _pointwise(elpd, each):
    return predictive.elpd_of(jnp.asarray(getattr(elpd, each).values))


def test_plots_take_the_results():
    pytest.importorskip("matplotlib").use("Agg")
    results = {}
    for name, shift in {"near": 0.1, "far": 0.8}.items():
        loc, log_lik = study(shift)
        result = LOO(log_lik)
        labels = [f"row {i}" for i in range(6)]
        results[name] = to_elpd(result, num_draws=len(loc), dim="row", labels=labels)
    assert str(results["far"].pareto_k["row"].values[0]) == "row 0"
    options = {"backend": "matplotlib"}
    quiet(arviz.plot_khat, results["near"], **options)
    quiet(arviz.plot_compare, quiet(arviz.compare, results), **options)
    if not HAS_TREES:
        quiet(arviz.plot_elpd, results, **options)


def test_an_impossible_row_is_reported():
    _, log_lik = study(0.0)
    result = LOO(log_lik.at[3, 1].set(-jnp.inf))
    got = to_elpd(result, num_draws=900)
    total, each = (got.elpd, got.elpd_i) if HAS_TREES else (got.elpd_loo, got.loo_i)
    assert total == -np.inf and each.values[1] == -np.inf and np.isfinite(each.values[[0, 2]]).all()
    assert got.pareto_k.values[1] == np.inf and got.warning and np.isnan(got.se)


def test_waic_where_arviz_has_it():
    loc, log_lik = study(0.0)
    result = predictive.waic(log_lik)
    if HAS_TREES:
        with pytest.raises(TypeError, match="ArviZ 1 has no WAIC"):
            to_elpd(result, num_draws=len(loc))
        return
    data = to_arviz({"loc": loc}, log_likelihood=log_lik)
    want = quiet(arviz.waic, data, pointwise=True)
    got = to_elpd(result, num_draws=len(loc))
    # ArviZ divides the variance over the S draws by S, we by S - 1
    more = want.p_waic * (900 / 899 - 1)
    np.testing.assert_allclose(got.elpd_waic, want.elpd_waic - more, rtol=1e-5)
    np.testing.assert_allclose(got.p_waic, want.p_waic + more, rtol=1e-3)
    assert str(got).splitlines()[0] == str(want).splitlines()[0]


def test_wrong_arguments_get_a_sentence():
    with pytest.raises(ValueError, match="num_chains must divide the 5 draws of posterior, got 2"):
        to_arviz(np.zeros(5), num_chains=2)
    with pytest.raises(ValueError, match="wanted a posterior or another group, got none"):
        to_arviz()
    with pytest.raises(ValueError, match="posterior: every leaf must have the same leading axis"):
        to_arviz({"a": np.zeros(5), "b": np.zeros(4)})
    with pytest.raises(ValueError, match=r"group must be one of \['posterior'\], got 'prior'"):
        from_arviz(to_arviz(np.zeros(5)), "prior")
    with pytest.raises(TypeError, match="result must be a Loo, got None"):
        to_elpd(None, num_draws=5)
