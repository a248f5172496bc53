"""Pages in a real Chromium call the gateway with the JavaScript SDKs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import chromium, nodejs
from tests.clients.chromium import Request
from tests.clients.pages import serving_pages
from tests.clients.stage import PAGE_ONCE, Stage
from tests.http.conftest import KEY, house, serving

pytestmark = [pytest.mark.usefixtures("node_packages"), pytest.mark.timeout(180)]
PAGE = """<!doctype html><title>A page</title><link rel="icon" href="data:,">
<script src="page.js"></script>
"""
# What the clients send of their own, and browsers ask for before they let it pass.
STAINLESS = "arch lang os package-version retry-count runtime runtime-version timeout"
SENT = {
    *("authorization", "content-type", "anthropic-version", "anthropic-beta"),
    "anthropic-dangerous-direct-browser-access",
    *(f"x-stainless-{name}" for name in STAINLESS.split()),
}


@pytest.fixture(scope="module")
def page(stage: Stage, node_packages: None) -> Path:
    """The directory of a page with both SDKs in one script."""
    nodejs.bundle("browser.mjs", stage.pages / "page.js")
    (stage.pages / "index.html").write_text(PAGE)
    return stage.pages


@pytest.fixture(scope="module")
def stranger(page: Path) -> Iterator[str]:
    """The same page at an origin that may not call."""
    with serving_pages(page) as origin:
        yield origin


def asked_for(requests: list[Request]) -> set[str]:
    """Every header that the browser asked whether it may send it."""
    name = "access-control-request-headers"
    preflights = [r.headers for r in requests if r.method == "OPTIONS"]
    return {one for headers in preflights for one in headers.get(name, "").split(",")}


@pytest.mark.usefixtures("page")
def test_a_page_that_may_call_gets_all_of_it(stage: Stage) -> None:
    code = f"run({stage.url!r}, {KEY!r}, {PAGE_ONCE!r})"
    visit = chromium.visit(f"{stage.origin}/", code)
    assert visit.value == dict.fromkeys(visit.value, "ok")
    assert len(visit.value) == 13
    assert visit.foreign(stage.origin, stage.url) == []
    assert asked_for(visit.requests) >= SENT
    # Nothing but the refusals that it provoked.
    assert all("Failed to load resource" in error for error in visit.errors)
    assert stage.tries("page-busy") == 3
    stage.gateway.diary.await_word("closed", "page-left")


def test_the_browser_keeps_a_stranger_out(stage: Stage, stranger: str) -> None:
    before = len(stage.web.log.all())
    visit = chromium.visit(f"{stranger}/", f"refused({stage.url!r}, {KEY!r})")
    assert visit.value == ["APIConnectionError", "APIConnectionError"]
    assert sum("blocked by CORS policy" in error for error in visit.errors) == 2
    assert len(stage.web.log.all()) == before


def test_without_a_list_a_key_is_all_that_a_page_needs(
    tmp_path: Path, stranger: str
) -> None:
    config = {"keys": [{"name": "page", "key": KEY}]}
    with house(tmp_path, config) as open_house, serving(open_house.app) as port:
        code = f"refused('http://127.0.0.1:{port}', {KEY!r})"
        assert chromium.visit(f"{stranger}/", code).value == ["answered", "answered"]
