"""A real Chromium without a window opens an address; what the page did there.

visit = chromium.visit("http://127.0.0.1:8000/docs")
assert visit.foreign("http://127.0.0.1:8000") == []
assert visit.errors == []
"""

import json
import shutil
from dataclasses import dataclass
from typing import Any

from tests.clients import nodejs

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Request:
    """What the page asked for; `kind` as Chromium calls it, such as `Fetch`; a
    preflight is a request of method OPTIONS.

    `headers` are those that the page asked with, their names in lower case.
    """

    url: str
    method: str
    kind: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Visit:
    """How a visit went: what the expression came to, and all that happened meanwhile.

    `errors` are what the console had of warnings and errors, uncaught ones included.
    """

    value: Any
    errors: list[str]
    requests: list[Request]

    def foreign(self, *origins: str) -> list[str]:
        """The addresses that were asked for and lie at none of these origins."""
        own = tuple(f"{origin}/" for origin in origins)
        inner = ("data:", "blob:", *own)
        return [r.url for r in self.requests if not r.url.startswith(inner)]


def visit(
    url: str, expression: str = "document.title", *, seconds: float = 60
) -> Visit:
    """Open the address, wait for its network to be idle, evaluate the expression.

    The expression is JavaScript; a promise is awaited. The browser has a new profile
    and can reach 127.0.0.1 alone. Raises AssertionError where the page does not load
    or the expression throws. `nodejs.install()` comes before.
    """
    said = nodejs.run("visit.mjs", executable(), url, expression, seconds=seconds)
    found = json.loads(said)
    requests = [Request(**request) for request in found["requests"]]
    return Visit(found["value"], found["errors"], requests)


def executable() -> str:
    """Where Chromium is; raises AssertionError where it is not."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no Chromium: apt-get install chromium"
    return found
