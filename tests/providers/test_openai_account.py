"""What the calls about an account tell (Moonshot sheet §4, §7)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kimi_proxy.errors import AccountExhausted, UpstreamGarbled
from kimi_proxy.providers.openai_account import Account, read

NOW = 1_800_000_000.0
RESET = "2027-01-15T09:00:00.416717Z"


def balance(left: Any) -> Any:
    return {"code": 0, "data": {"available_balance": left}, "status": True}


def usages(week: dict[str, str], window: dict[str, str]) -> Any:
    return {"usage": week, "limits": [{"window": {"duration": 300}, "detail": window}]}


FREE = {"limit": "100", "used": "40", "remaining": "60"}


@pytest.mark.parametrize(
    ("account", "document"),
    [
        ("none", {"data": []}),
        ("moonshot", balance(0.01)),
        ("moonshot", balance("odd")),
        ("moonshot", {"data": None}),
        ("kimi-code", usages(FREE, FREE)),
        ("kimi-code", usages({"limit": "100", "used": "99"}, {})),
        ("kimi-code", usages({"limit": "100"}, {"remaining": "odd"})),
        ("kimi-code", {"limits": "odd"}),
        ("kimi-code", {"limits": ["odd", {"detail": None}]}),
    ],
)
def test_an_account_that_may_spend(account: Account, document: Any) -> None:
    read(account, orjson.dumps(document), NOW)


@pytest.mark.parametrize(
    ("account", "document", "wait"),
    [
        ("moonshot", balance(0), None),
        ("moonshot", balance(-1.25), None),
        ("kimi-code", usages({**FREE, "remaining": "0"}, FREE), None),
        ("kimi-code", usages({"limit": "100", "used": "100"}, FREE), None),
        (
            "kimi-code",
            usages(FREE, {**FREE, "remaining": "0", "resetTime": RESET}),
            3600.416717,
        ),
        (
            "kimi-code",
            usages({**FREE, "remaining": "0", "resetTime": "odd"}, FREE),
            None,
        ),
    ],
)
def test_an_account_that_may_not(
    account: Account, document: Any, wait: float | None
) -> None:
    with pytest.raises(AccountExhausted) as caught:
        read(account, orjson.dumps(document), NOW)
    assert caught.value.retry_after == pytest.approx(wait)


def test_an_answer_that_is_none_tells_nothing() -> None:
    with pytest.raises(UpstreamGarbled):
        read("moonshot", b"nonsense", NOW)
