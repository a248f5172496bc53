"""The operations that are handed on, and the paths of predecessors that lead nowhere.

Handed on are many paths, and what can be said of them is the same of all.
"""

from collections.abc import Iterator

from kimi_proxy.reference import object_shape
from kimi_proxy.reference.failure import statuses
from kimi_proxy.reference.operation import Operation, in_path, json_of, sent_json
from kimi_proxy.reference.shape import Json, Schemas
from kimi_proxy.relay.endpoint import ENDPOINTS

_METHODS = ("get", "put", "post", "delete", "patch")
_OWN = "responses"  # asked for upstream only by the gateway's own operations
_CHATS = "chat/completions"
_REST = in_path("rest", "The rest of the path, which may hold slashes.")
_FORM: Json = {
    "type": "object",
    "properties": {"model": {"type": "string", "minLength": 1}},
}
_BODY: Json = {
    "content": {
        "application/json": {"schema": _FORM},
        "multipart/form-data": {"schema": _FORM},
        "*/*": {},
    }
}
_GONE = (
    ("/swagger", ()),
    ("/swagger/{rest}", (_REST,)),
    ("/v1/auth/login", ()),
    ("/v1/auth/sendMsg", ()),
    ("/v1/sendMessage", ()),
)


def operations(schemas: Schemas) -> Iterator[Operation]:
    """Those that can be described better than by `path_items`."""
    embeddings = json_of(schemas.add(object_shape.Embeddings))
    texts = schemas.add(object_shape.EmbeddingsRequest)
    yield from _all_of("embeddings", embeddings, texts, input="Some words")
    asked = schemas.add(object_shape.LegacyCompletion)
    yield from _all_of("completions", {"*/*": {}}, asked, prompt="Once upon a time")
    yield _relayed("get", f"/v1/{_CHATS}")
    for path, parameters in _GONE:
        for method in ("get", "post"):
            yield Operation(
                method,
                path,
                "Gone",
                "Tells what to use instead",
                {},
                frozenset({404, 500}),
                parameters=parameters,
                security=[],
                deprecated=True,
            )


def _all_of(
    endpoint: str, content: Json, asked: Json, **example: str
) -> Iterator[Operation]:
    """One endpoint with every method; it is POST that has a meaning."""
    path = f"/v1/{endpoint}"
    body = sent_json(asked, {"model": "openai/some-model", **example})
    for method in _METHODS:
        if method != "post":
            yield _relayed(method, path)
            continue
        yield Operation(
            method,
            path,
            "Relayed",
            f"Ask an upstream for {endpoint}",
            content,
            statuses(),
            body=body,
            headers=("x-kimi-proxy-route",),
        )


def _relayed(method: str, path: str, parameters: tuple[Json, ...] = ()) -> Operation:
    takes_body = method in {"put", "post", "patch"}
    return Operation(
        method,
        path,
        "Relayed",
        "Hand the call to the upstream that has it",
        {},
        statuses(),
        parameters=parameters,
        body=_BODY if takes_body else None,
        more={
            "2XX": {
                "description": "The upstream's own answer",
                "content": {"*/*": {}},
            }
        },
    )


def path_items() -> Json:
    """`components.pathItems`: an endpoint, and what is below one."""
    return {
        "Relayed": _item(()),
        "RelayedBelow": _item((_REST,)),
    }


def paths() -> Json:
    """The paths that are those items."""
    found: Json = {}
    for endpoint in ENDPOINTS:
        if endpoint == _OWN:
            continue
        if endpoint not in {_CHATS, "embeddings", "completions"}:
            found[f"/v1/{endpoint}"] = _reference("Relayed")
        found[f"/v1/{endpoint}/{{rest}}"] = _reference("RelayedBelow")
    return found


def _item(parameters: tuple[Json, ...]) -> Json:
    return {method: _relayed(method, "", parameters).described for method in _METHODS}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/pathItems/{name}"}
