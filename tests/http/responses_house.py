"""Asking a gateway of this process for responses."""

import json
from dataclasses import dataclass
from typing import Any

from tests.http import responses_grammar, scripted
from tests.http.conftest import House
from tests.http.responses_grammar import Stream

PATH = "/v1/responses"
PLAY = "scripted/play"


def steps(*given: scripted.Step) -> str:
    """An input that makes the scripted provider do this."""
    return json.dumps(list(given))


@dataclass(frozen=True, slots=True)
class Asking:
    """A client of one gateway; `key` is what it presents."""

    house: House
    key: str | None = None

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        return self.house.client.open(
            PATH + path, method=method, json=body, headers=headers, query_string=query
        )

    def post(self, **body: Any) -> Any:
        return self.call("POST", "", {"model": PLAY, **body})

    def whole(self, **body: Any) -> dict[str, Any]:
        """A whole response, checked."""
        answer = self.post(**body)
        assert answer.status_code == 200, answer.data
        made: dict[str, Any] = answer.get_json()
        responses_grammar.check_response(made, "completed", "incomplete")
        return made

    def stream(self, **body: Any) -> Stream:
        """A streamed response, checked."""
        answer = self.post(stream=True, **body)
        assert answer.status_code == 200, answer.data
        assert answer.mimetype == "text/event-stream"
        return responses_grammar.read(answer.data)
