"""What the official client, unmodified, must get from a gateway; any version from 1.x.

    python openai_checks.py BASE_URL

The gateway is one of `tests.http.conftest.SHARED`. This file needs the openai package
alone, as it also runs in a venv that has nothing else. It ends with an AssertionError
at the first wrong answer.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

KEY = "kp-shared-made-up-key"
PICKY = "kp-picky-made-up-key"
POEM = "床前明月光，疑是地上霜。 A quiet night — naïve café 😀👩‍🚀🇨🇳 end"
MODEL = "scripted/play"
BUSY = ["raise", "PoolBusy", {"retry_after": 0.05}]
HOPELESS = ["raise", "PoolEmpty"]


def say(*steps: Any) -> list[Any]:
    return [{"role": "user", "content": json.dumps(list(steps))}]


def poem(number: int) -> str:
    """A text of its own for each stream, so that no two can be mixed up."""
    return f"{number}: {POEM} " * 3


def parts(text: str) -> list[Any]:
    """The steps that say a text in small pieces, with a silence in the middle."""
    pieces = [["text", text[i : i + 7]] for i in range(0, len(text), 7)]
    middle = len(pieces) // 2
    return [*pieces[:middle], ["wait", 0.4], *pieces[middle:], ["finish"]]


def read(stream: Any) -> str:
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


async def read_async(stream: Any) -> str:
    pieces = [c.choices[0].delta.content or "" async for c in stream if c.choices]
    return "".join(pieces)


def expect(kind: type[Exception], call: Any, **facts: Any) -> Any:
    """The exception `call` raises: of exactly this kind, with these attributes."""
    try:
        call()
    except openai.OpenAIError as exc:
        assert type(exc) is kind, repr(exc)
        found = {name: getattr(exc, name) for name in facts}
        assert found == facts, found
        return exc
    raise AssertionError(f"no {kind.__name__}")


def check_answers(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": POEM}]
    chats = client.chat.completions
    whole = chats.create(model="echo", messages=messages)
    assert whole.choices[0].message.content == POEM
    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(chats.create(model="echo", messages=messages, stream=True))
    assert read(chunks) == POEM
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1


def check_usage(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=say(["text", "hi"], ["usage", 7, 11], ["finish"]),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 18


def check_helper(client: OpenAI) -> None:
    """The streaming helper, which adds the deltas up by itself."""
    steps = (["think", "hm"], ["text", "a"], ["text", "b"], ["finish"])
    with client.chat.completions.stream(model=MODEL, messages=say(*steps)) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "ab"
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].finish_reason == "stop"


def check_errors(client: OpenAI) -> None:
    def ask(*steps: Any, with_client: OpenAI = client, **fields: Any) -> Any:
        given = {"model": MODEL, "messages": say(*steps), **fields}
        return lambda: with_client.chat.completions.create(**given)

    fine = ["finish"]
    wrong = client.with_options(api_key="kp-wrong-made-up-key")
    picky = client.with_options(api_key=PICKY)
    found = expect(
        openai.AuthenticationError,
        ask(fine, with_client=wrong),
        code="invalid_api_key",
        type="invalid_request_error",
        param=None,
    )
    assert found.request_id.startswith("req_")
    expect(
        openai.PermissionDeniedError,
        ask(fine, with_client=picky),
        code="forbidden",
        param="model",
    )
    expect(
        openai.NotFoundError,
        ask(fine, model="nobody"),
        code="model_not_found",
        param="model",
    )
    expect(openai.BadRequestError, ask(fine, temperature=9), param="temperature")
    expect(openai.BadRequestError, ask(["raise", "ContentRefused"]))
    expect(openai.APIStatusError, ask(["text", "w" * 2**21]), status_code=413)
    for stream in (False, True):
        expect(openai.RateLimitError, ask(BUSY, stream=stream), code="accounts_busy")
        expect(
            openai.InternalServerError,
            ask(HOPELESS, stream=stream),
            status_code=503,
            code="no_usable_account",
        )
    expect(openai.InternalServerError, ask(["defect"]), status_code=500)


def check_late_error(client: OpenAI) -> None:
    steps = (["text", "so far"], ["wait", 0.1], ["raise", "UpstreamMoved"])
    stream: Any = client.chat.completions.create(
        model=MODEL, messages=say(*steps), stream=True
    )
    texts: list[str] = []

    def go() -> None:
        for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            assert chunk.choices[0].finish_reason is None

    found = expect(openai.APIError, go, code="upstream_moved")
    assert found.message == "a scripted UpstreamMoved"
    assert "".join(texts) == "so far"


def check_models(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"echo", "echo/echo", MODEL, "scripted/deep/er/model"} <= set(listed)
    for name in ("echo", "scripted/deep/er/model", "scripted/双 words"):
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
    expect(
        openai.NotFoundError,
        lambda: client.models.retrieve("deep/nobody"),
        code="model_not_found",
    )


def check_files(client: OpenAI) -> None:
    sent = ("报告.txt", "内容".encode(), "text/plain")
    made = client.files.create(file=sent, purpose="user_data")
    assert (made.filename, made.bytes, made.status) == ("报告.txt", 6, "processed")
    assert client.files.retrieve(made.id) == made
    assert made in client.files.list().data
    assert client.files.content(made.id).read() == sent[1]
    assert client.files.delete(made.id).deleted
    gone = expect(openai.NotFoundError, lambda: client.files.retrieve(made.id))
    assert gone.param == "file_id"


def check_raw(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=say(["text", "hi"], ["finish"])
    )
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-kimi-proxy-route"] == MODEL
    parsed = raw.parse()
    assert parsed.choices[0].message.content == "hi"
    assert parsed._request_id == raw.headers["x-request-id"]


def check_retries(client: OpenAI) -> None:
    """The client's own retries, as the headers ask for them; see the diary."""
    for name, step in (("busy", BUSY), ("hopeless", HOPELESS)):
        patient = client.with_options(max_retries=2)
        try:
            patient.chat.completions.create(
                model=MODEL, messages=say(step), user=f"retries-{name}"
            )
        except openai.APIStatusError as exc:
            assert exc.status_code in {429, 503}
        else:
            raise AssertionError("no error")


def check_many(client: OpenAI, number: int) -> None:
    def one(n: int) -> str:
        stream: Any = client.chat.completions.create(
            model=MODEL, messages=say(*parts(poem(n))), stream=True
        )
        return read(stream)

    with ThreadPoolExecutor(number) as threads:
        assert list(threads.map(one, range(number))) == list(map(poem, range(number)))


async def check_async(base_url: str, number: int) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        listed = [model.id async for model in client.models.list()]
        assert "echo" in listed
        try:
            await client.chat.completions.create(model="nobody", messages=say())
        except openai.NotFoundError as exc:
            assert exc.code == "model_not_found"
        else:
            raise AssertionError("no error")

        async def one(n: int) -> str:
            stream: Any = await client.chat.completions.create(
                model=MODEL, messages=say(*parts(poem(n))), stream=True
            )
            return await read_async(stream)

        texts = await asyncio.gather(*(one(n) for n in range(number)))
        assert texts == list(map(poem, range(number)))


def run(base_url: str, number: int) -> None:
    """All checks; `number` streams at a time."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=60) as client:
        for check in (
            check_answers,
            check_usage,
            check_helper,
            check_errors,
            check_late_error,
            check_models,
            check_files,
            check_raw,
            check_retries,
        ):
            check(client)
        check_many(client, number)
    asyncio.run(check_async(base_url, number))


if __name__ == "__main__":
    run(sys.argv[1], 20)
    sys.stdout.write(f"all well with openai {openai.__version__}\n")
