"""A plain client of the OpenAI emulators."""

import http.client
import json
from typing import Any

from emulators.openai import OpenAIEmulator
from tests.emulators.plain_client import Client, Whole

HELLO = ({"role": "user", "content": "hello"},)
BOUNDARY = "made-up-boundary"


class Reply(Whole):
    """A whole answer of an emulator of OpenAI's API."""

    __slots__ = ()

    @property
    def error(self) -> Any:
        """Return the error object."""
        return self.json()["error"]

    @property
    def events(self) -> list[Any]:
        """Return the documents of a stream in the plain spelling."""
        blocks = self.body.decode().split("\n\n")[:-1]
        lines = [block.split("\n")[-1].removeprefix("data: ") for block in blocks]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def done(self) -> bool:
        """Whether the stream said `[DONE]` at its end."""
        return self.body.endswith(b"data: [DONE]\n\n")

    def deltas(self, name: str = "content", index: int = 0) -> list[Any]:
        """Return the values of one field of a choice's deltas."""
        rows = [row for event in self.events for row in event["choices"]]
        mine = [row["delta"] for row in rows if row["index"] == index]
        return [delta[name] for delta in mine if name in delta]


class Api(Client):
    """One key's client; `key` None sends no Authorization."""

    def __init__(self, emulator: OpenAIEmulator, key: str | None) -> None:
        super().__init__(emulator.base_url, key)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request below the prefix and read the answer to its end."""
        whole = self.fetch(method, path, body, **more)
        return Reply(whole.status, whole.headers, whole.body, whole.broken)

    def ask(self, **fields: Any) -> Reply:
        """Ask for a completion and read the answer to its end."""
        return self.call("POST", "/chat/completions", question(**fields))

    def stream(self, **fields: Any) -> Reply:
        """Ask for a streamed completion and read it to its end."""
        return self.ask(stream=True, **fields)

    def begin(self, **fields: Any) -> http.client.HTTPResponse:
        """Ask and return the answer when its head has arrived."""
        body = question(**fields)
        return self.send("POST", "/chat/completions", body).getresponse()

    def post_form(self, path: str, *parts: tuple[str, str | None, bytes]) -> Reply:
        """Post a multipart form of (name, file name or None, content)."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.call("POST", path, form(*parts), headers={"Content-Type": kind})


def question(**fields: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": "gpt-4o", "messages": list(HELLO), **fields}


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Return a multipart body of (name, file name or None, content)."""
    out = b""
    for name, filename, content in parts:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        if filename is not None:
            head += f'; filename="{filename}"\r\nContent-Type: application/octet-stream'
        out += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()
