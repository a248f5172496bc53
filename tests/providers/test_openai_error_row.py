"""Every row of the emulators' tables of errors, before an answer and within one.

The Moonshot sheet's rows (§5, §7) by name; the other vendors' are those of
`test_openai_error.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import orjson
import pytest
from requests.structures import CaseInsensitiveDict

from emulators.moonshot import MOONSHOT_ERRORS
from emulators.openai import ERRORS, FURTHER_ERRORS, Refusal
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event, Finished, Relayed, TextDelta
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.upstream import Reply
from tests.providers.test_openai_error import VENDORS

NOW = 1_800_000_000.0
SHEET: Mapping[str, str] = {
    "moonshot.content_filter": "ContentRefused",
    "moonshot.invalid": "UpstreamRejected",
    "moonshot.input_too_long": "ContextTooLong",
    "moonshot.token_limit": "ContextTooLong",
    "moonshot.purpose": "UpstreamRejected",
    "moonshot.file_too_large": "UpstreamRejected",
    "moonshot.file_empty": "UpstreamRejected",
    "moonshot.too_many_files": "StorageFull",
    "moonshot.auth": "TokenDead",
    "moonshot.key": "TokenDead",
    "moonshot.not_open": "ModelForbidden",
    "moonshot.other_user": "ModelForbidden",
    "moonshot.model": "ModelUnavailable",
    "moonshot.overloaded": "UpstreamOverloaded",
    "moonshot.quota": "AccountExhausted",
    "moonshot.suspended": "AccountExhausted",
    "moonshot.balance": "AccountExhausted",
    "moonshot.balance_403": "AccountExhausted",
    "moonshot.concurrency": "UpstreamRateLimited",
    "moonshot.concurrency_other": "UpstreamRateLimited",
    "moonshot.rpm": "UpstreamRateLimited",
    "moonshot.tpm": "UpstreamRateLimited",
    "moonshot.project_tpm": "UpstreamRateLimited",
    "moonshot.tpd": "UpstreamRateLimited",
    "moonshot.extract": "UpstreamRejected",
    "moonshot.unexpected": "UpstreamFailed",
    "moonshot.timeout": "UpstreamTimeout",
    "code.key": "TokenDead",
    "code.auth": "TokenDead",
    "code.plan": "AccountExhausted",
    "code.client": "GatewayForbidden",
    "code.quota": "AccountExhausted",
    "code.quota_5h": "AccountExhausted",
    "code.quota_week": "AccountExhausted",
    "code.quota_month": "AccountExhausted",
    "code.sanction": "AccountSuspended",
    "code.concurrency": "UpstreamRateLimited",
    "code.overloaded": "UpstreamOverloaded",
    "code.overloaded_other": "UpstreamOverloaded",
    "code.rate": "UpstreamRateLimited",
    "code.period": "AccountExhausted",
    "code.month": "AccountExhausted",
    "code.size": "ContextTooLong",
    "code.token_limit": "ContextTooLong",
    "code.image": "UpstreamRejected",
    "code.duplicated": "UpstreamRejected",
    "code.content_filter": "ContentRefused",
    "code.model": "ModelUnavailable",
    "code.method": "UpstreamUnsupported",
}
# Where only the status tells which it is, and an answer has none any more: an error of
# the upstream's, or of the request if it says so.
VAGUE_WITHIN: Mapping[str, str] = {
    "openai.no_member": "UpstreamRejected",
    "openai.permission": "UpstreamRejected",
    "vllm.key": "UpstreamFailed",
    "mistral.rate_plain": "UpstreamFailed",
    "mistral.key": "UpstreamFailed",
    "moonshot.too_many_files": "UpstreamRejected",
    "moonshot.extract": "UpstreamFailed",
    "code.plan": "UpstreamFailed",
}
ROWS: Mapping[str, Refusal] = {**ERRORS, **FURTHER_ERRORS, **MOONSHOT_ERRORS}
MEANINGS = {**VENDORS, **SHEET}
# Those that are JSON: a page cannot come within an answer.
OBJECTS = [n for n, row in ROWS.items() if row.text is None and row.document]
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'


def test_every_row_of_the_sheet_is_here() -> None:
    assert SHEET.keys() == MOONSHOT_ERRORS.keys() - ERRORS.keys()
    assert set(OBJECTS) <= MEANINGS.keys()


@pytest.mark.parametrize("row", SHEET)
def test_a_row_in_place_of_an_answer_means_what_the_sheet_says(row: str) -> None:
    told = ROWS[row]
    headers = CaseInsensitiveDict({"content-type": told.content_type})
    error = refused(Reply(told.status, headers, told.body()), NOW)
    assert type(error).__name__ == SHEET[row]
    assert "madeup" not in error.message


@pytest.mark.parametrize("row", OBJECTS)
def test_a_row_within_an_answer_is_an_error_and_never_text(row: str) -> None:
    body = orjson.dumps(orjson.loads(ROWS[row].body()))
    events = [start + body + b"\n\n" for start in (b"data: ", b"event: error\ndata: ")]
    for said, relays in product([*events, body], (True, False)):
        seen: list[Event] = []
        with pytest.raises(GatewayError) as caught:
            seen.extend(streamed(iter([HELLO + said]), relays=relays))
        assert type(caught.value).__name__ == VAGUE_WITHIN.get(row, MEANINGS[row])
        assert "madeup" not in caught.value.message
        assert not any(isinstance(event, Finished) for event in seen)


@pytest.mark.parametrize("row", OBJECTS)
def test_a_row_under_status_200_is_no_answer(row: str) -> None:
    with pytest.raises(GatewayError) as caught:
        list(whole(ROWS[row].body(), relays=True))
    assert type(caught.value).__name__ == VAGUE_WITHIN.get(row, MEANINGS[row])


def test_what_came_before_an_error_was_said() -> None:
    error = orjson.dumps({"error": {"message": "made up"}})
    for relays in (True, False):
        seen: list[Event] = []
        with pytest.raises(GatewayError):
            seen.extend(
                streamed(iter([HELLO + b"data: " + error + b"\n\n"]), relays=relays)
            )
        (said,) = seen
        meant = said.events if isinstance(said, Relayed) else (said,)
        assert meant == (TextDelta("hello"),)
