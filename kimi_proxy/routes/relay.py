"""Every call of OpenAI's API that the gateway does not answer by itself, relayed."""

import errno
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, after_this_request, current_app, g, request
from flask.blueprints import BlueprintSetupState

from kimi_proxy.attempt import BlockStream
from kimi_proxy.errors import ClientGone, GatewayError, InvalidRequest, NotFound
from kimi_proxy.relay import model_field
from kimi_proxy.relay.body import BodySpool, RelayBody
from kimi_proxy.relay.endpoint import ENDPOINTS, Target
from kimi_proxy.relay.relay import Question, may_have_worked
from kimi_proxy.routes.body import body_limit, pieces, read_document, refuse_compressed
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.routes.disconnect import client_socket, reset
from kimi_proxy.routes.limiting import take_place
from kimi_proxy.routes.record import Record
from kimi_proxy.scope import Scope

_FORM = "multipart/form-data"
# What of a request's head is meant for whoever answers it. The rest is about the client
# (its key, its cookies, where it is) or about its connection with the gateway.
_UP = ("accept", "content-type", "openai-beta", "range")
_CHATS = "chat/completions"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_MOST_REFERENCES = 20


def relayed(endpoint: str, rest: str | None = None) -> Response:
    """Hand the call on, and the answer as it comes."""
    ctx, entry = context(), record()
    segments = () if rest is None else tuple(rest.split("/"))
    target = Target(request.method, endpoint, segments)
    if not target.is_sound:
        raise NotFound(f"there is no {request.method} {request.path[:200]}")
    # An answer that is not streamed begins when it is whole.
    times = ctx.timeouts
    times = replace(times, headers=max(times.headers, times.first_content))
    scope = Scope(times, ctx.clock.monotonic)
    with ExitStack() as stack:
        stack.callback(take_place())
        stack.callback(ctx.watcher.watch(request.environ, scope))
        question = _question(target, stack)
        entry.model = question.model
        plan = ctx.relay.plan(question)
        plan.permit(key(), question.model)
        only = key().accounts
        try:
            answer = ctx.relay.open(question, plan, scope, entry.trace, only=only)
        except GatewayError as exc:
            if may_have_worked(target, exc):
                after_this_request(_leave_it)
            raise
        response = _response(answer, entry)
        response.call_on_close(stack.pop_all().close)
    return response


def _leave_it(response: Response) -> Response:
    """SDKs repeat by themselves what failed."""
    response.headers["x-should-retry"] = "false"
    return response


def _question(target: Target, stack: ExitStack) -> Question:
    body, refers = None, [*request.args.values()]
    if target.method not in {"GET", "HEAD"}:
        body, document = _body(stack)
        refers += _references(document)
    query = quote(request.query_string, safe="%!$&'()*+,;=:@/?[]")
    refers = refers[:_MOST_REFERENCES]
    return Question(target, query, _headers(), body, refers)


def _body(stack: ExitStack) -> tuple[RelayBody | None, object]:
    """The body, and what it says if it is JSON."""
    kind = request.mimetype
    if kind in {"", "application/json"} or kind.endswith("+json"):
        # Who hands a call on after a look at it leaves here what it read.
        read = g.pop("document", None)
        data, document = read or read_document(may_be_empty=True)
        field = model_field.in_json(data, document)
        return (RelayBody(data, field) if data else None), document
    refuse_compressed()
    spool = stack.enter_context(closing(BodySpool()))
    with closing(pieces(body_limit())) as body:
        came = 0
        for piece in body:
            came += len(piece)
            spool.write(piece)
    record().bytes_in = came
    content = spool.content()
    boundary = request.mimetype_params.get("boundary")
    if kind != _FORM:
        return RelayBody(content), None
    if not boundary:
        raise InvalidRequest(f"the Content-Type {_FORM} has no boundary")
    return RelayBody(content, model_field.in_form(content, boundary)), None


