"""openai-node, unmodified, against the running gateway."""

import pytest

from tests.clients import nodejs
from tests.clients.stage import NODE_ONCE, Stage
from tests.http.conftest import KEY, PICKY

pytestmark = [pytest.mark.usefixtures("node_packages"), pytest.mark.timeout(180)]


def test_chat_completions(stage: Stage) -> None:
    nodejs.run("openai_chat.mjs", stage.url, KEY)
    stage.await_aborted("count slowly")


def test_responses(stage: Stage) -> None:
    nodejs.run("openai_responses.mjs", stage.url, KEY)


def test_all_other_endpoints(stage: Stage) -> None:
    nodejs.run("openai_endpoints.mjs", stage.url, KEY)


def test_errors_and_retries(stage: Stage) -> None:
    nodejs.run("openai_errors.mjs", stage.url, KEY, PICKY, NODE_ONCE)
    assert stage.tries("node-busy") == 3
    assert stage.tries("node-hopeless") == 1
    stage.gateway.diary.await_word("closed", "node-late")
