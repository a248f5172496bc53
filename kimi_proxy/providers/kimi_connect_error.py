"""How the Connect wire says no, as errors of ours (connect sheet §8)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kimi_proxy.errors import (
    AccountBusy,
    ContentRefused,
    ContextTooLong,
    FileLost,
    GatewayError,
    ModelRateLimited,
    StorageFull,
    TokenRejected,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.providers.json_part import mapping_of
from kimi_proxy.refusal import quoted

_RETRACTED: Final = "SEVERITY_BLOCK_RETRACT"


@dataclass(frozen=True, slots=True)
class Report:
    """What an error object says, in whichever of its shapes it came.

    `status` is None inside a stream. `texts` are the message and, where there is one,
    the localized message; `violations` read `field: what is wrong`.
    """

    status: int | None = None
    code: str = ""
    reason: str = ""
    severity: str = ""
    texts: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A row of the table: all that is given must hold. `wait` is in seconds."""

    error: type[GatewayError]
    says: str
    reason: str = ""
    code: str = ""
    text: tuple[str, ...] = ()
    status: int | None = None
    wait: float | None = None

    def fits(self, report: Report) -> bool:
        told = " ".join((*report.texts, *report.violations)).lower()
        return (
            (self.status is None or self.status == report.status)
            and (not self.code or self.code == report.code)
            and self.reason in f"{report.reason} {report.code}"
            and (not self.text or any(words in told for words in self.text))
        )


_REFUSED: Final = "Kimi refuses the access token"
_LIMITED: Final = "Kimi limits this account for now"
_TOO_LONG: Final = ("too long", "too large", "context length", "token limit")
# The first row that fits counts: a reason says more than a code, a code more than a
# status. `reason` is a part of the reason, or of the code where that carries it.
_RULES: Final = (
    _Rule(TokenRejected, _REFUSED, reason="REASON_INVALID_AUTH_TOKEN"),
    _Rule(TokenRejected, _REFUSED, reason="auth.token.invalid"),
    _Rule(TokenRejected, _REFUSED, code="unauthenticated"),
    _Rule(TokenRejected, _REFUSED, status=401),
    _Rule(
        AccountBusy,
        "this Kimi account is already answering",
        text=("session in progress",),
        wait=3,
    ),
    _Rule(UpstreamOverloaded, "Kimi is overloaded", reason="_OVERLOADED"),
    _Rule(ModelRateLimited, "Kimi limits this model", reason="MODEL_RATE_LIMIT"),
    _Rule(
        StorageFull,
        "this Kimi account has no room for more files",
        code="resource_exhausted",
        text=("storage",),
    ),
    _Rule(UpstreamRateLimited, _LIMITED, code="resource_exhausted"),
    _Rule(
        ContextTooLong,
        "the prompt is too long for Kimi",
        code="invalid_argument",
        text=_TOO_LONG,
    ),
    _Rule(
        FileLost,
        "Kimi cannot use an uploaded file",
        code="invalid_argument",
        text=("blocks.file",),
    ),
    _Rule(UpstreamRejected, "Kimi calls the request invalid", code="invalid_argument"),
    _Rule(
        UpstreamForbidden,
        "this Kimi account may not do that",
        code="permission_denied",
    ),
    _Rule(
        FileLost,
        "Kimi does not know an uploaded file",
        code="not_found",
        text=("file",),
    ),
    _Rule(UpstreamNotFound, "Kimi does not know it", code="not_found"),
    _Rule(UpstreamUnsupported, "Kimi does not offer the call", code="unimplemented"),
    _Rule(UpstreamFailed, "Kimi is not available", code="unavailable"),
    _Rule(UpstreamTimeout, "Kimi took too long itself", code="deadline_exceeded"),
    _Rule(UpstreamRejected, "Kimi calls the request invalid", status=400),
    _Rule(UpstreamForbidden, "this Kimi account may not do that", status=403),
    _Rule(UpstreamNotFound, "Kimi has no such path or object", status=404),
    _Rule(UpstreamUnsupported, "Kimi does not offer the call", status=405),
    _Rule(UpstreamTimeout, "Kimi took too long itself", status=408),
    _Rule(ContextTooLong, "the prompt is too long for Kimi", status=413),
    _Rule(UpstreamRateLimited, _LIMITED, status=429),
    _Rule(UpstreamUnsupported, "Kimi does not offer the call", status=501),
    _Rule(UpstreamTimeout, "Kimi took too long itself", status=504),
)
_UNKNOWN: Final = _Rule(UpstreamFailed, "Kimi failed")
_WITHDRAWN: Final = _Rule(ContentRefused, "Kimi withdrew its answer")


def read(error: object, status: int | None = None) -> Report:
    """Understand an error object: a Connect error, one under `error`, or an exception
    block's; anything else is a report of the status alone."""
    box = mapping_of(error)
    box = mapping_of(box["error"]) if isinstance(box.get("error"), dict) else box
    debugs = [box, *_debugs(box)]
    localized = (mapping_of(debug.get("localizedMessage")) for debug in debugs)
    texts = (box.get("message"), *(text.get("message") for text in localized))
    return Report(
        status=status,
        code=_first(box, "code"),
        reason=next(
            filter(None, (_first(d, "reason", "error_type") for d in debugs)), ""
        ),
        severity=_first(box, "severity"),
        texts=tuple(text for text in texts if isinstance(text, str) and text.strip()),
        violations=tuple(v for debug in debugs for v in _violations(debug)),
    )


def error_of(report: Report, wait: float | None = None) -> GatewayError:
    """The error to raise; `wait` is what the upstream asked for, in seconds.

    A withdrawn answer (`SEVERITY_BLOCK_RETRACT`) is refused content, unless a known
    reason says better why it was withdrawn: an overload is nobody's wording.
    """
    fallback = _WITHDRAWN if report.severity == _RETRACTED else _UNKNOWN
    rule = next((rule for rule in _RULES if rule.fits(report)), fallback)
    name = (
        report.reason or report.code or (f"http_{report.status}" * bool(report.status))
    )
    return rule.error(
        _message(report, rule),
        retry_after=rule.wait if wait is None else wait,
        upstream_code=quoted(name)[:64] or None,
    )


def _message(report: Report, rule: _Rule) -> str:
    text = report.texts[0] if report.texts else rule.says
    if report.violations:
        text = f"{text} ({'; '.join(report.violations)})"
    return quoted(text)


def _debugs(box: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = box.get("details")
    for detail in details if isinstance(details, list) else ():
        yield mapping_of(mapping_of(detail).get("debug"))


def _violations(debug: Mapping[str, Any]) -> Iterator[str]:
    found = debug.get("violations")
    for violation in map(mapping_of, found if isinstance(found, list) else ()):
        elements = mapping_of(violation.get("field")).get("elements")
        names = [
            _first(mapping_of(element), "fieldName", "field_name")
            for element in (elements if isinstance(elements, list) else ())
        ]
        path = ".".join(filter(None, names))
        said = _first(violation, "message")
        if path or said:
            yield ": ".join(filter(None, (path, said)))


def _first(box: Mapping[str, Any], *names: str) -> str:
    values = (box.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), "")
