"""The product as it is run: the official client, gunicorn, both kinds of worker."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.files.hall import (
    PDF,
    PNG,
    FileServer,
    data_url,
    document,
    emulated,
    image,
    linked,
    said,
)
from tests.gateway_process import running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_document_and_two_images_in_turn_one_and_again_in_turn_four(
    wire: str, worker_class: str, tmp_path: Path, server: FileServer
) -> None:
    url = server.put("/picture", PNG + b"remote", "image/png")
    with emulated(wire, tmp_path) as hall:
        with running(
            tmp_path, hall.config, worker_class=worker_class, workers=2
        ) as process:
            hall.port = process.port
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


def test_a_client_that_leaves_during_the_upload_ends_it(
    wire: str, worker_class: str, tmp_path: Path
) -> None:
    with emulated(wire, tmp_path) as hall:
        log = hall.emulator.log
        hall.emulator.faults.add("hang", on="upload", times=-1)
        with running(tmp_path, hall.config, worker_class=worker_class) as process:
            hall.port = process.port
            parts = document(PDF), image(data_url(PNG))
            messages: Any = [said("hi", *parts)]
            with hall.client as client, pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(
                    model=hall.model, messages=messages, timeout=1
                )
            eventually(
                lambda: (
                    [entry.outcome for entry in log.of("upload")]
                    == ["aborted", "aborted"]
                )
            )
        assert hall.prompts() == []


def test_files_named_by_url_are_fetched_in_parallel(
    worker_class: str, tmp_path: Path, server: FileServer
) -> None:
    urls = [server.put(f"/{n}.txt", b"words %d" % n) for n in range(3)]
    server.meet = threading.Barrier(3)
    with emulated("connect", tmp_path) as hall:
        with running(tmp_path, hall.config, worker_class=worker_class) as process:
            hall.port = process.port
            names = json.loads(hall.ask(said("hi", *map(linked, urls))))
    assert names == ["0.txt", "1.txt", "2.txt"]
