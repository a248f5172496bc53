"""The document about the API: true, whole, and made of what requests are read with."""

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from emulators.openai import OpenAIEmulator
from kimi_proxy.dialects.anthropic_messages import AnthropicMessages
from kimi_proxy.dialects.contract import Dialect
from kimi_proxy.dialects.openai_chat import OpenAIChat
from kimi_proxy.dialects.openai_errors import retry_headers
from kimi_proxy.errors import GatewayError
from tests.gateway_process import ROOT
from tests.http.conformance import Document, routes
from tests.http.conftest import BEARER, KEY, Build, House, house
from tests.http.scripted import chat

CONFIG: dict[str, Any] = {
    "keys": [{"name": "all", "key": KEY, "rate": "100000/minute"}],
    "models": {"kimi": {"route": ["echo/echo"]}},
    "timeouts": {"hold": 5},
}
CHATS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("openapi"), CONFIG) as made:
        yield made


@pytest.fixture(scope="module")
def document(shared: House) -> Document:
    return Document(shared.client.get("/openapi.json").data)


# What it is


def test_every_route_is_in_it_and_nothing_else(
    shared: House, document: Document
) -> None:
    told = set(document.operations)
    assert told == routes(shared.app)


@pytest.mark.parametrize("prefix", ["/kimi", "/a/b"])
def test_it_is_under_the_prefix_and_says_so(build: Build, prefix: str) -> None:
    built = build(server={"route_prefix": prefix})
    answer = built.client.get(f"{prefix}/openapi.json")
    found = Document(answer.data)
    assert found.whole["servers"] == [{"url": prefix}]
    (front,) = {("get", "/"), ("get", "")} & routes(built.app, prefix)
    assert set(found.operations) - {("get", "/")} == routes(built.app, prefix) - {front}


def test_it_is_open_and_made_once(shared: House) -> None:
    first = shared.client.get("/openapi.json")
    assert (first.status_code, first.mimetype) == (200, "application/json")
    assert first.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": first.headers["ETag"]}
    again = shared.client.get("/openapi.json", headers=known)
    assert (again.status_code, again.data) == (304, b"")


def test_a_worker_that_nobody_asks_never_loads_it() -> None:
    """Whoever imports it does so when it is asked for."""
    importers = {
        path.name: imports
        for path in (ROOT / "kimi_proxy").rglob("*.py")
        if path.parent.name != "reference"
        for imports in [list(imports_of_reference(path.read_text("utf-8")))]
        if imports
    }
    assert importers == {"openapi.py": [ast.ClassDef]}


def imports_of_reference(text: str) -> Iterator[type[ast.stmt]]:
    """The kinds of the top statements that it is imported in."""
    for top in ast.parse(text).body:
        for node in ast.walk(top):
            named = isinstance(node, ast.Import | ast.ImportFrom)
            if named and "kimi_proxy.reference" in ast.unparse(node):
                yield type(top)


def references(node: Any) -> Iterator[str]:
    match node:
        case dict():
            for word, value in node.items():
                if word == "$ref" and isinstance(value, str):
                    yield value
                yield from references(value)
        case list():
            for each in node:
                yield from references(each)


def test_every_reference_leads_somewhere_and_nothing_is_left_over(
    document: Document,
) -> None:
    used = set(references(document.whole))
    for reference in used:
        assert document.resolved({"$ref": reference})
    for part in ("schemas", "responses", "headers", "pathItems"):
        named = {f"#/components/{part}/{n}" for n in document.whole["components"][part]}
        spare = {n for n in named if "Error" in n and part == "responses"}
        assert named - used <= spare, part


def test_every_link_leads_to_an_operation(document: Document) -> None:
    links = [
        link
        for operation in document.operations.values()
        for link in operation["responses"].get("200", {}).get("links", {}).values()
    ]
    assert len(links) >= 4
    for link in links:
        found = document.resolved({"$ref": unquote(link["operationRef"])})
        names = {parameter["name"] for parameter in found["parameters"]}
        assert set(link["parameters"]) <= names


