"""docs/errors.md has every code that a client may meet, with its status."""

import re
from collections.abc import Iterator
from pathlib import Path

from kimi_proxy.errors import ClientError, GatewayError, PoolError, UpstreamError

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text("utf-8")
# These only gather others: nothing raises them.
GATHER = {GatewayError, ClientError, PoolError, UpstreamError}


def kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    if kind.__module__ == GatewayError.__module__:
        yield kind
    for narrower in kind.__subclasses__():
        yield from kinds(narrower)


def test_every_code_has_a_row_with_its_status_and_no_other_has() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| \S", PAGE, re.M)
    known = {
        (kind.code or "null", str(kind.status))
        for kind in set(kinds(GatewayError)) - GATHER
    }
    assert sorted(rows) == sorted(known)
