"""Texts as the configuration writes them: names, addresses, rates, secrets.

Validators here raise PydanticCustomError with a fixed message: the value they
refuse may be a secret in the wrong place, so it is never repeated.
"""

from __future__ import annotations

import json
import re
import ssl
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError

_PLACEHOLDER = re.compile(
    r"<.*>|(sk-?)?x{3,}|\.{3}|…"
    r"|(change|replace)[-_ ]?me"
    r"|(insert|put|paste)?[-_ ]?(my|your)[-_ ]?(own[-_ ]?)?"
    r"((api|admin|proxy|refresh|access)[-_ ]?)?(key|token|secret)([-_ ]?here)?",
    re.IGNORECASE,
)
_WEB = ("http", "https")
_PROXY = ("http", "https")
_LATER_PROXY = ("socks5", "socks5h", "socks4", "socks4a")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise PydanticCustomError(
            "config", "must be 1 to 64 letters, digits, '_', '.' or '-'"
        )
    return value


def _model_name(value: str) -> str:
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,128}", value):
        raise PydanticCustomError("config", "must be 1 to 128 characters, no spaces")
    return value


def target(value: str) -> str:
    """Check that a text is written provider/model."""
    provider, slash, model = value.partition("/")
    if not (provider and slash and model) or re.search(r"\s", value):
        raise PydanticCustomError("config", "must be written provider/model")
    return value


def _rate(value: object) -> str:
    # A number would be told to be a text in quotes, and then not to be a rate.
    value = str(value)
    try:
        usable = all(limit.amount > 0 for limit in parse_many(value))
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("config", "must be a rate such as 60/minute")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", value):
        raise PydanticCustomError(
            "config", "must be a host name or an IP address, without port or brackets"
        )
    return value


def _prefix(value: str) -> str:
    steps = value.strip("/")
    if not steps:
        return ""
    if not re.fullmatch(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", steps) or {
        ".",
        "..",
    } & set(steps.split("/")):
        raise PydanticCustomError("config", "must be a path such as /kimi")
    return "/" + steps


def _origin(value: str) -> str:
    if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+", value):
        raise PydanticCustomError(
            "config", "must be * or an origin such as https://chat.example"
        )
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise PydanticCustomError(
            "config", "must be a network such as 192.168.1.0/24 or an address"
        ) from None


def _state(value: str) -> str:
    if value.startswith(("redis://", "rediss://", "unix://")):
        raise PydanticCustomError("config", "redis is not available in this version")
    if value == "memory://" or re.fullmatch(r"sqlite:///[^\s\x00-\x1f].*", value):
        return value
    raise PydanticCustomError("config", "must be sqlite:///PATH or memory://")


def _split(value: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """Split an address, or None if it is none of these schemes or malformed."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    clean = not re.search(r"[\s\x00-\x1f\x7f\\]", value)
    return parts if clean and parts.scheme in schemes and parts.hostname else None


def _plain_address(value: str) -> SplitResult:
    parts = _split(value, _WEB)
    if parts is None:
        raise PydanticCustomError("config", "must be an http:// or https:// address")
    if "@" in parts.netloc:
        raise PydanticCustomError("config", "must not hold a user name or password")
    if parts.query or parts.fragment:
        raise PydanticCustomError("config", "must not hold a query or fragment")
    return parts


def _host_url(value: str) -> str:
    parts = _plain_address(value)
    if parts.path not in ("", "/"):
        raise PydanticCustomError("config", "must not hold a path")
    return f"{parts.scheme}://{parts.netloc}"


def _base_url(value: str) -> str:
    parts = _plain_address(value)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _proxy_url(value: SecretStr) -> SecretStr:
    if _split(value.get_secret_value(), _LATER_PROXY) is not None:
        raise PydanticCustomError("config", "socks is not available in this version")
    if _split(value.get_secret_value(), _PROXY) is None:
        raise PydanticCustomError("config", "must be an http:// or https:// address")
    return value


def _ca_bundle(value: str) -> str:
    try:
        ssl.create_default_context(cafile=value)
    except (OSError, ValueError):  # ssl's own errors are OSErrors
        raise PydanticCustomError(
            "config", "must be a file with certificates in PEM form"
        ) from None
    return value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text:
        raise PydanticCustomError("config", "must not be empty")
    if _PLACEHOLDER.fullmatch(text):
        raise PydanticCustomError("config", "is still a placeholder")
    return SecretStr(text)


def _one_word(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", value.get_secret_value()):
        raise PydanticCustomError(
            "config", "must be plain ASCII without spaces: it travels in a header"
        )
    return value


def as_pasted(value: object) -> object:
    """Bring back to text what YAML took apart (connect sheet §2.4).

    A token split in three parts is joined; a dump of the browser's storage, which
    is valid YAML, becomes JSON again.
    """
    if isinstance(value, dict):
        return json.dumps(value)
    if not isinstance(value, list):
        return value
    parts = [part for part in value if isinstance(part, str)]
    if len(parts) != 3 or len(value) != 3:
        raise PydanticCustomError("config", "must be a text, or a token's three parts")
    return ".".join(parts)


Name = Annotated[str, AfterValidator(_name)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Target = Annotated[str, AfterValidator(target)]
Rate = Annotated[str, BeforeValidator(_rate)]
Host = Annotated[str, AfterValidator(_host)]
RoutePrefix = Annotated[str, AfterValidator(_prefix)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
StateUrl = Annotated[str, AfterValidator(_state)]
HostUrl = Annotated[str, AfterValidator(_host_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
CaBundle = Annotated[str, AfterValidator(_ca_bundle)]
# A proxy's address may carry a password, so it is kept like a secret.
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
HeaderSecret = Annotated[Secret, AfterValidator(_one_word)]
PastedToken = Annotated[Secret, BeforeValidator(as_pasted)]
