"""GET /v1/models, in two dialects: every name that the key may use, from memory."""

from typing import Any

import orjson
from flask import Blueprint, Response

from kimi_proxy.dialects import anthropic_models
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.keys import ClientKey
from kimi_proxy.router import Listing, Router
from kimi_proxy.routes.answer import written
from kimi_proxy.routes.context import Shape, context, key
from kimi_proxy.routes.dialect import ANTHROPIC, spoken

# Clients look for the same thing under many names: whoever finds none of them takes
# 16k or 128k tokens for granted (clients facts, pain 38).
_CONTEXT = ("context_length", "context_window", "max_model_len", "max_input_tokens")
_OUTPUT = ("max_output_tokens", "max_completion_tokens", "max_tokens")


class ModelList:
    """The list as bytes, made once for each set of rights until a model changes."""

    def __init__(self, router: Router, created: int) -> None:
        self._router = router
        self._created = created
        self._made: dict[object, tuple[ClientKey, Shape, object, bytes]] = {}

    def whole(self, key: ClientKey, shape: Shape = "openai") -> bytes:
        """The JSON of all models that the key may use."""
        rights = (key.models, key.may_use, shape)
        made = self._made.get(rights)
        listing = self._router.listing()
        if made is None or made[2] is not listing:
            data = [self._one(m, shape) for m in listing.values() if key.allows(m.id)]
            page = orjson.dumps(_page(data, shape))
            made = self._made[rights] = (key, shape, listing, page)
        return made[3]

    def renew(self) -> None:
        """Make again what a change of models has outdated, before it is asked for."""
        for holder, shape, _, _ in list(self._made.values()):
            self.whole(holder, shape)

    def one(self, name: str, key: ClientKey, shape: Shape = "openai") -> bytes:
        """The JSON of one model; raises `ModelNotFound`."""
        listed = self._router.listing().get(name)
        if listed is None or not key.allows(name):
            raise ModelNotFound(
                f"the model {name[:200]!r} does not exist", param="model"
            )
        return orjson.dumps(self._one(listed, shape))

    def _one(self, listed: Listing, shape: Shape) -> dict[str, Any]:
        if shape == "anthropic":
            name = listed.id
            return anthropic_models.described(name, listed.model, self._created)
        return self._described(listed)

    def _described(self, listed: Listing) -> dict[str, Any]:
        found = listed.model
        described: dict[str, Any] = {
            "id": listed.id,
            "object": "model",
            "created": self._created,
            "owned_by": found.owner,
            "name": found.name,
            "root": found.id,
            "parent": None,
            "supports_reasoning": found.reasoning,
        }
        capabilities = {"reasoning": found.reasoning}
        if found.context_length is not None:
            described |= dict.fromkeys(_CONTEXT, found.context_length)
        if found.max_output is not None:
            described |= dict.fromkeys(_OUTPUT, found.max_output)
        if found.modalities is not None:
            taken = sorted(found.modalities)
            capabilities["vision"] = "image" in taken
            described["input_modalities"] = taken
            described["architecture"] = {"input_modalities": taken}
            described["supports_image_in"] = "image" in taken
            described["supports_video_in"] = "video" in taken
        return {**described, "capabilities": capabilities}


def _page(data: list[dict[str, Any]], shape: Shape) -> dict[str, Any]:
    if shape == "anthropic":
        return anthropic_models.page(data)
    return {"object": "list", "data": data}


def models() -> Response:
    """All of them."""
    return written(context().models.whole(key(), _shape()))


def model(name: str) -> Response:
    """One model; its id may hold slashes, sent plain or as %2F."""
    return written(context().models.one(name, key(), _shape()))


def _shape() -> Shape:
    return "anthropic" if spoken() is ANTHROPIC else "openai"


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    blueprint.add_url_rule("/v1/models", view_func=models, methods=["GET"])
    blueprint.add_url_rule("/v1/models/<path:name>", view_func=model, methods=["GET"])