def _references(document: object) -> Iterator[str]:
    """Ids of objects that a call is about, though its path does not name them."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name.endswith("_id") and isinstance(value, str):
                yield value


def _headers() -> dict[str, str]:
    sent = {name: request.headers[name] for name in _UP if name in request.headers}
    once = request.headers.get("idempotency-key")
    if once is not None:
        # Clients share the account: none may be answered what another one asked.
        told = hashlib.sha256(f"{key().owner}\n{once}".encode()).hexdigest()
        sent["idempotency-key"] = f"kp-{told[:40]}"
    return sent


def _response(answer: BlockStream, entry: Record) -> Response:
    entry.first_event()
    headers = dict(answer.headers)
    streams = headers.get("content-type", "").startswith("text/event-stream")
    entry.streamed = streams
    ends_by_closing = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
    line = client_socket(request.environ) if ends_by_closing else None
    body = _Body(answer, entry, line)
    response = current_app.response_class(body, status=answer.status)
    response.headers.remove("Content-Type")
    response.headers.update(headers)
    response.headers.update(_own_headers(answer))
    if streams:
        response.headers["X-Accel-Buffering"] = "no"
    return response


def _own_headers(answer: BlockStream) -> Mapping[str, str]:
    route = answer.route
    named = f"{route.provider}/{route.model}" if route.model else route.provider
    return {
        "x-kimi-proxy-route": quote(named, safe="/:@+,=~"),
        "Cache-Control": "no-cache, no-transform",
        "X-Content-Type-Options": "nosniff",
    }


class _Body:
    """The response's iterable; `line` is the client's socket where only the end of the
    connection tells the end of the body."""

    def __init__(self, answer: BlockStream, entry: Record, line: Any) -> None:
        self._answer = answer
        self._record = entry
        self._line = line
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._record.sent(next(self._answer))
        except StopIteration:
            self._ended = True
            raise
        except GatewayError as exc:
            self._ended = True
            self._record.failed(exc)
            raise self._broken() from exc

    def _broken(self) -> OSError:
        """What makes the server end the connection, with the body unfinished.

        An answer that was cut must not look whole: not even to a client of HTTP/1.0,
        to which the end of the connection is the end of the body, unless it is a reset.
        """
        if self._line is not None:
            reset(self._line)
        return ConnectionResetError(errno.ECONNRESET, "the answer was broken off")

    def close(self) -> None:
        """The server is done: after the last byte, or because the client left."""
        if not self._ended and not self._answer.over:
            self._record.failed(ClientGone("the client stopped reading"))
        self._answer.close()


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard, after all others.

    An endpoint that the gateway answers by itself is not relayed, whatever the method.
    """
    blueprint.record(_add_rules)


def _add_rules(state: BlueprintSetupState) -> None:
    ours = [rule.rule for rule in state.app.url_map.iter_rules()]
    free = [
        endpoint
        for endpoint in ENDPOINTS
        if endpoint != _CHATS
        and not any(_is_below(rule, state, endpoint) for rule in ours)
    ]
    # One rule for all: each would cost every worker's start most of a millisecond.
    _add(state, f"<any({', '.join(free)}):endpoint>", "relay", _METHODS)
    # To POST there is a chat, and our own.
    _add(state, _CHATS, "relay_chats", ["GET"], endpoint=_CHATS)


def _is_below(rule: str, state: BlueprintSetupState, endpoint: str) -> bool:
    return f"{rule}/".startswith(f"{state.url_prefix or ''}/v1/{endpoint}/")


def _add(
    state: BlueprintSetupState,
    rule: str,
    name: str,
    methods: list[str],
    **defaults: str,
) -> None:
    below = f"{rule}/<path:rest>", f"{name}_below", _METHODS
    for path, view, allowed in ((rule, name, methods), below):
        state.add_url_rule(
            f"/v1/{path}", view, relayed, defaults=defaults, methods=allowed
        )
