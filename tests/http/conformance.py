"""Whether answers are what the gateway's own document says of them."""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")


class Document:
    """The document of a gateway, taken apart."""

    def __init__(self, data: bytes) -> None:
        self.whole: Json = json.loads(data)

    def resolved(self, node: Json) -> Json:
        """What a reference within the document leads to."""
        while "$ref" in node:
            found: Any = self.whole
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    @cached_property
    def operations(self) -> dict[tuple[str, str], Json]:
        """Each by its method and path."""
        return {
            (method, path): item[method]
            for path, reference in self.whole["paths"].items()
            for item in [self.resolved(reference)]
            for method in METHODS
            if method in item
        }

    def check(self, method: str, path: str, answer: TestResponse) -> None:
        """Raise AssertionError unless the operation may answer this."""
        operation = self.operations[method, path]
        status = str(answer.status_code)
        answers = operation["responses"]
        kind = status if status in answers else f"{status[0]}XX"
        assert kind in answers, (method, path, status, answer.data[:500])
        expected = self.resolved(answers[kind])
        self._check_headers(expected, answer.headers)
        content = expected["content"]
        media = content.get(answer.mimetype) or content.get("*/*")
        assert media is not None, (method, path, answer.mimetype)
        if answer.mimetype == "application/json":
            self.validate(media.get("schema", {}), answer.get_json())
        if answer.mimetype == "text/event-stream":
            for event in events(answer.get_data(as_text=True)):
                self._check_event(media["schema"], event)

    def _check_event(self, schema: Json, event: dict[str, str]) -> None:
        """The event, and the JSON in its data, which no validator looks into."""
        self.validate(schema, event)
        told, data = schema["properties"]["data"], event["data"]
        options = told.get("anyOf", [told])
        if {"const": data} in options:
            return
        (content,) = [o["contentSchema"] for o in options if "contentSchema" in o]
        self.validate(content, json.loads(data))

    def _check_headers(self, expected: Json, headers: Headers) -> None:
        for name, reference in expected.get("headers", {}).items():
            assert name in headers or not self.resolved(reference)["required"], name

    def validate(self, schema: Json, value: object) -> None:
        """Raise AssertionError unless the value is as the schema says."""
        validator = Draft202012Validator(
            {**schema, "components": self.whole["components"]}
        )
        problems = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
        assert not problems, problems[:3]


def events(text: str) -> Iterator[dict[str, str]]:
    """The fields of each event of a stream."""
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and line[0] != ":"]
        if lines:
            yield dict(line.split(": ", 1) for line in lines)


def routes(app: Flask, prefix: str = "") -> set[tuple[str, str]]:
    """Every method and path that the app answers, as the document writes them."""
    return {
        (method.lower(), path.removeprefix(prefix) or "/")
        for rule in app.url_map.iter_rules()
        for path in _paths(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def _paths(rule: str) -> Iterator[str]:
    """A rule's paths: one, or one for each of `<any(a, b):name>`."""
    steps = re.split(r"<([^>]*)>", rule)
    options = [
        [step] if number % 2 == 0 else _options(step)
        for number, step in enumerate(steps)
    ]
    yield from map("".join, product(*options))


def _options(variable: str) -> list[str]:
    listed = re.match(r"any\((.*)\)", variable)
    if listed:
        return listed[1].split(", ")
    return [f"{{{variable.rpartition(':')[2]}}}"]
