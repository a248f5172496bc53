"""The open platform's rules, where they are not OpenAI's (Moonshot sheet §2–§5)."""

import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulators.moonshot import web_search
from emulators.moonshot.error import (
    ACCESS_KEY,
    MOONSHOT_ERRORS,
    ORGANIZATION,
    error,
)
from emulators.moonshot.knob import MoonshotKnobs
from emulators.moonshot.model import PLATFORM_MODELS, MoonshotModel
from emulators.moonshot.request_check import RequestCheck
from emulators.moonshot.thinking import check_reasoning, check_thinking, thinks
from emulators.openai import Answer, Choice, Knobs, Model, Refusal, quote
from emulators.openai.answer import Scripted, text_of
from emulators.openai.completion import prompt_tokens
from emulators.openai.form import Part
from emulators.openai.key import Key
from emulators.openai.refusal import Refused
from emulators.openai.request_check import check_fields
from emulators.openai.stored import Item
from emulators.openai.vendor import OpenAIRules
from emulators.openai.wait import Wait
from emulators.openai.world import Call

# What costs money: refused to keys without any, and counted.
INFERENCE = frozenset({"chat", "messages", "responses", "search", "batch-create"})
PURPOSES = ("file-extract", "image", "video", "batch")
WINDOW = re.compile(r"(?:1[2-9]|[2-9]\d|1[0-5]\d|16[0-8])h|[1-7]d")
THOUGHT = "Let me think."


