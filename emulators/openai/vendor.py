"""What vendors' rules differ in; here as OpenAI has them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulators.http_server import Request
from emulators.openai.answer import Scripted, quote
from emulators.openai.form import Part
from emulators.openai.further_error import FURTHER_ERRORS
from emulators.openai.key import Key
from emulators.openai.knob import Knobs
from emulators.openai.message_check import check_messages
from emulators.openai.model import OPENAI_MODELS, Model
from emulators.openai.refusal import Refusal, Refused, refuse
from emulators.openai.request_check import check_fields
from emulators.openai.stored import Item
from emulators.openai.vendor_error import ERRORS

if TYPE_CHECKING:
    from emulators.openai.world import Call

PURPOSES = frozenset("assistants batch fine-tune vision user_data evals".split())

ORGANIZATION = "org-madeupmadeupmadeup"


class OpenAIRules:
    """OpenAI's own models, refusals and checks; another vendor's derive from it."""

    file_status = "processed"
    states = frozenset(
        {"ok", "invalid", "no_balance", "suspended", "rate_limited", "busy"}
    )
    errors: Mapping[str, Refusal] = {**ERRORS, **FURTHER_ERRORS}

    def models(self) -> tuple[Model, ...]:
        """Return the models there are at first."""
        return OPENAI_MODELS

    def knobs(self) -> Knobs:
        """Return the switches as they are at first."""
        return Knobs()

    def invalid(
        self, message: str, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the refusal of a wrong request."""
        return refuse(400, message, code=code, param=param)

    def too_large(self, limit: int, size: int) -> Refusal:
        """Return the refusal of a body of more bytes than the limit."""
        message = f"Maximum content size limit ({limit}) exceeded"
        return refuse(413, message, "server_error", "request_too_large")

    def no_route(self, method: str, path: str) -> Refusal:
        """Return the refusal of a path that is not served."""
        return refuse(404, f"Invalid URL ({method} {path})")

    def not_found(self, what: str, name: str) -> Refusal:
        """Return the refusal of an object that is not there."""
        return refuse(404, f"No such {what}: {name}", param="id")

    def unknown_model(self, name: str) -> Refusal:
        """Return the refusal of a model that is not there."""
        return refuse(
            404,
            f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
        )

    def too_long(self, model: Model, count: int) -> Refusal:
        """Return the refusal of more tokens than the model's context has."""
        return refuse(
            400,
            f"This model's maximum context length is {model.context} tokens. However, "
            f"your messages resulted in {count} tokens. Please reduce the length of "
            "the messages.",
            code="context_length_exceeded",
            param="messages",
        )

    def no_key(self) -> Refusal:
        """Return the refusal of a call without a bearer key."""
        return refuse(
            401,
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth (i.e. Authorization: Bearer "
            "YOUR_KEY).",
        )

    def wrong_key(self, secret: str) -> Refusal:
        """Return the refusal of a key that is none, showing a part of it as they do."""
        shown = f"{secret[:8]}{'*' * 8}{secret[-4:]}"
        return refuse(
            401,
            f"Incorrect API key provided: {shown}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        )

    def key_refusal(
        self, key: Key, route: str, model: str, now: float
    ) -> Refusal | None:
        """Return why a key in its state may not call this route; None: it may."""
        waits = key.wait.headers(now)
        match key.state:
            case "invalid":
                return self.wrong_key(key.secret)
            case "no_balance":
                message = (
                    "You exceeded your current quota, please check your plan and "
                    "billing details."
                )
                return refuse(429, message, "insufficient_quota", "insufficient_quota")
            case "suspended":
                return refuse(
                    401,
                    "The OpenAI account associated with this API key has been "
                    "deactivated.",
                    code="account_deactivated",
                )
            case "rate_limited":
                limit = "requests per min (RPM): Limit 3, Used 3, Requested 1."
            case "busy":
                limit = "concurrent requests: Limit 1, Used 1, Requested 1."
            case _:
                return None
        return refuse(
            429,
            f"Rate limit reached for {model} in organization {ORGANIZATION} on "
            f"{limit}{key.wait.text()}",
            "requests",
            "rate_limit_exceeded",
            headers=waits,
        )

    def quote(self, body: Mapping[str, Any]) -> Scripted:
        """Return the answer that is given without a script."""
        return quote(body)

    def adapt(
        self, scripted: Scripted, body: Mapping[str, Any], call: "Call"
    ) -> Scripted:
        """Return the script as this vendor's service would answer it."""
        return scripted

    def check_file(self, part: Part, purpose: str, call: "Call") -> None:
        """Judge an upload; raises Refused."""
        if purpose not in PURPOSES:
            message = f"'{purpose}' is not one of {sorted(PURPOSES)} - 'purpose'"
            raise Refused(self.invalid(message))
        if not part.content:
            raise Refused(self.invalid("File is empty.", code="empty_file"))

    def file_content(self, item: Item, knobs: Knobs) -> tuple[bytes, str]:
        """Return a file's bytes and type as the service gives them."""
        return item.content, "application/octet-stream"

    def check_batch(self, source: Item, endpoint: str, window: str) -> None:
        """Judge a batch; raises Refused."""
        if source.document["purpose"] != "batch":
            message = "Invalid file: the purpose must be 'batch'."
            raise Refused(self.invalid(message, "input_file_id"))
        if window != "24h":
            message = f"Invalid value: '{window}'. Value must be '24h'."
            raise Refused(self.invalid(message, "completion_window", "invalid_value"))

    def admit(self, request: Request, knobs: Knobs) -> None:
        """Judge who calls and how, whatever the key; raises Refused."""
        if len(request.body) > knobs.body_limit:
            raise Refused(self.too_large(knobs.body_limit, len(request.body)))

    def too_slow(self) -> Refusal:
        """Return what is answered instead of a whole answer that takes too long."""
        return self.errors["front.html_504"]

    def check(self, body: Mapping[str, Any], model: Model, call: "Call") -> None:
        """Judge a chat request; raises Refused."""
        check_fields(body, self.invalid, call.world.knobs)
        check_messages(body["messages"], self.invalid, images=model.images)
