"""What every wire's refusals share: when to come back, and words safe to repeat."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.refusal import quoted, reset_after, retry_after, told_wait


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


@pytest.mark.parametrize(
    "place",
    [
        "http://10.0.0.5:8000/v1/chat/completions",
        "https://ollama:11434/v1",
        "http://model-1.internal/v1?x=y",
        "http://gpu.svc.cluster.local",
        "http://[fd00::1]:80/x",
        "http://localhost",
        "10.11.12.13:8443",
        "192.168.1.7",
        "[::1]:8080",
        "localhost:8000",
    ],
)
def test_no_place_behind_the_upstream_is_quoted(place: str) -> None:
    """As one-api and other servers in Go say it."""
    said = quoted(f'Post "{place}": dial tcp {place}: connection refused')
    assert said == 'Post "[redacted]": dial tcp [redacted]: connection refused'


@pytest.mark.parametrize(
    "words",
    [
        "see https://platform.openai.com/account/api-keys, or ask.",
        "up to 1.2.3 and 10.5 of 3:4, at 12:30:05; version 1.2.3.4.5",
        "models such as a/b:free, [1] and x::y",
    ],
)
def test_public_places_and_numbers_are_quoted(words: str) -> None:
    assert quoted(words) == words


@pytest.mark.parametrize("piece", ["http://10.0.0.5 ", "[::", "sk-made-up", "x"])
def test_of_endless_words_the_beginning_is_quoted(piece: str) -> None:
    said = quoted(piece * 1_000_000)
    assert len(said) <= 300
    assert "10.0" not in said and "made" not in said


def test_ordinary_words_are_quoted_as_they_are() -> None:
    assert quoted("Too many people are chatting: 稍后再试。") == (
        "Too many people are chatting: 稍后再试。"
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("account org-made<ak-up> is", "account [redacted] is"),
        ("account 90210<x> is", "account [redacted] is"),
        ("quota: <org-made> 0.1, check", "quota: [redacted] 0.1, check"),
        ("in organization org-madeup on RPM", "in organization [redacted] on RPM"),
        ("in org-level limits of org-12ab34", "in org-level limits of [redacted]"),
        ("project proj_madeup1 has", "project [redacted] has"),
        (
            "Your team 01234567-89ab-cdef-0123-456789abcdef is",
            "Your team [redacted] is",
        ),
        ("key sk-ma***key. Or ****eKey", "key [redacted]. Or [redacted]"),
    ],
)
def test_nobody_is_named(said: str, shown: str) -> None:
    assert quoted(said) == shown


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-ratelimit-reset": "20"}, 20),
        ({"x-ratelimit-reset": "1800000020"}, 20),
        ({"x-ratelimit-reset": "1800000020500"}, 20.5),
        ({"x-ratelimit-reset": "2027-01-15T08:00:20Z"}, 20),
        ({"x-ratelimit-reset": "2027-01-15T08:00:20"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-reset-requests": "1m26.4s"}, 86.4),
        ({"x-ratelimit-reset-requests": "310ms"}, 0.31),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "1s"}, 360),
        (
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7s",
            },
            7,
        ),
    ],
)
def test_when_a_used_up_limit_starts_anew_is_understood(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert reset_after(headers, 1_800_000_000) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 20s. Visit", 20),
        ("please try again after 1 seconds", 1),
        ("try again in 1m26.4s", 86.4),
        ("Try again in 310ms.", 0.31),
        ("retry after 5 minutes", 300),
        ("please wait 2 hours", 7200),
        ("please try again later", None),
        ("retry your request 3 times", None),
        ("current: 5, limit: 3", None),
    ],
)
def test_how_long_a_text_says_to_wait(text: str, seconds: float | None) -> None:
    assert told_wait(text) == pytest.approx(seconds)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_reset_and_any_text_is_a_number_or_nothing(text: str) -> None:
    said = told_wait(f"try again in {text}")
    for seconds in (reset_after({"x-ratelimit-reset": text}, 0), said):
        assert seconds is None or 0 <= seconds <= 31 * 86_400


def test_no_wait_is_longer_than_a_month() -> None:
    assert retry_after({"retry-after": "1e12"}, 0) == 31 * 86_400
