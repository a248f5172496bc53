"""Kimi tokens, in every form a user may paste, read into a `Credential`.

The forms are those of connect sheet §2.4 and legacy sheet §2: access or refresh JWT,
both at once, cookie and `Authorization` headers, cookie jars, `localStorage` dumps
(JSON in JSON too), `key=value` lines, and a token taken apart at its dots. No message
of this module quotes what it read; `kimi_paste` finds the tokens.
"""

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeGuard

import orjson

from kimi_proxy.providers import kimi_paste
from kimi_proxy.providers.base import Credential

Region = Literal["cn", "overseas"]

# A whole localStorage is at most 5 MB in any browser; Kimi's is a small part of that.
_LIMIT: Final = 1024 * 1024
_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]+")
_LATEST: Final = 253_402_300_799  # the end of year 9999

_DOMAINS: Final[Mapping[str, Region]] = {
    "kimi.ai": "overseas",
    "kimi.com": "cn",
    "moonshot.cn": "cn",
}


@dataclass(frozen=True, slots=True)
class _Token:
    """A JWT that was found; `owned` unless it stood under a key unknown to us."""

    text: str = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    kind: Literal["access", "refresh"]
    owned: bool

    @property
    def expires(self) -> float | None:
        return _time(self.claims.get("exp"))


def read(text: str, region: str | None = None) -> Credential:
    """Understand a pasted token; `region` overrides what the token says of itself.

    Does no I/O. Raises ValueError, whose text never quotes the token.
    """
    if region is not None and not is_region(region):
        raise ValueError("the region must be cn or overseas")
    if len(text) > _LIMIT:
        raise ValueError("the text is too long to be a token")
    found = [_token(key, jwt) for key, jwt in kimi_paste.find(text)]
    tokens = [token for token in found if token is not None]
    # A cookie jar holds other sites' JWTs too: the keys we know go first.
    tokens = [token for token in tokens if token.owned] or tokens
    if not tokens:
        raise ValueError(_why_none(text, bool(found)))
    subjects = {_word(token.claims.get("sub")) for token in tokens} - {None}
    if len(subjects) > 1:
        raise ValueError("the tokens belong to different accounts: give one at a time")
    return _credential(_newest(tokens, "access"), _newest(tokens, "refresh"), region)


def renewed(old: Credential, answer: object) -> Credential:
    """`old` with the tokens of a refresh answer (connect sheet §2.1, §2.2).

    Reads both spellings, inside `data` or not. What the new tokens do not say (device,
    session, user) is kept, and so is the refresh token when no new one came. Raises
    ValueError when there is no access token.
    """
    box = answer.get("data", answer) if isinstance(answer, dict) else None
    access = _secret(box, "accessToken", "access_token")
    refresh = _secret(box, "refreshToken", "refresh_token")
    if access is None:
        raise ValueError("the answer holds no access token")
    # A token that is no JWT is taken too: throwing away a rotated refresh token over
    # the looks of its companion could lock the account out.
    said = _claims(access) or {}
    return replace(
        old,
        access=access,
        access_expires=_time(said.get("exp")),
        refresh=refresh or old.refresh,
        refresh_expires=_time((_claims(refresh) or {}).get("exp"))
        if refresh
        else old.refresh_expires,
        region=old.region or _region(said),
        subject=_word(said.get("sub")) or old.subject,
        device=_word(said.get("device_id")) or old.device,
        session=_word(said.get("ssid")) or old.session,
    )


def is_region(name: str) -> TypeGuard[Region]:
    """Whether `name` is one of the two regions of connect sheet §1."""
    return name in ("cn", "overseas")


def _claims(token: str) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = orjson.loads(
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        )
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _token(key: str, text: str) -> _Token | None:
    claims = _claims(text)
    if claims is None:
        return None
    said = claims.get("typ")
    hint = said if said in ("access", "refresh") else kimi_paste.holds(key)
    # Legacy sheet §2: what does not call itself an access token is a refresh token.
    return _Token(text, claims, hint or "refresh", not key or kimi_paste.is_known(key))


def _newest(tokens: list[_Token], kind: str) -> _Token | None:
    """The one that lives longest; old copies of a token are common in a dump."""
    same = [token for token in tokens if token.kind == kind]
    return max(same, key=lambda token: token.expires or 0, default=None)


def _credential(
    access: _Token | None, refresh: _Token | None, region: str | None
) -> Credential:
    claims = [token.claims for token in (access, refresh) if token is not None]

    def first(name: str) -> str | None:
        return next(filter(None, (_word(said.get(name)) for said in claims)), None)

    # Tokens that name neither region nor audience are the older ones, which were all
    # issued by kimi.com and moonshot.cn, before kimi.ai existed: hence `cn`.
    told = next(filter(None, map(_region, claims)), "cn")
    return Credential(
        access=access.text if access else None,
        refresh=refresh.text if refresh else None,
        access_expires=access.expires if access else None,
        refresh_expires=refresh.expires if refresh else None,
        region=region or told,
        subject=first("sub"),
        device=first("device_id"),
        session=first("ssid"),
    )


def _region(claims: Mapping[str, Any]) -> Region | None:
    """Where a token is valid (connect sheet §1).

    `aud` and `iss` go first: they name the host that issued the session, `region`
    only the kind of account.
    """
    audience = claims.get("aud")
    names = audience if isinstance(audience, list) else [audience]
    for group in (names, [claims.get("iss")]):
        regions = {_region_of_host(name) for name in group if isinstance(name, str)}
        regions.discard(None)
        if len(regions) == 1:
            return regions.pop()
    kind = str(claims.get("region", "")).lower().removeprefix("region_")
    if kind == "cn":
        return "cn"
    return "overseas" if kind in ("overseas", "oversea") else None


def _region_of_host(name: str) -> Region | None:
    host = name.lower().rpartition("//")[2].partition("/")[0].partition(":")[0]
    for domain, region in _DOMAINS.items():
        if host == domain or host.endswith("." + domain):
            return region
    return None


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 < value <= _LATEST else None


def _word(value: object) -> str | None:
    """A claim as text that may go into a header."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > 256:
        return None
    return value if _HEADER_SAFE.fullmatch(value) else None


def _secret(box: object, *names: str) -> str | None:
    if not isinstance(box, dict):
        return None
    for name in names:
        value = box.get(name)
        if isinstance(value, str) and _HEADER_SAFE.fullmatch(value):
            return value
    return None


def _why_none(text: str, broken: bool) -> str:
    if kimi_paste.looks_like_api_key(text):
        return (
            "this is an API key of the official platform: Kimi's web service refuses "
            "it; give it to a provider of type openai"
        )
    if broken:
        return "the token is damaged: copy it whole"
    if not text.strip():
        return "there is no token"
    return (
        "no Kimi token found: paste access_token or refresh_token from the browser's "
        "localStorage, or the kimi-auth cookie"
    )
