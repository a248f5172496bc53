"""The page about the API in a browser that has no network but the gateway."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import chromium
from tests.clients.chromium import Visit
from tests.http.conftest import KEY, Served, house, serving
from tests.http.scripted import chat

# Finds what is on the page, within the viewer's own trees too, once it is there.
TOOLS = """
const all = (root, found = []) => {
  for (const node of root.querySelectorAll('*')) {
    found.push(node)
    if (node.shadowRoot) all(node.shadowRoot, found)
  }
  return found
}
const until = async (look) => {
  for (let tries = 0; tries < 400; tries++) {
    const found = look()
    if (found) return found
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error(`not to be seen: ${look}`)
}
const one = (suits) => until(() => all(document).find(suits))
const execute = async () => {
  const ready = (n) => n.localName === 'button' && !n.disabled
  ;(await one((n) => ready(n) && n.textContent.trim() === 'EXECUTE')).click()
}
const explorer = document.querySelector('openapi-explorer')
await until(() => explorer.resolvedSpec)
const show = (operation) => explorer.scrollTo(operation)
const type = (field, text) => {
  field.value = text
  field.dispatchEvent(new Event('input', { bubbles: true, composed: true }))
  field.dispatchEvent(new Event('change', { bubbles: true, composed: true }))
}
"""
TRY_IT = """
type(document.getElementById('key'), %(key)s)
await show('get-/v1/models')
await execute()
await until(() => all(document).some((n) => /"scripted.play"/.test(n.textContent)))
await show('post-/v1/chat/completions')
const events = document.getElementById('events')
const progress = document.getElementById('progress')
const ask = async (text) => {
  type(await one((n) => n.localName === 'textarea' && /messages/.test(n.value)), text)
  await execute()
}
await ask(%(endless)s)
await until(() => /piece one/.test(events.textContent))
const during = progress.textContent
document.getElementById('stop').click()
await until(() => /stopped/.test(progress.textContent))
await ask(%(short)s)
await until(() => /ended/.test(progress.textContent))
return {
  tags: explorer.resolvedSpec.tags.map((tag) => tag.name),
  during,
  events: events.textContent,
  kept: [localStorage.length, sessionStorage.length, document.cookie],
}
"""
# Of the endpoints that are handed on all are alike.
ALL_SHOWN = """
const shown = []
for (const tag of explorer.resolvedSpec.tags) {
  const paths = tag.name === 'Relayed' ? tag.paths.slice(0, 6) : tag.paths
  for (const { elementId, method, path } of paths) {
    await show(elementId)
    await one((n) => n.textContent.replace(/\\s+/g, '') === method + path)
    const tabs = all(document).filter((n) => n.localName === 'button')
    tabs.filter((n) => n.textContent.trim() === 'MODEL').forEach((n) => n.click())
    shown.push(method + path)
  }
}
return shown.length
"""
REFUSED = """
await show('get-/v1/models')
await execute()
return (await one((n) => /Status: .*\\(401\\)/.test(n.textContent))).textContent
"""


def in_page(script: str) -> str:
    return f"(async () => {{ {TOOLS} {script} }})()"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway below a prefix, and that behind a proxy which takes one more away.

    The pages of no other origin may call it.
    """
    config = {
        "keys": [{"name": "all", "key": KEY}],
        "server": {"route_prefix": "/kimi", "cors_origins": []},
    }
    directory: Path = tmp_path_factory.mktemp("docs")
    with house(directory, config) as built:
        inner = built.app.wsgi_app

        def proxied(environ: dict[str, Any], start: Any) -> Any:
            path = environ["PATH_INFO"].removeprefix("/outer")
            return inner({**environ, "PATH_INFO": path}, start)

        built.app.wsgi_app = proxied  # type: ignore[method-assign]  # Flask's own way
        with serving(built.app) as port:
            yield Served(port, built.diary)


def opened(served: Served, script: str) -> Visit:
    """What a script came to on the page, which asked for nothing but what is here."""
    here = f"http://127.0.0.1:{served.port}/outer/kimi"
    visit = chromium.visit(f"{here}/docs", in_page(script))
    assert visit.foreign(here) == []
    return visit


@pytest.mark.usefixtures("node_packages")
def test_it_opens_and_tries_calls_with_a_key_streams_as_they_come(
    served: Served,
) -> None:
    endless = chat(["text", "piece one "], ["wait", 60], ["finish"], tag="endless")
    short = chat(["text", "all of it"], ["finish"])
    bodies = {"key": KEY, "endless": json.dumps(endless), "short": json.dumps(short)}
    script = TRY_IT % {name: json.dumps(text) for name, text in bodies.items()}
    visit = opened(served, script)
    assert visit.errors == []
    assert visit.value["tags"][:3] == ["Chat completions", "Responses", "Messages"]
    assert visit.value["during"].startswith("running"), "shown before it was whole"
    served.diary.await_word("closed", "endless")
    assert "piece one" not in visit.value["events"], "of the call before"
    assert "all of it" in visit.value["events"]
    assert visit.value["events"].endswith("data: [DONE]\n\n")
    assert visit.value["kept"] == [0, 0, ""], "the key is kept somewhere"
    assert all(KEY not in request.url for request in visit.requests)


@pytest.mark.usefixtures("node_packages")
def test_every_operation_can_be_shown(served: Served) -> None:
    visit = opened(served, ALL_SHOWN)
    assert visit.errors == []
    assert visit.value > 40


@pytest.mark.usefixtures("node_packages")
def test_without_a_key_a_call_is_refused_and_says_so(served: Served) -> None:
    visit = opened(served, REFUSED)
    assert "401" in visit.value
    assert all("401" in error for error in visit.errors), "the browser's own words"
