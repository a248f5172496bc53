"""What refusals of the Connect wire mean (connect sheet §8)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy import errors
from kimi_proxy.errors import GatewayError
from kimi_proxy.providers.kimi_connect_error import error_of, read

JWT = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJtYWRlLXVwIn0.made-up_signature"


def connect_error(
    code: str,
    message: str = "",
    *,
    reason: str = "",
    localized: str = "",
    violations: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    debug = {
        "reason": reason,
        "localizedMessage": {"locale": "en-US", "message": localized},
        "violations": [
            {
                "field": {"elements": [{"fieldName": n} for n in name.split(".")]},
                "message": text,
            }
            for name, text in violations
        ],
    }
    details = [{"type": "t", "value": "AA==", "debug": debug}]
    return {"code": code, "message": message, "details": details}


def error(document: object, status: int | None = None) -> GatewayError:
    return error_of(read(document, status))


EXHAUSTED = "resource_exhausted"
ROWS: list[tuple[dict[str, Any], type[GatewayError], str]] = [
    (connect_error("unauthenticated"), errors.TokenRejected, "unauthenticated"),
    (
        connect_error("unknown", reason="REASON_INVALID_AUTH_TOKEN"),
        errors.TokenRejected,
        "REASON_INVALID_AUTH_TOKEN",
    ),
    (
        connect_error(EXHAUSTED, "a chat Session in progress, wait"),
        errors.AccountBusy,
        EXHAUSTED,
    ),
    (
        connect_error(EXHAUSTED, localized="session in progress"),
        errors.AccountBusy,
        EXHAUSTED,
    ),
    (
        connect_error(EXHAUSTED, "too many requests"),
        errors.UpstreamRateLimited,
        EXHAUSTED,
    ),
    (
        connect_error(EXHAUSTED, reason="REASON_SERVER_OVERLOADED_FOR_FREE_USER"),
        errors.UpstreamOverloaded,
        "REASON_SERVER_OVERLOADED_FOR_FREE_USER",
    ),
    (
        connect_error("unknown", reason="REASON_COMPLETION_OVERLOADED"),
        errors.UpstreamOverloaded,
        "REASON_COMPLETION_OVERLOADED",
    ),
    (
        connect_error(EXHAUSTED, reason="MODEL_RATE_LIMIT"),
        errors.ModelRateLimited,
        "MODEL_RATE_LIMIT",
    ),
    (connect_error("MODEL_RATE_LIMIT"), errors.ModelRateLimited, "MODEL_RATE_LIMIT"),
    (connect_error("invalid_argument"), errors.UpstreamRejected, "invalid_argument"),
    (
        connect_error("invalid_argument", violations=(("message", "is too long"),)),
        errors.ContextTooLong,
        "invalid_argument",
    ),
    (connect_error("permission_denied"), errors.UpstreamForbidden, "permission_denied"),
    (connect_error("not_found"), errors.UpstreamNotFound, "not_found"),
    (connect_error("unimplemented"), errors.UpstreamUnsupported, "unimplemented"),
    (connect_error("unavailable"), errors.UpstreamFailed, "unavailable"),
    (connect_error("deadline_exceeded"), errors.UpstreamTimeout, "deadline_exceeded"),
    (connect_error("internal"), errors.UpstreamFailed, "internal"),
    (connect_error("brand_new_code"), errors.UpstreamFailed, "brand_new_code"),
]


@pytest.mark.parametrize(("document", "kind", "code"), ROWS)
@pytest.mark.parametrize("status", [None, 200, 500])
def test_every_row_of_the_sheet_has_its_error(
    document: dict[str, Any], kind: type[GatewayError], code: str, status: int | None
) -> None:
    for shape in (document, {"error": document}):
        caught = error(shape, status)
        assert type(caught) is kind
        assert caught.upstream_code == code
        assert caught.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.UpstreamRejected),
        (401, errors.TokenRejected),
        (403, errors.UpstreamForbidden),
        (404, errors.UpstreamNotFound),
        (405, errors.UpstreamUnsupported),
        (408, errors.UpstreamTimeout),
        (413, errors.ContextTooLong),
        (429, errors.UpstreamRateLimited),
        (500, errors.UpstreamFailed),
        (501, errors.UpstreamUnsupported),
        (502, errors.UpstreamFailed),
        (503, errors.UpstreamFailed),
        (504, errors.UpstreamTimeout),
        (520, errors.UpstreamFailed),
    ],
)
@pytest.mark.parametrize("body", [None, {}, [], "no", {"code": 5, "details": "x"}])
def test_a_status_alone_is_enough(
    status: int, kind: type[GatewayError], body: object
) -> None:
    caught = error(body, status)
    assert type(caught) is kind
    assert caught.upstream_code == f"http_{status}"
    assert caught.message


def test_a_busy_account_is_tried_again_after_three_seconds() -> None:
    report = read(connect_error(EXHAUSTED, "session in progress"))
    assert error_of(report).retry_after == 3
    assert error_of(report, 8).retry_after == 8


def test_the_message_is_the_services_own_or_its_localized_one() -> None:
    assert error(connect_error("internal", "own", localized="other")).message == "own"
    assert error(connect_error("internal", localized="other")).message == "other"
    assert error(connect_error("internal", " ")).message == "Kimi failed"


def test_a_violation_names_its_field() -> None:
    violations = (("message.blocks", "value is required"), ("scenario", "unknown"))
    caught = error(connect_error("invalid_argument", "bad", violations=violations))
    assert caught.message == (
        "bad (message.blocks: value is required; scenario: unknown)"
    )
    assert type(caught) is errors.UpstreamRejected


@pytest.mark.parametrize(
    "text",
    [
        f"token {JWT} is bad",
        f"Bearer {JWT}",
        "bearer opaque-made-up-secret",
        f"cookie=kimi-auth={JWT};",
        f"{JWT[:60]}\n{JWT[60:]}",
        "key sk-madeup" + "0123456789" * 4,
        "opaque " + "A1b2" * 20,
    ],
)
def test_no_token_survives_in_a_message(text: str) -> None:
    violations = ((text.replace(".", "_"), text),)
    for caught in (
        error(connect_error("internal", text)),
        error(connect_error("invalid_argument", localized=text, violations=violations)),
        error(connect_error(text, reason=text)),
    ):
        shown = f"{caught.message} {caught.upstream_code} {caught!r}"
        assert "eyJzdWIi" not in shown
        assert "secret" not in shown
        assert "0123456789" not in shown
        assert "A1b2A1b2" not in shown


def test_a_long_message_is_cut() -> None:
    assert len(error(connect_error("internal", "word " * 1000)).message) <= 300


WORDS = st.sampled_from(
    [
        "code",
        "message",
        "details",
        "debug",
        "reason",
        "localizedMessage",
        "error",
        "violations",
        "field",
        "elements",
        "fieldName",
        "severity",
    ]
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4)
        ),
        max_leaves=10,
    )
)
def test_any_error_object_becomes_an_error(document: object) -> None:
    assert isinstance(error(document), GatewayError)
