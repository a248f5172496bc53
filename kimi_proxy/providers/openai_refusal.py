"""What an OpenAI-compatible upstream's error says, in whatever shape it says it.

Shapes seen: OpenAI's object; the error as plain text (Ollama, xAI, vLLM); `detail`
(FastAPI, Mistral), `message`, `msg` or `base_resp` (MiniMax) at the top; the object in
an array (Gemini); text that is no JSON at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WORDS = ("message", "msg", "detail", "error_msg", "status_msg", "error")
_CODES = ("code", "status", "type", "reason", "status_code")
_STATUSES = ("code", "status", "status_code", "raw_status_code")
_NO_ERROR = (None, 0, "0", 200, "200", "", "success")
_DEPTH = 3
_LONGEST = 4000  # characters that are searched for words that tell something


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error's facts: `codes` in lower case, the most telling first; `status` as the
    body has it, None if it names none; `wait` in seconds."""

    words: str = ""
    codes: tuple[str, ...] = ()
    param: str | None = None
    status: int | None = None
    wait: str | None = None


def is_refusal(document: Mapping[str, Any]) -> bool:
    """Whether what came under status 200 is an error all the same."""
    if tells_error(document):
        return True
    code = document.get("code")
    if isinstance(code, int) and code not in _NO_ERROR:
        return True
    if isinstance(document.get("choices"), list):
        return False
    if code in (None, ""):
        return any(document.get(name) for name in _WORDS)
    return code not in _NO_ERROR  # such as 0, whose words say "Success" (Spark)


def tells_error(document: Mapping[str, Any]) -> bool:
    """Whether an answer to whatever call has an error where errors are told."""
    named = document.get("error") or document.get("object") == "error"
    return bool(named) or _base_code(document) not in _NO_ERROR


def read(document: Any) -> Refusal:
    """The facts of an error's body: JSON already, or text."""
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return Refusal(words=document[:_LONGEST])
    if not isinstance(document, Mapping):
        return Refusal()
    inner = document.get("error")
    inner = inner if isinstance(inner, Mapping) else {}
    holders = (inner, document)
    details = list(_objects(inner.get("details")))
    base = _base_code(document)
    codes = (
        *([f"base_resp/{base}"] if base is not None else ()),
        *(c for holder in holders for c in _codes(holder)),
        *_quotas(details),
    )
    param = inner.get("param") or document.get("param")
    words = _words(inner) or _words(document) or _words(_base(document))
    return Refusal(
        words=words[:_LONGEST],
        codes=codes,
        param=param if isinstance(param, str) else None,
        status=next((s for h in holders for s in _http_statuses(h)), None),
        wait=next((_text(d["retryDelay"]) for d in details if "retryDelay" in d), None),
    )


def _base(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("base_resp")
    return found if isinstance(found, dict) else {}


def _base_code(document: Mapping[str, Any]) -> Any:
    return _base(document).get("status_code")


def _words(holder: Any, depth: int = _DEPTH) -> str:
    """The first text there is, also where it lies in objects or lists."""
    if isinstance(holder, str):
        return holder.strip()
    if isinstance(holder, list):
        return next((w for item in holder if (w := _words(item, depth - 1))), "")
    if not isinstance(holder, Mapping) or not depth:
        return ""
    said = (_words(holder.get(name), depth - 1) for name in _WORDS)
    return next((words for words in said if words), "")


def _codes(holder: Mapping[str, Any]) -> Iterator[str]:
    for name in _CODES:
        value = holder.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value).lower()


def _quotas(details: list[Mapping[str, Any]]) -> Iterator[str]:
    """The limits that Google's errors name, such as those per day."""
    for detail in details:
        for violation in _objects(detail.get("violations")):
            if "quotaId" in violation:
                per_day = "perday" in str(violation["quotaId"]).lower()
                yield "quota/day" if per_day else "quota/minute"


def _http_statuses(holder: Mapping[str, Any]) -> Iterator[int]:
    for name in _STATUSES:
        value = holder.get(name)
        text = str(value)
        if text.isdecimal() and 400 <= int(text) < 600:
            yield int(text)


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, Mapping):
            yield one


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
