"""What every failure must look like: clients facts §3.1 and §3.2."""

import json
import re
from collections.abc import Iterable
from typing import Any, Protocol

_ID = re.compile(r"req_[0-9a-f]{32}")


class Headers(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


class Answer(Protocol):
    """Flask's answers, and those of `tests.http.wire`."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def data(self) -> bytes: ...


def error(
    answer: Answer, status: int, code: str | None, param: str | None = None
) -> dict[str, Any]:
    """Check the error object, the status and the headers; the object."""
    assert answer.status_code == status, (answer.status_code, answer.data)
    found = {name.lower(): value for name, value in answer.headers.items()}
    assert found["content-type"] == "application/json"
    assert _ID.fullmatch(found["x-request-id"])
    assert found["request-id"] == found["x-request-id"]
    value = json.loads(answer.data)
    assert set(value) == {"error"}
    fields: dict[str, Any] = value["error"]
    assert set(fields) == {"message", "type", "param", "code"}
    assert isinstance(fields["message"], str) and fields["message"]
    assert isinstance(fields["type"], str) and fields["type"]
    assert fields["code"] == code
    assert fields["param"] == param
    return fields
