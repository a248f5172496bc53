"""What every wire's refusals share: when to come back, and words safe to repeat."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.refusal import quoted, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7),
    ],
)
def test_retry_after_is_understood(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, 1_800_000_000) == seconds


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_retry_after_is_a_number_or_nothing(text: str) -> None:
    seconds = retry_after({"retry-after": text, "retry-after-ms": text}, 0)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "secret",
    [
        "eyJmade.up.token",
        "Bearer opaque-made-up",
        "sk-made-up",
        "kp-made-up-key",
        "made_up_" * 6,
    ],
)
def test_nothing_secret_is_quoted(secret: str) -> None:
    said = quoted(f"the token {secret} is bad,\n try again")
    assert said == "the token [redacted] is bad, try again"


def test_ordinary_words_are_quoted_as_they_are() -> None:
    assert quoted("Too many people are chatting: 稍后再试。") == (
        "Too many people are chatting: 稍后再试。"
    )
