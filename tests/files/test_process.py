"""The product as it is run: the official client, gunicorn, both kinds of worker."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.files.hall import (
    PDF,
    PNG,
    FileServer,
    Hall,
    data_url,
    document,
    emulated,
    image,
    linked,
    said,
)
from tests.gateway_process import running

pytestmark = pytest.mark.timeout(120)


# Nothing here depends on the wire and on the kind of worker at once.
@pytest.fixture(
    scope="module",
    params=[("connect", "gevent"), ("legacy", "gthread")],
    ids=["connect-gevent", "legacy-gthread"],
)
def hall(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hall]:
    """A gateway of two workers; each test has files of its own."""
    (wire, kind), directory = request.param, tmp_path_factory.mktemp("hall")
    with emulated(wire, directory) as made:
        started = running(directory, made.config, worker_class=kind, workers=2)
        with started as process:
            made.port = process.port
            yield made


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_document_and_two_images_in_turn_one_and_again_in_turn_four(
    hall: Hall, server: FileServer
) -> None:
    hall.emulator.log.clear()
    url = server.put("/picture", PNG + b"remote", "image/png")
    parts = document(PDF), image(data_url(PNG)), image(url)
    history: list[dict[str, Any]] = [said("What are these?", *parts)]
    answers = []
    for question in ("And the second?", "And the third?", "All again?"):
        answers.append(hall.ask(*history))
        history.append({"role": "assistant", "content": answers[-1]})
        history.append(said(question))
    answers.append(hall.ask(*history))
    assert len(json.loads(answers[0])) == 3
    assert len(set(answers)) == 1
    assert len(hall.emulator.log.of("upload")) == 3
    assert json.loads(answers[0])[0] in hall.prompts()[3]


def test_a_client_that_leaves_during_the_upload_ends_it(hall: Hall) -> None:
    log = hall.emulator.log
    log.clear()
    hall.emulator.faults.add("hang", on="upload", times=-1)
    parts = document(PDF + b"of who leaves"), image(data_url(PNG + b"of who leaves"))
    messages: Any = [said("hi", *parts)]
    with hall.client as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=hall.model, messages=messages, timeout=1)
    eventually(lambda: [e.outcome for e in log.of("upload")] == ["aborted"] * 2)
    hall.emulator.faults.clear()
    assert hall.prompts() == []


def test_files_named_by_url_are_fetched_in_parallel(
    hall: Hall, server: FileServer
) -> None:
    urls = [server.put(f"/{n}.txt", b"words %d" % n) for n in range(3)]
    server.meet = threading.Barrier(3)
    names = json.loads(hall.ask(said("hi", *map(linked, urls))))
    assert names == ["0.txt", "1.txt", "2.txt"]
