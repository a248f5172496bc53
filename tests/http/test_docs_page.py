"""The page about the API: it opens with nothing but this gateway (see also
tests/clients/test_docs_page.py, where a browser opens it)."""

import gzip
import hashlib
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.gateway_process import ROOT
from tests.http import expect
from tests.http.conftest import KEY, Build, House, house

FILES = ROOT / "kimi_proxy" / "static" / "docs"
VIEWER = "openapi-explorer-2.4.820.min.js"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    config = {"keys": [{"name": "all", "key": KEY}]}
    with house(tmp_path_factory.mktemp("docs"), config) as made:
        yield made


def get(client: FlaskClient, path: str, **options: Any) -> TestResponse:
    """A whole answer, whose file is closed."""
    return client.get(path, buffered=True, **options)


class Links(HTMLParser):
    """Every address that a page names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert not told.keys() & {"style", "onclick", "onload"}, "against the policy"
        self.found += [told[name] or "" for name in ("src", "href") if name in told]


@pytest.mark.parametrize("prefix", ["", "/kimi"])
def test_all_that_it_names_is_here_wherever_it_is(build: Build, prefix: str) -> None:
    client = build(server={"route_prefix": prefix}).client
    answer = get(client, f"{prefix}/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    links = [link for link in Links(answer.text).found if link != "data:,"]
    assert len(links) == 4
    for link in links:
        # As a browser reads it on this page, and one behind a proxy elsewhere.
        assert re.fullmatch(r"[a-z][^:]*", link), "not relative"
        found = get(client, f"{prefix}/{link}")
        assert found.status_code == 200, link
        assert link == "openapi.json" or "nosniff" in f"{found.headers}"


def test_it_may_run_no_script_but_its_files_and_ask_nobody_else(shared: House) -> None:
    answer = get(shared.client, "/docs", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert answer.status_code == 200, "no key is needed"
    policy = dict(
        part.strip().split(" ", 1)
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "<script>" not in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_our_own_files_name_no_other_host() -> None:
    for name in ("index.html", "docs.js", "docs.css"):
        assert "//" not in re.sub(r"^\s*//.*", "", text(name), flags=re.M), name


def text(name: str) -> str:
    return (FILES / name).read_text("utf-8")


def test_the_viewer_is_the_one_that_is_written_down() -> None:
    packed = (FILES / f"{VIEWER}.gz").read_bytes()
    told = (ROOT / "docs/dependencies.md").read_text("utf-8")
    _, version = VIEWER.removesuffix(".min.js").rsplit("-", 1)
    assert f"openapi-explorer {version}" in told
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() in told
    assert f"openapi-explorer {version}" in text("openapi-explorer-licenses.txt")


def test_the_viewer_comes_packed_or_not_and_is_kept_for_ever(shared: House) -> None:
    path = f"/docs/{VIEWER}"
    packed = get(shared.client, path, headers={"Accept-Encoding": "gzip, br"})
    plain = get(shared.client, path)
    refused = get(shared.client, path, headers={"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content_length == len(packed.data) < 250_000
    assert gzip.decompress(packed.data) == plain.data == refused.data
    for answer in (packed, plain, refused):
        assert answer.mimetype == "text/javascript"
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js", "/docs/docs.css"])
def test_what_may_change_is_asked_for_again(shared: House, path: str) -> None:
    answer = get(shared.client, path)
    assert answer.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": answer.headers["ETag"]}
    again = get(shared.client, path, headers=known)
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    "name", ["nothing.js", "index.html", "..%2fdocs.js", f"{VIEWER}.gz", "../app.py"]
)
def test_no_other_file_is_shown(shared: House, name: str) -> None:
    expect.error(get(shared.client, f"/docs/{name}"), 404, "not_found")


def test_every_request_of_it_is_written_down(shared: House) -> None:
    before = ended(shared)
    for path in ("/docs", "/docs/docs.js", f"/docs/{VIEWER}", "/openapi.json"):
        get(shared.client, path)
    assert ended(shared) == before + 4


def ended(shared: House) -> int:
    lines = get(shared.client, "/metrics").text.splitlines()
    told = re.compile(r'kimi_proxy_requests_total{.*"GET /(docs|openapi).*} (\S+)')
    return int(sum(float(m[2]) for line in lines for m in [told.match(line)] if m))


def test_the_package_has_every_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    package = ROOT / "kimi_proxy"
    globs = project["tool"]["setuptools"]["package-data"]["kimi_proxy"]
    packaged: set[Path] = {file for glob in globs for file in package.glob(glob)}
    files = {file for file in package.rglob("*") if file.is_file()}
    assert {f for f in files if f.suffix not in {".py", ".pyc"}} == packaged
