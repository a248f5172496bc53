"""Any upstream that speaks OpenAI's chat completions, under an API key."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from kimi_proxy import USER_AGENT, refusal
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import AccountExhausted, UpstreamError
from kimi_proxy.events import Event, Finished
from kimi_proxy.providers import (
    openai_account,
    openai_file,
    openai_model,
    openai_name,
    openai_relay,
    openai_schema,
    openai_search,
)
from kimi_proxy.providers.base import Answer, Call, Credential, Lease, Memory
from kimi_proxy.providers.openai_answer import object_of, streamed, whole
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.providers.openai_model import Listed, listed, taking_files, unlisted
from kimi_proxy.providers.openai_payload import HONOURED, payload
from kimi_proxy.providers.openai_quirk import Quirks
from kimi_proxy.providers.openai_thought import Thoughts
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

__all__ = ["NO_KEY", "OpenAICompatible", "payload"]

_LARGEST_ANSWER = 64 << 20
_NO_LIST = frozenset({404, 405, 501})
_JSON = frozenset({"application/json", "text/json", "application/problem+json"})
_STREAM = "text/event-stream"
# Stands for no key at all, where a local server wants none.
NO_KEY = Credential(access="-")
# Any word but a JWT, which is no API key and may be another service's token.
_KEY = re.compile(r"(?i:bearer\s+)?((?!eyJ)[A-Za-z0-9][A-Za-z0-9_.:+/-]{7,511})")


class OpenAICompatible:
    """Chat completions at `base_url`, for example `https://api.example.com/v1`.

    `headers` go with every call. `models` are the names of a list that the upstream
    does not give; without them it is asked. `now` is epoch seconds.
    """

    honours = HONOURED

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        base_url: str,
        now: Callable[[], float],
        *,
        quirks: Quirks | None = None,
        headers: Mapping[str, str] | None = None,
        models: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._base = base_url.rstrip("/")
        self._now = now
        self._quirks = quirks or Quirks()
        self._headers = dict(headers or {})
        self.honours = _honoured(self._quirks)
        self._fixed = bool(models) or not self._quirks.lists_models
        self._listed = {one.model.id: one for one in unlisted(models, name)}
        self._thoughts: Thoughts | None = None
        self._plain = openai_schema.remembering()

    def remember_in(self, memory: Memory) -> None:
        """See `Remembers`."""
        if self._quirks.returns_reasoning:
            self._thoughts = Thoughts(self.name, memory)

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`."""
        body = self._body(request, lease)
        messages = body["messages"]
        names = openai_name.write_plainly(body) if self._quirks.plain_names else {}
        searches = self._searches(request, request.model)
        way = replace(request, relays=False) if searches else request
        ask = partial(self._asked, request=way, lease=lease, names=names)
        events = openai_search.searching(ask, body) if searches else ask(body)
        if self._thoughts is None or not body.get("tools"):
            yield from events
        else:
            yield from self._thoughts.watch(messages, events)

    def _body(self, request: ChatRequest, lease: Lease) -> dict[str, Any]:
        known = self.known(request.model)
        body = payload(request, self.honours, self._quirks, known, self._plain)
        if self._quirks.search:
            openai_search.without_foreign(body)
        if self._quirks.files == "extract":
            reader = openai_file.Reader(
                partial(self._send, lease.credential),
                partial(refused, now=self._now()),
            )
            openai_file.put_in(body, request, lease, reader)
        if self._thoughts is not None:
            self._thoughts.give_back(body, known)
        return body

    def _searches(self, request: ChatRequest, model: str) -> bool:
        """Whether the upstream's own search can be used: one answer at a time."""
        able = self._quirks.search and openai_search.can_search(self.known(model))
        return bool(able and request.search and request.choices == 1)

    def ignores(self, request: ChatRequest, model: str) -> tuple[str, ...]:
        """See `SaysWhatIsLost`: a search that was asked for and will not happen."""
        if not request.search or self._searches(request, model):
            return ()
        if request.body.get("use_search"):
            return ("use_search",)
        # Whoever has a search of its own by OpenAI's words gets them as they came.
        field = openai_search.asked_in(dict(request.body))
        return (field,) if field is not None and self._quirks.search else ()

    def _asked(
        self,
        body: dict[str, Any],
        request: ChatRequest,
        lease: Lease,
        names: Mapping[str, str],
    ) -> Generator[Event]:
        exchange = self._upstream.open(
            "POST",
            f"{self._base}/chat/completions",
            headers=self._headers_for(lease.credential),
            body=orjson.dumps(body),
            scope=lease.scope,
        )
        try:
            if not 200 <= exchange.status < 300:  # some frameworks answer 201
                raise refused(exchange.reply(), self._now())
            yield from self._told(exchange, request, names)
        except UpstreamError as exc:
            # An error within an answer of status 200: its headers may say more.
            is_quota = isinstance(exc, AccountExhausted)  # not back in a moment
            if exc.retry_after is None and exchange.status < 300 and not is_quota:
                told = refusal.retry_after(exchange.headers, self._now())
                exc.retry_after = told
            raise
        finally:
            exchange.close()

    def _told(
        self, exchange: Exchange, request: ChatRequest, names: Mapping[str, str]
    ) -> Iterator[Event]:
        """Only what came the way it was asked for can be handed on as it is."""
        reasons = self._quirks.finish_reason
        relays = request.relays and reasons
        kind = exchange.content_type
        if kind in _JSON or (kind != _STREAM and not request.stream):
            body = exchange.reply(_LARGEST_ANSWER).body
            relays = relays and not request.stream
            yield from whole(body, relays=relays, reasons=reasons, names=names)
            return
        blocks = exchange.blocks()
        for event in streamed(
            blocks,
            relays=relays and request.stream,
            tells_usage=request.include_usage,
            reasons=reasons,
            names=names,
        ):
            if isinstance(event, Finished):
                exchange.finish(blocks)
            yield event

    def relay(self, call: Call, lease: Lease) -> Answer:
        """Make any other call of the API; see `RelaysOpenAI.relay`."""
        headers = self._headers_for(lease.credential)
        return openai_relay.relay(
            call,
            lease.scope,
            upstream=self._upstream,
            base=self._base,
            own=headers,
            now=self._now,
        )

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and remember them.

        What was known stays where there is no list to ask for.
        """
        if credential is None or self._fixed:
            return self.known_models()
        reply = self._upstream.request(
            "GET",
            f"{self._base}/models",
            headers=self._headers_for(credential),
            scope=scope,
        )
        if reply.status in _NO_LIST:
            return self.known_models()
        if reply.status != 200:
            raise refused(reply, self._now())
        found = listed(object_of(reply.body), self.name)
        if self._quirks.files == "extract":
            found = [taking_files(one) for one in found]
        self._listed = {one.model.id: one for one in found}
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models last listed; empty before the first answer."""
        return [one.model for one in self._listed.values()]

    def shared_models(self) -> list[dict[str, Any]] | None:
        """See `SharesModels`."""
        if self._fixed or not self._listed:
            return None
        return [openai_model.to_json(one) for one in self._listed.values()]

    def adopt_models(self, shared: list[dict[str, Any]]) -> None:
        """See `SharesModels`."""
        if not self._fixed:
            found = map(openai_model.from_json, shared)
            self._listed = {one.model.id: one for one in found}

    def offers(self, model: str) -> bool:
        """See `OffersUnlisted`: listed under another of its names."""
        return self.known(model) is not None

    def known(self, model: str) -> Listed | None:
        """What is listed of a model, also under the names that mean it as well:
        `llama3` and `llama3:latest` (Ollama), `a/b:online` and `a/b` (OpenRouter),
        `gemini-x` and `models/gemini-x` (Google)."""
        base = model.partition(":")[0]
        for name in (model, f"{model}:latest", base, f"models/{model}"):
            if name in self._listed:
                return self._listed[name]
        return None

    @property
    def service(self) -> str:
        """Whose tokens these are: a key is shown to no other service."""
        return self._base

    def read_token(self, text: str) -> Credential:
        """See `ChecksTokens`."""
        found = _KEY.fullmatch(text.strip())
        if found is None:
            raise ValueError("this is no API key")
        return Credential(access=found[1])

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """See `ChecksTokens`; also raises `AccountExhausted`, where that is told."""
        account = self._quirks.account
        asked = openai_file.Request(openai_account.PATHS[account])
        reply = self._send(credential, asked, scope)
        if reply.status != 200:
            raise refused(reply, self._now())
        openai_account.read(account, reply.body, self._now())

    def may_spend(self, credential: Credential, scope: Scope) -> bool | None:
        """See `TellsBalance`."""
        if self._quirks.account == "none":
            return None
        try:
            self.check_token(credential, scope)
        except AccountExhausted:
            return False
        return True

    def _send(
        self, credential: Credential, request: openai_file.Request, scope: Scope
    ) -> Reply:
        return self._upstream.request(
            request.method,
            self._base + request.path,
            headers={**self._headers_for(credential), **request.headers},
            body=request.body,
            scope=scope,
            limit=_LARGEST_ANSWER,
        )

    def _headers_for(self, credential: Credential) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "User-Agent": USER_AGENT,
            **self._headers,
        }
        if credential != NO_KEY:
            headers["Authorization"] = f"Bearer {credential.access}"
        return headers


def _honoured(quirks: Quirks) -> frozenset[str]:
    lost = set(quirks.unsupported)
    if not quirks.finish_reason:  # what misses its end cannot be handed on as it came
        lost |= {"relay", "n"}
    return HONOURED - lost | ({"files"} if quirks.files == "extract" else set())
