"""Calls about the account and around the chat: balance, estimate, search (sheet §4)."""

from typing import Any

from emulators.moonshot.knob import MoonshotKnobs
from emulators.openai import response
from emulators.openai.completion import prompt_tokens
from emulators.openai.refusal import Refused
from emulators.openai.world import Call

FULL_BALANCE = 49.58
VOUCHERS = 46.58


def balance(call: Call) -> Any:
    """Return the money left, from the key's `extra["balance"]`; it may be negative."""
    refused = call.key.state == "no_balance"
    left = call.key.extra.get("balance", 0.0 if refused else FULL_BALANCE)
    voucher = min(VOUCHERS, max(0.0, left))
    data = {
        "available_balance": left,
        "voucher_balance": voucher,
        "cash_balance": round(left - voucher, 2),
    }
    return {"code": 0, "data": data, "scode": "0x0", "status": True}


def estimate(call: Call) -> Any:
    """Return how many tokens a request's messages are."""
    body = call.json()
    call.world.model(body.get("model"))
    call.need(body, "messages", list)
    knobs = call.world.knobs
    assert isinstance(knobs, MoonshotKnobs)
    data = {"data": {"total_tokens": prompt_tokens(body)}}
    if not knobs.old_estimate:
        return data
    return {"code": 0, **data, "scode": "0x0", "status": True}


def search(call: Call) -> Any:
    """Return search results; the fields are Kimi Code's (sheet §3, §9)."""
    body = call.json()
    query = call.need(body, "text_query", str)
    limit = body.get("limit", 5)
    if not isinstance(limit, int) or not 1 <= limit <= 20:
        raise Refused(call.world.rules.invalid("limit must be 1 to 20"))
    timeout = body.get("timeout_seconds", 30)
    if not isinstance(timeout, int) or not 1 <= timeout <= 60:
        raise Refused(call.world.rules.invalid("timeout_seconds must be 1 to 60"))
    rows = [
        {
            "site_name": "Made up",
            "title": f"{query} {number}",
            "url": f"https://example.org/{number}",
            "snippet": "A made-up passage.",
            "content": "A made-up page." if body.get("include_content") else "",
            "date": "2026-09-01",
            "icon": "",
            "mime": "text/html",
        }
        for number in range(1, limit + 1)
    ]
    return {"search_results": rows}


def fetch(call: Call) -> Any:
    """Return the text of a page; the fields are made up (sheet §9)."""
    url = call.need(call.json(), "url", str)
    return {"url": url, "title": "Made up", "content": "A made-up page."}


def respond(call: Call) -> Any:
    """Answer by the Responses API, which only one model has."""
    model = call.json().get("model")
    if model != "kimi-k3":
        raise Refused(call.world.rules.invalid(f"model {model} has no Responses API"))
    return response.respond(call)
