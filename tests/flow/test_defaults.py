"""What a name of one's own implies where a request says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Defaults
from kimi_proxy.dialects import openai_request
from kimi_proxy.providers.openai_compatible import payload

PARAMS = {"temperature": 0.2, "top_p": 0.5, "max_tokens": 300, "seed": 7}


def filled(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return Defaults(params=PARAMS).fill(openai_request.parse(body))


def test_parameters_fill_what_the_client_left_out() -> None:
    request = filled(temperature=1.5)
    assert request.sampling == {**PARAMS, "temperature": 1.5}
    assert request.max_tokens == 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0}, "temperature"),
        ({"top_p": 1}, "top_p"),  # asks for nothing, and says so
        ({"max_tokens": 9}, "max_tokens"),
        ({"max_completion_tokens": 9}, "max_tokens"),
    ],
)
def test_what_the_client_says_stands(fields: dict[str, Any], param: str) -> None:
    request = filled(**fields)
    assert request.sampling.get(param) != PARAMS[param]
    assert (request.max_tokens == 9) == (param == "max_tokens")


def test_null_says_nothing() -> None:
    assert filled(temperature=None).sampling["temperature"] == 0.2


def test_an_upstream_of_the_same_dialect_is_sent_them() -> None:
    sent = payload(filled(top_p=0.9))
    assert {name: sent[name] for name in PARAMS} == {**PARAMS, "top_p": 0.9}


def test_without_parameters_nothing_is_changed() -> None:
    request = openai_request.parse(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert Defaults().fill(request) is request
