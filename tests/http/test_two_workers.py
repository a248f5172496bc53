"""What must be exact though two processes answer."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.http import expect, grammar, wire
from tests.http.conftest import BEARER, NARROW, RATED, Served
from tests.http.scripted import chat
from tests.http.test_disconnect import until

PATH = "/v1/chat/completions"


def together(number: int, call: Callable[[int], Any]) -> list[Any]:
    """The results of so many calls, all begun at the same moment."""
    answers: list[Any] = [None] * number
    barrier = threading.Barrier(number)

    def one(n: int) -> None:
        barrier.wait()
        answers[n] = call(n)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_rate_is_exact(under_gunicorn: Served) -> None:
    port = under_gunicorn.port
    key = {"x-api-key": RATED}
    answers = together(
        40, lambda _: wire.call(port, "GET", "/v1/models/echo", headers=key)
    )
    assert Counter(a.status_code for a in answers) == {200: 20, 429: 20}
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "20"
        if answer.status_code == 429:
            expect.error(answer, 429, "rate_limit_exceeded")


def test_places_are_exact_and_come_back(under_gunicorn: Served) -> None:
    port, diary = under_gunicorn.port, under_gunicorn.diary
    key = {"x-api-key": NARROW}
    for turn in range(2):
        tag = f"exact-{turn}"
        body = chat(["gate"], ["finish"], tag=tag)
        refused: list[wire.Answer] = []

        def ask(_: int, body: Any = body, refused: Any = refused) -> wire.Answer:
            answer = wire.call(port, "POST", PATH, body, headers=key)
            if answer.status_code == 429:
                refused.append(answer)
            return answer

        def let_go(tag: str = tag, refused: Any = refused) -> None:
            until(lambda: len(refused) == 9)
            diary.write("go", tag)

        opener = threading.Thread(target=let_go)
        opener.start()
        answers = together(12, ask)
        opener.join()
        assert Counter(a.status_code for a in answers) == {200: 3, 429: 9}
        for answer in answers:
            if answer.status_code == 200:
                assert grammar.read(answer.data).done
        until(lambda: under_gunicorn.count("kimi_proxy_open_requests") == 1)


def test_one_account_never_has_two_streams(under_gunicorn: Served) -> None:
    """Six requests for one account that takes one at a time: all served, in turn."""
    port, diary = under_gunicorn.port, under_gunicorn.diary
    steps = (["text", "hi"], ["wait", 0.05], ["finish"])
    body = chat(*steps, tag="in-turn", model="scripted-single/play")
    answers = together(6, lambda _: wire.call(port, "POST", PATH, body, headers=BEARER))
    assert [grammar.read(answer.data).text for answer in answers] == ["hi"] * 6
    # The last one may close after its answer has gone out.
    until(lambda: diary.words("in-turn") == ["opened", "closed"] * 6)


def test_metrics_add_up_whichever_worker_is_asked(under_gunicorn: Served) -> None:
    count = 'kimi_proxy_requests_total{outcome="ok",route="GET /v1/models"'
    before = under_gunicorn.count(count)
    port = under_gunicorn.port
    together(30, lambda _: wire.call(port, "GET", "/v1/models", headers=BEARER))
    until(lambda: under_gunicorn.count(count) == before + 30)
    assert all(under_gunicorn.count(count) == before + 30 for _ in range(8))
    until(lambda: under_gunicorn.count("kimi_proxy_open_requests") == 1)


def test_both_workers_answered(under_gunicorn: Served) -> None:
    """Otherwise the tests of this file have shown nothing."""
    process, port = under_gunicorn.process, under_gunicorn.port
    assert process is not None

    def both() -> bool:
        # Which of them takes a connection is for the kernel to say.
        together(20, lambda _: wire.call(port, "GET", "/v1/models", headers=BEARER))
        return {line["pid"] for line in process.log_lines("request")} == workers

    workers = set(process.workers())
    assert len(workers) == 2
    until(both)
