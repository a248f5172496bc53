"""What opens pages in Chromium tells of them what it has to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import chromium
from tests.clients.pages import serving_pages

PAGE = """<title>A page</title>
<script type="module">
  console.error('a word of the page')
  fetch('http://127.0.0.1:1/far').catch(() => {})
  fetch('http://far.example/').catch(() => {})
</script>
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place: Path = tmp_path_factory.mktemp("pages")
    (place / "index.html").write_text(PAGE)
    with serving_pages(place) as origin:
        yield origin


@pytest.mark.usefixtures("node_packages")
def test_what_a_page_says_and_asks_for_is_told(origin: str) -> None:
    visit = chromium.visit(f"{origin}/", "Promise.resolve([document.title, 1 + 1])")
    assert visit.value == ["A page", 2]
    assert "a word of the page" in visit.errors
    assert visit.foreign(origin) == ["http://127.0.0.1:1/far", "http://far.example/"]
    assert visit.requests[0].url == f"{origin}/"


@pytest.mark.usefixtures("node_packages")
def test_an_expression_that_throws_is_an_error(origin: str) -> None:
    with pytest.raises(AssertionError, match="oh no"):
        chromium.visit(f"{origin}/", "Promise.reject(new Error('oh no'))")


def test_without_chromium_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AssertionError, match="apt-get install chromium"):
        chromium.executable()
