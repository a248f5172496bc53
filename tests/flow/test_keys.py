"""The gateway's own keys: who is let in, and to what."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from kimi_proxy.errors import Forbidden, InvalidKey
from kimi_proxy.keys import ClientKey, KeyRing, digest

LAPTOP = ClientKey("laptop", digest("fake-key-of-the-laptop"), models=("kimi*",))
PHONE = ClientKey("phone", digest("fake-key-of-the-phone"))
RING = KeyRing([LAPTOP, PHONE])


def test_a_right_key_is_known_by_name() -> None:
    assert RING.find("fake-key-of-the-laptop") is LAPTOP
    assert RING.find("fake-key-of-the-phone") is PHONE
    assert not RING.is_open


@pytest.mark.parametrize(
    "presented",
    [
        "fake-key-of-the-lapto",
        "fake-key-of-the-laptop ",
        "FAKE-KEY-OF-THE-LAPTOP",
        "密钥",
        "x" * 100_000,
    ],
)
def test_a_wrong_key_is_refused_without_being_repeated(presented: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        RING.find(presented)
    assert presented not in str(caught.value)


@pytest.mark.parametrize("presented", [None, ""])
def test_no_key_is_refused_with_a_word_on_how_to_send_one(
    presented: str | None,
) -> None:
    with pytest.raises(InvalidKey, match="Authorization: Bearer"):
        RING.find(presented)


def test_without_any_key_everybody_who_can_connect_is_let_in() -> None:
    ring = KeyRing([])
    assert ring.is_open
    assert ring.find(None).allows("anything")
    assert ring.find("whatever").name == "open"


def test_every_key_is_compared_in_constant_time_whichever_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[Any] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(
        hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b)
    )
    for presented in ("fake-key-of-the-laptop", "fake-key-of-the-phone"):
        RING.find(presented)
        assert compared == [LAPTOP.digest, PHONE.digest]
        compared.clear()
    with pytest.raises(InvalidKey):
        RING.find("wrong")
    assert len(compared) == 2
    assert len({len(LAPTOP.digest), len(digest("x")), len(digest("x" * 999))}) == 1


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (("*",), "anything/at-all", True),
        (("kimi",), "kimi", True),
        (("kimi",), "kimi/k2", False),
        (("kimi/*",), "kimi/org/deep", True),
        (("kimi/*",), "kimi", False),
        (("*k2*",), "kimi/k2d6-chat", True),
        (("kimi/k?",), "kimi/k2", True),
        (("kimi/k[23]",), "kimi/k1", False),
        (("KIMI/*",), "kimi/k2", False),
        (("a", "b"), "b", True),
        ((), "a", False),
    ],
)
def test_patterns_say_which_models_a_key_opens(
    patterns: tuple[str, ...], model: str, allowed: bool
) -> None:
    key = ClientKey("laptop", b"", models=patterns)
    assert key.allows(model) == allowed
    if allowed:
        key.require(model)
        return
    with pytest.raises(Forbidden, match="'laptop'") as caught:
        key.require(model)
    assert caught.value.param == "model"


def test_no_repr_shows_a_key_or_its_digest() -> None:
    shown = f"{LAPTOP!r} {RING!r}"
    assert "fake-key" not in shown
    assert str(LAPTOP.digest) not in shown