class MoonshotRules(OpenAIRules):
    """The open platform."""

    file_status = "ok"
    errors = MOONSHOT_ERRORS

    def models(self) -> tuple[Model, ...]:
        """Return the models of 2026-09-23."""
        return PLATFORM_MODELS

    def knobs(self) -> MoonshotKnobs:
        """Return the switches as they are at first; usage stands in both places."""
        return MoonshotKnobs(usage_place="both", id_prefix="cmpl-")

    def invalid(
        self, message: str, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the refusal of a wrong request."""
        return error(400, "invalid_request_error", f"Invalid request: {message}")

    def too_large(self, limit: int, size: int) -> Refusal:
        """Return the refusal of a body of more bytes than the limit."""
        message = f"total message size {size} exceeds limit {limit}"
        return error(400, "invalid_request_error", message)

    def no_route(self, method: str, path: str) -> Refusal:
        """Return the refusal of a path that is not served."""
        return self.errors["code.method"]

    def not_found(self, what: str, name: str) -> Refusal:
        """Return the refusal of an object that is not there."""
        return error(404, "resource_not_found_error", f"Not found the {what} {name}")

    def unknown_model(self, name: str) -> Refusal:
        """Return the refusal of a model that is not there or retired."""
        message = f"Not found the model {name} or Permission denied"
        return error(404, "resource_not_found_error", message)

    def too_long(self, model: Model, count: int) -> Refusal:
        """Return the refusal of more tokens than the model's context has."""
        message = f"Your request exceeded model token limit : {model.context}"
        return error(400, "invalid_request_error", message)

    def too_slow(self) -> Refusal:
        """Return what comes when there is no answer for 900 s."""
        return self.errors["moonshot.timeout"]

    def no_key(self) -> Refusal:
        """Return the refusal of a call without a bearer key."""
        return self.errors["moonshot.auth"]

    def wrong_key(self, secret: str) -> Refusal:
        """Return the refusal of a key that is none.

        Which of the two texts comes when is not in the sheet; here the form decides.
        """
        return self.errors["moonshot.auth" if secret[:3] == "sk-" else "moonshot.key"]

    def key_refusal(
        self, key: Key, route: str, model: str, now: float
    ) -> Refusal | None:
        """Return why a key in its state may not call this route; None: it may."""
        if key.state == "invalid":
            return self.wrong_key(key.secret)
        if route not in INFERENCE:
            return None
        if key.extra.get("balance", 1.0) <= 0 or key.state == "no_balance":
            forbidden = key.extra.get("balance_status") == 403
            return self.errors[f"moonshot.balance{'_403' if forbidden else ''}"]
        if key.state == "suspended":
            return self.errors["moonshot.suspended"]
        limits = {"rate_limited": "max RPM: 3", "busy": "max concurrency: 1"}
        if key.state not in limits:
            return None
        return self._limited(limits[key.state], key.wait, now)

    def quote(self, body: Mapping[str, Any]) -> Scripted:
        """Return the default answer with a thought, which `adapt` drops if need be."""
        scripted = quote(body)
        (choice,) = scripted.choices
        return Answer(replace(choice, reasoning=THOUGHT))

    def check(self, body: Mapping[str, Any], model: Model, call: Call) -> None:
        """Judge a chat request; raises Refused."""
        assert isinstance(model, MoonshotModel)
        check_fields(body, self.invalid, call.world.knobs, most_stops=5)
        check_thinking(body, model, self.invalid)

        def media(kind: str, url: str) -> str:
            return self.media_trouble(kind, url, call)

        RequestCheck(body, model, self.invalid, media).run()
        check_reasoning(body, model, self.invalid)
        web_search.check_results(body, self.invalid)

    def media_trouble(self, kind: str, url: str, call: Call) -> str:
        """Return what is wrong with the url of a picture: web addresses are."""
        if url.startswith("data:"):
            return ""
        if not url.startswith("ms://"):
            return f"unsupported image url: {url}"
        item = call.world.stored.get("file", call.key.name, url.removeprefix("ms://"))
        wanted = kind.removesuffix("_url")
        if item is None or item.document["purpose"] != wanted:
            return f"file not found: {url}"
        return ""

    def adapt(
        self, scripted: Scripted, body: Mapping[str, Any], call: Call
    ) -> Scripted:
        """Return the script as the service answers it.

        Searches come first, a partial prefix is not repeated, and nothing is thought
        when thinking is off.
        """
        if not isinstance(scripted, Answer):
            return scripted
        model, knobs = call.world.model(body["model"]), call.world.knobs
        assert isinstance(model, MoonshotModel) and isinstance(knobs, MoonshotKnobs)
        searches = web_search.rounds(body)
        if web_search.declared(body) and searches < knobs.search_rounds:
            return web_search.searching(searches + 1, knobs.search_type)
        choices = tuple(
            _continued(_quiet(choice, thinks(body, model)), body["messages"][-1])
            for choice in scripted.choices
        )
        usage = {"cached_tokens": 0, **scripted.usage}
        answer = replace(scripted, said=choices, usage=usage)
        return web_search.billed(answer, searches, prompt_tokens(body))

    def check_file(self, part: Part, purpose: str, call: Call) -> None:
        """Judge an upload; raises Refused."""
        knobs = call.world.knobs
        assert isinstance(knobs, MoonshotKnobs)
        if purpose not in PURPOSES:
            raise Refused(self.errors["moonshot.purpose"])
        if not part.content:
            raise Refused(self.errors["moonshot.file_empty"])
        if len(part.content) > knobs.file_size_limit:
            raise Refused(self.errors["moonshot.file_too_large"])
        if len(call.world.stored.all("file", call.key.name)) >= knobs.file_limit:
            raise Refused(self.errors["moonshot.too_many_files"])
        if call.exchange.fault("extract_fails") is not None:
            raise Refused(self.errors["moonshot.extract"])

    def file_content(self, item: Item, knobs: Knobs) -> tuple[bytes, str]:
        """Return the text of a file, in practice inside a JSON text (sheet §4)."""
        assert isinstance(knobs, MoonshotKnobs)
        if item.document["purpose"] != "file-extract" or knobs.raw_content:
            return item.content, "text/plain; charset=utf-8"
        name = item.document["filename"]
        told = {
            "content": item.content.decode(errors="replace"),
            "file_type": mimetypes.guess_type(name)[0] or "application/octet-stream",
            "filename": name,
            "title": "",
            "type": "file",
        }
        text = json.dumps(told, ensure_ascii=False)
        return text.encode(), "text/plain; charset=utf-8"

    def check_batch(self, source: Item, endpoint: str, window: str) -> None:
        """Judge a batch; raises Refused."""
        if source.document["purpose"] != "batch":
            raise Refused(self.invalid("the purpose of the file must be batch"))
        if endpoint != "/v1/chat/completions":
            raise Refused(self.invalid("endpoint must be /v1/chat/completions"))
        if not WINDOW.fullmatch(window):
            raise Refused(self.invalid("completion_window must be 12h to 7d"))

    def _limited(self, limit: str, wait: Wait, now: float) -> Refusal:
        """Return a refusal whose text says 1 second unless `wait` is told in it."""
        seconds = max(1, round(wait.seconds)) if "text" in wait.forms else 1
        refusal = error(
            429,
            "rate_limit_reached_error",
            f"Your account {ORGANIZATION}<{ACCESS_KEY}> request reached organization "
            f"{limit}, please try again after {seconds} seconds",
        )
        return replace(refusal, headers=wait.headers(now))


def _quiet(choice: Choice, thinking: bool) -> Choice:
    return choice if thinking else replace(choice, reasoning="")


def _continued(choice: Choice, last: Mapping[str, Any]) -> Choice:
    """Return a choice without the prefix that the last message gave already."""
    prefix = text_of(last) if last.get("partial") else ""
    if not prefix or not choice.text.startswith(prefix):
        return choice
    return replace(choice, text=choice.text[len(prefix) :], pieces=8)
