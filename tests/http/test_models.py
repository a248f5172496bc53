"""GET /v1/models: what is listed, for whom, and what is said of each model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from kimi_proxy.chat import Model
from kimi_proxy.keys import ClientKey
from kimi_proxy.router import Route, Router
from kimi_proxy.routes.models import ModelList
from tests.fakes import FakeProvider
from tests.http.conftest import house

ALL, NARROW = "kp-all-made-up-key", "kp-narrow-made-up-key"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    config: dict[str, Any] = {
        "keys": [
            {"name": "all", "key": ALL},
            {"name": "narrow", "key": NARROW, "models": ["mine", "gpt-*"]},
        ],
        "models": {"mine": "echo/echo", "org/deep/one": "echo/echo", "gpt-*": "echo/*"},
    }
    directory: Path = tmp_path_factory.mktemp("models")
    with house(directory, config) as built:
        yield built.client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def listed(client: FlaskClient, key: str) -> list[str]:
    answer = client.get("/v1/models", headers=bearer(key)).get_json()
    assert answer["object"] == "list"
    return [model["id"] for model in answer["data"]]


def test_own_names_come_first_and_wildcards_are_not_listed(client: FlaskClient) -> None:
    names = listed(client, ALL)
    assert names[:2] == ["mine", "org/deep/one"]
    assert "echo/echo" in names
    assert not [name for name in names if "*" in name]


def test_a_key_sees_what_it_may_use_only(client: FlaskClient) -> None:
    assert listed(client, NARROW) == ["mine"]
    assert client.get("/v1/models/org/deep/one", headers=bearer(ALL)).status_code == 200
    hidden = client.get("/v1/models/org/deep/one", headers=bearer(NARROW))
    assert hidden.status_code == 404
    assert hidden.get_json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["org/deep/one", "org%2Fdeep%2Fone", "mine"])
def test_one_model_is_told_under_its_name(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/v1/models/{name}", headers=bearer(ALL))
    assert answer.get_json()["id"] == name.replace("%2F", "/")
    assert answer.get_json()["object"] == "model"


@pytest.mark.parametrize("name", ["gpt-4", "gpt-*", "nobody", "mine/", "org/deep"])
def test_what_is_not_listed_is_not_found(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/v1/models/{name}", headers=bearer(ALL))
    assert answer.status_code == 404
    assert answer.get_json()["error"]["param"] == "model"


class Shelf(FakeProvider):
    """A provider with models to be changed."""

    def __init__(self, *models: Model) -> None:
        super().__init__("shelf")
        self.listed = models

    def known_models(self) -> list[Model]:
        return list(self.listed)


EVERYTHING = Model(
    "big",
    "Big",
    "owner",
    context_length=262144,
    reasoning=True,
    max_output=32768,
    modalities=frozenset({"text", "image"}),
)


def told(model: Model) -> Any:
    models = ModelList(Router({"shelf": Shelf(model)}, {}), 1700000000)
    return json.loads(models.one(f"shelf/{model.id}", ClientKey("k", b"")))


def test_limits_stand_under_every_name_that_clients_look_for() -> None:
    assert told(EVERYTHING) == {
        "id": "shelf/big",
        "object": "model",
        "created": 1700000000,
        "owned_by": "owner",
        "name": "Big",
        "root": "big",
        "parent": None,
        "context_length": 262144,
        "context_window": 262144,
        "max_model_len": 262144,
        "max_input_tokens": 262144,
        "max_output_tokens": 32768,
        "max_completion_tokens": 32768,
        "max_tokens": 32768,
        "input_modalities": ["image", "text"],
        "architecture": {"input_modalities": ["image", "text"]},
        "supports_image_in": True,
        "supports_video_in": False,
        "supports_reasoning": True,
        "capabilities": {"reasoning": True, "vision": True},
    }


def test_what_is_not_known_is_left_out() -> None:
    assert set(told(Model("x", "X", "owner"))) == {
        *("id", "object", "created", "owned_by", "name", "root", "parent"),
        *("supports_reasoning", "capabilities"),
    }


def test_the_bytes_are_made_once_for_each_set_of_rights() -> None:
    shelf = Shelf(EVERYTHING, Model("small", "Small", "owner"))
    models = ModelList(Router({"shelf": shelf}, {"a": [Route("shelf", "big")]}), 0)
    everybody, some = ClientKey("k", b""), ClientKey("s", b"", models=("a",))
    first = models.whole(everybody)
    assert models.whole(ClientKey("other", b"x")) is first
    assert models.whole(some) is models.whole(some)
    assert b"small" in first
    assert b"small" not in models.whole(some)
    shelf.listed = (EVERYTHING,)
    assert b"small" not in models.whole(everybody)
    assert b"big" in models.whole(everybody)


def test_after_a_change_it_is_made_before_anybody_asks() -> None:
    shelf = Shelf(EVERYTHING)
    models = ModelList(Router({"shelf": shelf}, {}), 0)
    asked: list[str] = []

    def may_use(name: str) -> bool:
        asked.append(name)
        return True

    guest = ClientKey("guest", b"", may_use=may_use)
    models.whole(guest)
    shelf.listed = (EVERYTHING, Model("small", "Small", "owner"))
    models.renew()
    assert "shelf/small" in asked
    asked.clear()
    assert b"small" in models.whole(guest)
    assert not asked


def test_a_key_that_may_not_use_a_model_does_not_see_it() -> None:
    models = ModelList(Router({"shelf": Shelf(EVERYTHING)}, {}), 0)
    guest = ClientKey("guest", b"", may_use=lambda name: name == "shelf")
    assert models.whole(guest).count(b'"object":"model"') == 1
