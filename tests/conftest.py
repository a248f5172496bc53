"""How tests are collected, how patient their properties are, what apps go without."""

import gc
from collections.abc import Generator, Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from werkzeug.routing import Rule

# How long an example takes says how busy the machine is.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests come into being, and none goes: nothing to look for.

    They stay to the end, so they are never looked through again either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_url_is_built() -> Iterator[None]:
    """werkzeug compiles code for building the URLs of each rule, which nobody uses.

    It is nearly all that an app costs, and tests make thousands of apps.
    """

    def unused(*_: Any) -> NoReturn:
        raise AssertionError("an URL was built from its rule")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", lambda *_: unused)
        yield
