"""Everything the emulated service remembers, and one call to it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from emulators.exchange import Exchange
from emulators.openai.answer import Script, Scripted
from emulators.openai.form import Form, parse_form
from emulators.openai.key import Key, Keys
from emulators.openai.model import Model
from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal, Refused
from emulators.openai.stored import Stored
from emulators.openai.vendor import OpenAIRules


class World:
    """Keys, models, stored objects and the switches of one emulator."""

    def __init__(self, rules: OpenAIRules, clock: Callable[[], float]) -> None:
        self.rules = rules
        self.clock = clock
        self.keys = Keys(clock, rules.states)
        self.stored = Stored()
        self._numbers = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        """Forget everything but the keys."""
        self.knobs = self.rules.knobs()
        self.models = {model.id: model for model in self.rules.models()}
        self.answer: Script = self.rules.quote
        self.answers: dict[str, Recording | Refusal] = {}
        self.stored.clear()

    def script(self, body: Mapping[str, Any]) -> Scripted:
        """Return what is answered to a request."""
        return self.answer(body) if callable(self.answer) else self.answer

    def model(self, name: Any) -> Model:
        """Return a model; raises Refused."""
        if not isinstance(name, str) or not name:
            message = "you must provide a model parameter"
            raise Refused(self.rules.invalid(message, None, None))
        found = self.models.get(name)
        if found is None and not self.knobs.any_model:
            raise Refused(self.rules.unknown_model(name))
        return found or Model(name)

    def new_id(self, prefix: str) -> str:
        """Return an id that was not given before."""
        return f"{prefix}madeup{next(self._numbers):06d}"

    def now(self) -> int:
        """Return epoch seconds."""
        return int(self.clock())


@dataclass(frozen=True, slots=True)
class Call:
    """One request past the door."""

    exchange: Exchange
    world: World
    key: Key
    url: str

    @property
    def params(self) -> Mapping[str, str]:
        """The placeholders of the route's path."""
        return self.exchange.request.params

    @contextmanager
    def running(self, model: str) -> Iterator[None]:
        """Count the call while it is worked on; raises Refused for one too many."""
        with self.world.keys.running(self.key) as room:
            if not room:
                busy, route = replace(self.key, state="busy"), self.exchange.route
                now = self.world.clock()
                refusal = self.world.rules.key_refusal(busy, route, model, now)
                assert refusal is not None
                raise Refused(refusal)
            yield

    def json(self) -> dict[str, Any]:
        """Return the body, an object; raises Refused."""
        request, invalid = self.exchange.request, self.world.rules.invalid
        hint = "We could not parse the JSON body of your request."
        if request.content_type != "application/json":
            raise Refused(invalid(f"{hint} (expected application/json)", None, None))
        try:
            body = request.json()
        except ValueError as error:
            raise Refused(invalid(f"{hint} ({error})", None, None)) from error
        if not isinstance(body, dict):
            raise Refused(invalid(f"{hint} (expected an object)", None, None))
        return body

    def form(self, *needed: str) -> Form:
        """Return the multipart body with these fields; raises Refused."""
        invalid = self.world.rules.invalid
        try:
            form = parse_form(self.exchange.request)
        except ValueError as error:
            raise Refused(invalid(str(error), None, None)) from error
        for name in needed:
            if name not in form:
                code = "missing_required_parameter"
                message = f"Missing required parameter: '{name}'."
                raise Refused(invalid(message, name, code))
        self.exchange.note(body=form.described())
        return form

    def need(self, body: Mapping[str, Any], name: str, *kinds: type) -> Any:
        """Return a field of a body; raises Refused for none or a wrong type."""
        invalid = self.world.rules.invalid
        if name not in body:
            code = "missing_required_parameter"
            message = f"Missing required parameter: '{name}'."
            raise Refused(invalid(message, name, code))
        if not isinstance(body[name], kinds):
            message = f"Invalid type for '{name}'."
            raise Refused(invalid(message, name, "invalid_type"))
        return body[name]
