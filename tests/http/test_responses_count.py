"""POST /v1/responses/input_tokens: what a prompt would cost, nobody being asked."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.http.conftest import House, house, serving
from tests.http.responses_house import PLAY, steps

KEY, PICKY = "kp-count-made-up-key", "kp-picky-count-made-up-key"
KEYS = [
    {"name": "all", "key": KEY},
    {"name": "picky", "key": PICKY, "models": ["echo"]},
]
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory: Path = tmp_path_factory.mktemp("count")
    with house(directory, {"keys": KEYS}) as built:
        yield built


@pytest.fixture(scope="module")
def client(made: House) -> Iterator[OpenAI]:
    with serving(made.app) as port:
        base_url = f"http://127.0.0.1:{port}/v1"
        with OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as sdk:
            yield sdk


def test_all_that_goes_up_is_counted(made: House, client: OpenAI) -> None:
    count = client.responses.input_tokens.with_raw_response.count
    given = steps(["text", "an answer of some words"], ["finish"])
    raw = count(model=PLAY, input=given)
    assert raw.headers["x-kimi-proxy-estimated"] == "input_tokens"
    bare = raw.parse()
    assert bare.object == "response.input_tokens" and bare.input_tokens > 5
    told = count(model=PLAY, input=given, instructions="Be brief.").parse()
    assert told.input_tokens > bare.input_tokens
    equipped = count(model=PLAY, input=given, extra_body={"tools": [TOOL]}).parse()
    assert equipped.input_tokens > bare.input_tokens
    assert not made.diary.words()
    first = client.responses.create(model=PLAY, input=given)
    assert first.usage is not None and first.usage.input_tokens == bare.input_tokens
    after = count(model=PLAY, input=given, previous_response_id=first.id).parse()
    assert after.input_tokens > 2 * bare.input_tokens


def test_what_could_not_be_asked_is_not_counted(client: OpenAI) -> None:
    count = client.responses.input_tokens.count
    with pytest.raises(openai.NotFoundError) as unknown:
        count(model="nobody", input="a")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        count(model=PLAY, input="")
    assert wrong.value.param == "input"
    with pytest.raises(openai.BadRequestError):
        client.post("/responses/input_tokens", body=[], cast_to=object)
    with pytest.raises(openai.PermissionDeniedError):
        picky = client.with_options(api_key=PICKY)
        picky.responses.input_tokens.count(model=PLAY, input="a")


def test_its_name_is_no_response(made: House) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    path = "/v1/responses/input_tokens"
    allowed = made.client.options(path).headers["allow"].split(", ")
    assert set(allowed) == {"POST", "OPTIONS"}
    for answer in (made.client.get(path, headers=headers), made.client.delete(path)):
        assert answer.status_code == 405
    longer = made.client.get(f"{path}_", headers=headers)
    assert longer.status_code == 404