def test_every_schema_is_json_schema(document: Document) -> None:
    for schema in document.whole["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_operations_have_no_key_only_where_none_is_asked_for(
    shared: House, document: Document
) -> None:
    for (method, path), operation in document.operations.items():
        if operation.get("security") == []:
            continue
        concrete = path.replace("{", "").replace("}", "")
        elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
        answer = shared.client.open(
            concrete, method=method.upper(), environ_base=elsewhere
        )
        assert answer.status_code in {401, 403}, (method, path)


def kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    if kind.__module__ == GatewayError.__module__:
        yield kind
    for narrower in kind.__subclasses__():
        yield from kinds(narrower)


ERRORS = sorted({kind.__name__: kind for kind in kinds(GatewayError)}.items())
ANTHROPIC = "/v1/messages"


@pytest.mark.parametrize(("name", "kind"), ERRORS)
def test_every_error_is_in_it_with_status_code_and_shape(
    document: Document, name: str, kind: type[GatewayError]
) -> None:
    error = kind(f"a made up {name}", param="messages", retry_after=2)
    dialects: tuple[Dialect, ...] = (OpenAIChat(), AnthropicMessages())
    if kind.status in {405, 499}:
        return  # a method that is no operation's; nobody is left to read it
    for path in CHATS:
        dialect = dialects[path == ANTHROPIC]
        answers = document.operations["post", path]["responses"]
        described = document.resolved(answers[str(kind.status)])
        assert kind.code is None or f"`{kind.code}`" in described["description"]
        schema = described["content"]["application/json"]["schema"]
        document.validate(schema, json.loads(dialect.error(error, "req_made_up")))
        may_wait = kind.status in {408, 409, 429} or kind.status >= 500
        assert may_wait == (set(retry_headers(error)) <= set(described["headers"]))


# What is answered


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("stream", [False, True])
def test_chats_are_answered_as_it_says(
    shared: House, document: Document, path: str, stream: bool
) -> None:
    steps: list[list[Any]] = [
        ["think", "hm"],
        ["text", "words"],
        ["cite", "https://a.example/", "A"],
        ["call", 0, "call_1", "f", "{}"],
        ["usage", 3, 2],
        ["finish"],
    ]
    answer = asked(shared.client, path, steps, stream)
    assert answer.status_code == 200
    document.check("post", path, answer)


def asked(
    client: FlaskClient, path: str, steps: list[list[Any]], stream: bool = False
) -> Any:
    body = chat(*steps, stream=stream)
    if path == "/v1/messages":
        body = {**body, "max_tokens": 10}
        del body["user"]
    if path == "/v1/responses":
        words = body.pop("messages")[0]["content"]
        body = {**body, "input": words}
    return client.post(path, json=body, headers=BEARER, buffered=True)


@pytest.mark.parametrize("path", CHATS)
def test_a_stream_that_fails_is_as_it_says(
    shared: House, document: Document, path: str
) -> None:
    answer = asked(
        shared.client, path, [["text", "a"], ["raise", "InvalidAnswer"]], True
    )
    assert answer.status_code == 200
    document.check("post", path, answer)


def test_examples_are_answered(shared: House, document: Document) -> None:
    for (method, path), operation in document.operations.items():
        body = operation.get("requestBody", {}).get("content", {})
        example = body.get("application/json", {}).get("example")
        if example is None or "Relayed" in operation["tags"]:
            continue
        answer = shared.client.post(path, json=example, headers=BEARER, buffered=True)
        document.check(method, path, answer)
        assert answer.status_code == (400 if path == "/token/check" else 200)


