"""Both programs of the engine: chains as small as the tests' are given the small one."""

import jax
import pytest

from likelax.hmm import certified


@pytest.fixture(scope="module", params=["small program", "large program"])
def both_programs(request):
    """The test runs with the one exact recursion, and with the certified one and its fallback."""
    if request.param == "small program":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certified, "_SMALL", 0)
        patch.setattr(certified, "_MEDIUM", 0)
        jax.clear_caches()  # what was compiled by the other choice
        yield
        jax.clear_caches()


@pytest.fixture
def large_program(monkeypatch):
    """The certified program whatever the size; what the test patches is not compiled before."""
    monkeypatch.setattr(certified, "_SMALL", 0)
    monkeypatch.setattr(certified, "_MEDIUM", 0)
    jax.clear_caches()
    yield
    jax.clear_caches()
