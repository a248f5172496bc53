"""A plain client of the OpenAI emulators on http.client; it repairs nothing."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from emulators.openai import OpenAIEmulator

HELLO = ({"role": "user", "content": "hello"},)
BOUNDARY = "made-up-boundary"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `broken` says that the body ended before its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

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


@dataclass(slots=True)
class Api:
    """One key's client; `key` None sends no Authorization."""

    emulator: OpenAIEmulator
    key: str | None = field(repr=False)
    open_connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPConnection:
        """Send a request below the prefix; return before any answer is read."""
        link = http.client.HTTPConnection(
            urlsplit(self.emulator.url).netloc, timeout=30
        )
        self.open_connections.append(link)
        fields = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if isinstance(body, dict | list):
            fields["Content-Type"] = "application/json"
            body = json.dumps(body)
        place = urlsplit(self.emulator.base_url).path + path
        link.request(method, place, body, {**fields, **(headers or {})})
        return link

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request and read the answer to its end."""
        link = self.send(method, path, body, **more)
        response = link.getresponse()
        broken = False
        try:
            data = response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            data, broken = getattr(error, "partial", b""), True
        finally:
            link.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, data, broken)

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

    def leave(self) -> None:
        """Close every connection at once."""
        for link in self.open_connections:
            link.close()
        self.open_connections.clear()


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