def test_files_and_stored_responses_are_told_as_it_says(
    shared: House, document: Document
) -> None:
    client = shared.client
    form = {"purpose": "user_data", "file": (io.BytesIO(b"words"), "a.txt")}
    made = client.post("/v1/files", data=form, headers=BEARER)
    document.check("post", "/v1/files", made)
    answer = client.post(
        "/v1/responses", json={"model": "kimi", "input": "hi"}, headers=BEARER
    )
    files, responses = "/v1/files/{file_id}", "/v1/responses/{response_id}"
    ids = {"{file_id}": made.json["id"], "{response_id}": answer.json["id"]}
    for method, path in (
        ("get", "/v1/files"),
        ("get", files),
        ("get", f"{files}/content"),
        ("get", responses),
        ("get", f"{responses}/input_items"),
        ("post", f"{responses}/cancel"),
        ("delete", files),
        ("delete", responses),
        ("get", files),
        ("get", responses),
    ):
        concrete = path
        for name, value in ids.items():
            concrete = concrete.replace(name, value)
        found = client.open(concrete, method=method.upper(), headers=BEARER)
        document.check(method, path, found)


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
@pytest.mark.parametrize("name", ["kimi", "unknown"])
def test_models_are_told_as_it_says(
    shared: House, document: Document, headers: dict[str, str], name: str
) -> None:
    client, sent = shared.client, {**BEARER, **headers}
    document.check("get", "/v1/models", client.get("/v1/models", headers=sent))
    one = client.get(f"/v1/models/{name}", headers=sent)
    document.check("get", "/v1/models/{name}", one)


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/health", "/readyz", "/ping", "/metrics", "/openapi.json"],
)
def test_how_the_gateway_is_is_told_as_it_says(
    shared: House, document: Document, path: str
) -> None:
    document.check("get", path, shared.client.get(path))


def test_what_is_gone_and_what_nobody_relays_is_told_as_it_says(
    shared: House, document: Document
) -> None:
    for (method, path), operation in document.operations.items():
        if operation["tags"][0] not in {"Gone", "Relayed"}:
            continue
        concrete = path.replace("{rest}", "some/thing")
        document.check(
            method, path, shared.client.open(concrete, method=method, headers=BEARER)
        )


def test_a_tokens_state_is_told_as_it_says(tmp_path: Path, document: Document) -> None:
    with OpenAIEmulator() as api:
        known, token = api.add_account("main"), api.add_account("other")
        tokens = [{"name": "main", "token": known}]
        up = {"type": "openai", "base_url": api.base_url, "tokens": tokens}
        states = []
        with house(tmp_path, {"providers": {"up": up}}) as built:
            for asked in (known, token, "sk-made-up-and-unknown"):
                answer = built.client.post("/token/check", json={"token": asked})
                document.check("post", "/token/check", answer)
                states.append(answer.get_json()["state"])
    assert states == ["ok", "ok", "dead"]


def test_a_gateway_that_is_not_ready_says_so_as_it_says(
    build: Build, document: Document
) -> None:
    answer = build(state="sqlite:////dev/null/state.db").client.get("/readyz")
    assert answer.status_code == 503
    document.check("get", "/readyz", answer)


# Bodies that nobody thought of

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "x"]), inner)
    ),
    max_leaves=5,
)
BODIES = (*CHATS, "/v1/messages/count_tokens", "/token/check", "/v1/embeddings")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(BODIES), data=st.data())
def test_whatever_is_sent_the_answer_is_as_it_says(
    shared: House, document: Document, path: str, data: st.DataObject
) -> None:
    operation = document.operations["post", path]
    sent = operation["requestBody"]["content"]["application/json"]
    schema = document.resolved(sent["schema"])
    fields = st.sampled_from(sorted(schema["properties"]))
    odd = data.draw(st.dictionaries(fields, JSON, max_size=3))
    body = {**sent["example"], **odd}
    answer = shared.client.post(path, json=body, headers=BEARER, buffered=True)
    assert answer.status_code != 500
    document.check("post", path, answer)
